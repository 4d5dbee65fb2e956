"""The codec of the client's side against RFC 1035, 6891 and 8914, and against dnspython."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest

from kap.dns import wire
from kap.dns.wire import (
    BadQuery,
    Query,
    Record,
    decode_query,
    encode_error,
    encode_query,
    encode_question,
    encode_reply,
)

ALLOWED = b"\x07allowed\x04test\0"
HEAD = b"\xab\xcd\x01\x00\0\1\0\0\0\0\0\0"
IN_A = b"\0\1\0\1"
OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


def query(additional: bytes = b"", *, head: bytes = HEAD, name: bytes = ALLOWED, tail: bytes = IN_A) -> bytes:
    head = head[:11] + bytes((1 if additional else head[11],))
    return head + name + tail + additional


def test_a_plain_query_is_read() -> None:
    got = decode_query(query())
    assert got == Query(0xABCD, "allowed.test", 1, ALLOWED + IN_A, True, 0, False)


def test_the_case_of_the_name_lives_on_in_the_echo_only() -> None:
    got = decode_query(query(name=b"\x07aLLowEd\x04TEST\0"))
    assert got.name == "allowed.test"
    assert got.question.startswith(b"\x07aLLowEd\x04TEST\0")


@pytest.mark.parametrize(
    ("message", "rcode", "code"),
    [
        (b"", None, "dns.bad-query"),
        (HEAD[:11], None, "dns.bad-query"),
        (query(head=b"\xab\xcd\x81\x80" + HEAD[4:]), None, "dns.bad-query"),
        (query(head=b"\xab\xcd\x28\x00" + HEAD[4:]), wire.NOTIMP, "dns.opcode-refused"),
        (query(head=b"\xab\xcd\x10\x00" + HEAD[4:]), wire.NOTIMP, "dns.opcode-refused"),
        (query(head=b"\xab\xcd\x20\x00" + HEAD[4:]), wire.NOTIMP, "dns.opcode-refused"),
        (query(head=b"\xab\xcd\x03\x00" + HEAD[4:]), wire.FORMERR, "dns.bad-query"),  # TC
        (query(head=b"\xab\xcd\x05\x00" + HEAD[4:]), wire.FORMERR, "dns.bad-query"),  # AA
        (query(head=b"\xab\xcd\x01\x40" + HEAD[4:]), wire.FORMERR, "dns.bad-query"),  # Z
        (query(head=b"\xab\xcd\x01\x80" + HEAD[4:]), wire.FORMERR, "dns.bad-query"),  # RA
        (query(head=b"\xab\xcd\x01\x03" + HEAD[4:]), wire.FORMERR, "dns.bad-query"),  # RCODE
        (b"\xab\xcd\x01\x00\0\0\0\0\0\0\0\0", wire.FORMERR, "dns.bad-query"),
        (b"\xab\xcd\x01\x00\0\2" + HEAD[6:] + ALLOWED + IN_A + ALLOWED + IN_A, wire.FORMERR, "dns.bad-query"),
        (query(tail=b"\0\1\0\3"), wire.REFUSED, "dns.class-refused"),
        (query(tail=b"\0\1\0\xff"), wire.REFUSED, "dns.class-refused"),
        (query(tail=b"\0\1\0"), wire.FORMERR, "dns.bad-query"),
        (query() + b"\0", wire.FORMERR, "dns.bad-query"),
        (query() + ALLOWED + IN_A, wire.FORMERR, "dns.bad-query"),
        (query(name=b"\x03www\xc0\x0c"), wire.FORMERR, "dns.bad-query"),
        (query(name=b"\x41" + b"a" * 65 + b"\0"), wire.FORMERR, "dns.bad-query"),
        (query(name=(b"\x3f" + b"a" * 63) * 4 + b"\0"), wire.FORMERR, "dns.bad-query"),
        (HEAD + b"\x07allowed", wire.FORMERR, "dns.bad-query"),
        (query(name=b"\x0callowed.test\0"), wire.REFUSED, "dns.bad-query"),
        (query(name=b"\x08allowed\0\x04test\0"), wire.REFUSED, "dns.bad-query"),
        (query(name=b"\x08allowed \x04test\0"), wire.REFUSED, "dns.bad-query"),
        (query(name=b"\x08\xc3\xa4llowed\x04test\0"), wire.REFUSED, "dns.bad-query"),
        (query(OPT + OPT), wire.FORMERR, "dns.bad-query"),
        (HEAD[:11] + b"\2" + ALLOWED + IN_A + OPT + OPT, wire.FORMERR, "dns.bad-query"),
        (query(OPT[:-1]), wire.FORMERR, "dns.bad-query"),
        (query(OPT[:-2] + b"\0\5\0\x0a\0\4\1"), wire.FORMERR, "dns.bad-query"),  # an option longer than the record
        (query(OPT[:-2] + b"\0\3\0\x0a\0"), wire.FORMERR, "dns.bad-query"),  # an option cut off
        (query(OPT[:5] + b"\0\1\0\0\0\0"), wire.BADVERS, "dns.bad-query"),
        (query(OPT[:5] + b"\1\0\0\0\0\0"), wire.FORMERR, "dns.bad-query"),  # an extended RCODE in a query
        (query(b"\1" + OPT[1:]), wire.FORMERR, "dns.bad-query"),
        (query(OPT[:-2] + b"\x0b\xb8\0\x0c\x0b\xb4" + b"p" * 2996), wire.FORMERR, "dns.bad-query"),  # 3 kB of padding
        (query(b"\1a" + OPT), wire.FORMERR, "dns.bad-query"),  # an owner other than the root
        (query(b"\0\0\xfa\0\xff\0\0\0\0\0\0"), wire.FORMERR, "dns.bad-query"),  # TSIG
        (
            query(head=HEAD[:7] + b"\1" + HEAD[8:]) + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4",
            wire.FORMERR,
            "dns.bad-query",
        ),
        (
            query(head=HEAD[:9] + b"\1" + HEAD[10:]) + b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\1\2\3\4",
            wire.FORMERR,
            "dns.bad-query",
        ),
        (query() + b"\0" * 4096, wire.FORMERR, "dns.bad-query"),
    ],
)
def test_what_is_not_one_plain_question_is_refused(message: bytes, rcode: int | None, code: str) -> None:
    with pytest.raises(BadQuery) as caught:
        decode_query(message)
    assert (caught.value.rcode, caught.value.code) == (rcode, code)


def test_every_cut_of_a_query_is_refused() -> None:
    whole = query(OPT)
    for size in range(len(whole)):
        with pytest.raises(BadQuery):
            decode_query(whole[:size])


def test_options_are_dropped_and_the_payload_size_is_bounded() -> None:
    asked = dns.message.make_query("allowed.test", "A", use_edns=0, payload=65000, want_dnssec=True)
    asked.use_edns(
        0, 0x8000, 65000, options=[dns.edns.ECSOption("10.1.2.3", 24), dns.edns.GenericOption(10, b"cookie!!")]
    )
    got = decode_query(asked.to_wire())
    assert (got.payload, got.dnssec_ok) == (wire.MAX_UDP, True)
    assert decode_query(query(b"\0\0\x29\0\x10" + b"\0" * 6)).payload == wire.MIN_UDP


def test_the_query_sent_upstream_is_ours_alone() -> None:
    sent = dns.message.from_wire(encode_query(b"\x12\x34", encode_question("allowed.test", 28)))
    assert sent.id == 0x1234
    assert sent.flags == dns.flags.RD
    assert [rrset.to_text() for rrset in sent.question] == ["allowed.test. IN AAAA"]
    assert (sent.edns, sent.options, sent.payload) == (0, (), wire.MAX_UDP)


def test_a_reply_is_what_dnspython_reads() -> None:
    asked = dns.message.make_query("Cdn.Allowed.test", "A", use_edns=0, payload=4096, want_dnssec=True)
    records = (
        Record("cdn.allowed.test", wire.CNAME, 30, "x.example.net"),
        Record("x.example.net", wire.CNAME, 30, "y.example.net"),
        Record("y.example.net", wire.A, 20, bytes((1, 2, 3, 4))),
        Record("y.example.net", wire.A, 20, bytes((1, 2, 3, 5))),
    )
    raw = encode_reply(decode_query(asked.to_wire()), records=records, limit=1232, error=(15, "dns.not-listed"))
    got = dns.message.from_wire(raw)
    assert asked.is_response(got)
    assert got.question[0].name.to_text() == "Cdn.Allowed.test."
    assert [rrset.to_text() for rrset in got.answer] == [
        "Cdn.Allowed.test. 30 IN CNAME x.example.net.",
        "x.example.net. 30 IN CNAME y.example.net.",
        "y.example.net. 20 IN A 1.2.3.4\ny.example.net. 20 IN A 1.2.3.5",
    ]
    assert got.ednsflags & dns.flags.DO
    assert got.options[0].code == dns.edns.EDECode.BLOCKED or got.options[0].text == "dns.not-listed"
    assert len(raw) < 200, "names are compressed"


def test_no_opt_where_the_client_sent_none() -> None:
    got = dns.message.from_wire(
        encode_reply(decode_query(query()), wire.NXDOMAIN, limit=512, error=(15, "dns.not-listed"))
    )
    assert (got.edns, got.rcode()) == (-1, dns.rcode.NXDOMAIN)


def test_a_reply_over_the_limit_is_empty_and_marked() -> None:
    records = [Record("allowed.test", wire.A, 60, bytes((9, 9, 9, n))) for n in range(60)]
    raw = encode_reply(decode_query(query()), records=records, limit=512)
    got = dns.message.from_wire(raw)
    assert got.flags & dns.flags.TC
    assert got.answer == []
    assert (
        not dns.message.from_wire(encode_reply(decode_query(query()), records=records, limit=65535)).flags
        & dns.flags.TC
    )


def test_badvers_is_an_extended_rcode() -> None:
    with pytest.raises(BadQuery) as caught:
        decode_query(query(OPT[:5] + b"\0\1\0\0\0\0"))
    assert caught.value.query is not None
    got = dns.message.from_wire(encode_reply(caught.value.query, wire.BADVERS, limit=512))
    assert got.rcode() == dns.rcode.BADVERS


def test_an_error_without_question_keeps_id_opcode_and_rd() -> None:
    got = dns.message.from_wire(encode_error(b"\xab\xcd\x29\x00" + b"\xff" * 20, wire.NOTIMP))
    assert (got.id, got.opcode(), got.rcode()) == (0xABCD, dns.opcode.UPDATE, dns.rcode.NOTIMP)
    assert got.flags & dns.flags.RD
