"""The DNS codec under hypothesis and mutation: nothing but its own errors, nothing accepted that another parser reads differently.

`KAP_FUZZ` sets the number of mutated packets (all from fixed seeds).
"""

from __future__ import annotations

import os
import random

import dns.edns
import dns.exception
import dns.message
import dns.rdatatype
from hypothesis import given, settings
from hypothesis import strategies as st

from kap.dns import wire
from kap.dns.answer import BadAnswer, decode_answer, matches
from kap.dns.labels import BadName, decode_compressed, decode_plain, encode_name
from kap.dns.responder import Responder
from kap.dns.wire import BadQuery, Query, Record, decode_query, encode_query, encode_question, encode_reply
from kap.policy.compiler import compile_rules
from kap.policy.live import Live

FUZZ = int(os.environ.get("KAP_FUZZ", "100000"))
LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)
NAME = st.lists(LABEL, min_size=1, max_size=8).map(".".join).filter(lambda name: len(name) <= 253)
RTYPE = st.sampled_from([1, 5, 16, 28, 65, 255])


@given(NAME, st.integers(0, 65535), st.integers(0, 65535), st.booleans(), st.integers(0, 65535), st.booleans())
def test_every_query_dnspython_builds_for_a_host_name_is_read_the_same(
    name: str, qtype: int, ident: int, edns: bool, payload: int, dnssec: bool
) -> None:
    query = dns.message.make_query(
        name + ".", qtype, id=ident, use_edns=0 if edns else None, want_dnssec=edns and dnssec
    )
    if edns:
        query.use_edns(0, query.ednsflags, payload, options=[dns.edns.GenericOption(65001, b"x" * (payload % 40))])
    got = decode_query(query.to_wire())
    assert (got.id, got.name, got.qtype) == (ident, name, qtype)
    assert got.payload == (max(512, min(payload, wire.MAX_UDP)) if edns else 0)
    assert got.dnssec_ok == (edns and dnssec)


@given(st.binary(max_size=600))
def test_random_octets_raise_nothing_but_bad_query(data: bytes) -> None:
    check_query(data)
    check_query(b"\0\1\1\0\0\1\0\0\0\0\0" + data)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_random_octets_raise_nothing_but_bad_name(data: bytes, offset: int) -> None:
    for decode in (decode_plain, decode_compressed):
        try:
            name, end = decode(data, offset)
        except BadName:
            continue
        assert offset < end <= len(data)
        assert name is None or len(name) <= 253


@given(NAME)
def test_names_round_trip(name: str) -> None:
    assert decode_plain(encode_name(name), 0) == (name, len(name) + 2)


@given(st.binary(max_size=400), st.sampled_from([1, 16, 28]))
def test_random_octets_after_a_matching_head_raise_nothing_but_bad_answer(data: bytes, qtype: int) -> None:
    section = encode_question("www.allowed.test", qtype)
    message = b"\0\1\x81\x80\0\1\0\3\0\0\0\0" + section + data
    assert matches(message, b"\0\1", section)
    check_answer(message, "www.allowed.test", qtype)


RECORDS = st.lists(
    st.one_of(
        st.builds(Record, NAME, st.just(1), st.integers(0, 86400), st.binary(min_size=4, max_size=4)),
        st.builds(Record, NAME, st.just(28), st.integers(0, 86400), st.binary(min_size=16, max_size=16)),
        st.builds(Record, NAME, st.just(5), st.integers(0, 86400), NAME),
    ),
    max_size=20,
)


@given(NAME, RECORDS, st.sampled_from([0, 1232]), st.sampled_from([0, 2, 3, 5, 16]))
@settings(max_examples=200)
def test_every_reply_is_read_by_dnspython_and_keeps_its_limit(
    name: str, records: list[Record], payload: int, rcode: int
) -> None:
    query = Query(7, name, 1, encode_question(name, 1), True, payload)
    raw = encode_reply(query, rcode if payload or rcode < 16 else 0, records, limit=65535, error=(15, "dns.not-listed"))
    got = dns.message.from_wire(raw, one_rr_per_rrset=True)
    assert len(got.answer) == len(records)
    for rrset, record in zip(got.answer, records, strict=True):
        assert rrset.name.to_text() == record.owner + "."
        assert rrset.ttl == record.ttl
        text = record.data + "." if isinstance(record.data, str) else None
        assert text is None or rrset[0].to_text() == text
    short = encode_reply(query, 0, records, limit=512)
    assert len(short) <= 512
    assert dns.message.from_wire(short).flags & dns.flags.TC or len(raw) >= len(short)


def test_mutated_queries_reach_an_upstream_only_as_canonical_allowed_names() -> None:
    """Seeds of real queries, mutated; whatever comes through is rebuilt, and another parser agrees on what it was."""
    rng = random.Random(20261124)
    responder = Responder(Live(compile_rules(allow=["allowed.test", "*.allowed.test"])), "forward", (), {})
    seeds = seed_queries()
    forwarded = 0
    for _ in range(FUZZ):
        message = mutate(rng, rng.choice(seeds))
        outcome = responder.respond(message, rng.random() < 0.5)
        check_query(message)
        if outcome.ask is None:
            continue
        forwarded += 1
        name, qtype = outcome.ask.key
        assert name == "allowed.test" or name.endswith(".allowed.test")
        assert name == name.lower()
        assert qtype in (wire.A, wire.AAAA, wire.TXT)
        sent = dns.message.from_wire(encode_query(b"\0\1", outcome.ask.section))
        assert sent.question[0].name.to_text() == name + "."
    assert forwarded > FUZZ / 100, "the mutations leave some queries whole"


def test_mutated_answers_yield_addresses_or_an_error() -> None:
    rng = random.Random(1124)
    seeds = [
        (*seed, raw) for seed in (("www.allowed.test", 1), ("www.allowed.test", 28)) for raw in seed_answers(*seed)
    ]
    for _ in range(FUZZ):
        name, qtype, raw = rng.choice(seeds)
        message = mutate(rng, raw)
        if matches(message, message[:2], encode_question(name, qtype)):
            check_answer(message, name, qtype)


def check_query(message: bytes) -> None:
    """Decode; where that works, dnspython must see the same one question and nothing else."""
    try:
        got = decode_query(message)
    except BadQuery:
        return
    try:
        other = dns.message.from_wire(message)
    except dns.exception.FormError:
        assert got.payload, "only the inside of an option may be malformed: it is never read, and dropped"
        return
    assert len(other.question) == 1
    assert other.question[0].name.to_text().lower().rstrip(".") == got.name
    assert other.question[0].rdtype == got.qtype
    assert not other.answer and not other.authority and not other.additional
    assert (other.edns >= 0) == bool(got.payload)


def check_answer(message: bytes, name: str, qtype: int) -> None:
    try:
        answer = decode_answer(message, name, qtype, 12 + len(encode_question(name, qtype)))
    except BadAnswer:
        return
    owner = name
    for record in answer.records:
        assert record.rtype in (qtype, wire.CNAME)
        assert record.owner == owner, "a record off the chain"
        if record.rtype == wire.CNAME:
            owner = str(record.data)
    encode_reply(Query(1, name, qtype, encode_question(name, qtype)), 0, answer.records, limit=65535)


def seed_queries() -> list[bytes]:
    out = []
    for name in ("allowed.test", "X.aLLowed.test", "a.b.c.allowed.test", "denied.test", "_x.allowed.test", "."):
        for qtype in ("A", "AAAA", "HTTPS", "TXT", "ANY"):
            for edns in (None, 0):
                query = dns.message.make_query(name, qtype, id=1, use_edns=edns)
                if edns is not None:
                    query.use_edns(0, 0, 1232, options=[dns.edns.ECSOption("10.1.2.0", 24)])
                out.append(query.to_wire())
    return out


def seed_answers(name: str, qtype: int) -> list[bytes]:
    query = dns.message.from_wire(encode_query(b"\0\1", encode_question(name, qtype)))
    address, rtype = ("1.2.3.4", "A") if qtype == 1 else ("2606:4700::1", "AAAA")
    out = []
    for chain in ((), ("cdn.example.net.",), ("cdn.example.net.", "edge.example.net.")):
        reply = dns.message.make_response(query)
        owner = name + "."
        for target in chain:
            reply.answer.append(dns.rrset.from_text(owner, 60, "IN", "CNAME", target))
            owner = target
        reply.answer.append(dns.rrset.from_text(owner, 60, "IN", rtype, address))
        out.append(reply.to_wire())
    return out


def mutate(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3, 6))):
        kind, at = rng.randrange(7), rng.randrange(len(out)) if out else 0
        if not out or kind == 0:
            out[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 1:
            del out[at : at + rng.randrange(1, 5)]
        elif kind == 2:
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 3:
            out[at] = rng.choice((0, 1, 63, 64, 0xC0, 0xFF))
        elif kind == 4:
            out[at : at + 2] = bytes((0xC0, rng.randrange(len(out) & 0xFF or 1)))
        elif kind == 5:
            out += data[12:] if rng.random() < 0.5 else rng.randbytes(rng.randrange(40))
        else:
            out[rng.randrange(min(12, len(out)))] = rng.randrange(256)
    return bytes(out)
