"""The families of `generated_dns`: through the responder in both modes, live over UDP and TCP, and answers of a hostile upstream."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import socket
import struct
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rdatatype
import pytest

from corpus.generated_dns import ANSWERED, BELOW, FAMILIES, MAY_BE_ASKED, RD, Row, answers, query, question
from kap.dns.answer import BadAnswer, decode_answer, matches
from kap.dns.responder import Outcome, Responder
from kap.names.addresses import classify
from kap.policy.codes import CODES
from kap.policy.compiler import compile_rules
from kap.policy.live import Live

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).parents[1] / "unit" / "dns" / "lab.py")
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)

pytestmark = pytest.mark.timeout(120)
RULES = {"allow": ["allowed.test", "*.allowed.test"]}
OWN = "10.9.0.2"
LIVE = 150
"""Rows of a family that go over real sockets."""


def responder(mode: Any = "forward") -> Responder:
    return Responder(Live(compile_rules(**RULES)), mode, (OWN,), {})


def listed(name: str) -> bool:
    return name == "allowed.test" or name.endswith(".allowed.test")


def asked(outcome: Outcome) -> str:
    """What is wrong with the question that would go upstream: only listed names, in lower case, of class IN, of a plain type."""
    ask = outcome.ask
    if ask is None:
        return ""
    end = ask.section.index(b"\0") + 1
    text = dns.message.from_wire(struct.pack(">6H", 1, RD, 1, 0, 0, 0) + ask.section).question[0]
    rtype, rclass = struct.unpack(">HH", ask.section[end:])
    name = text.name.to_text(omit_final_dot=True)
    fine = listed(name) and name == name.lower() and rclass == 1 and rtype in MAY_BE_ASKED and ask.key == (name, rtype)
    return "" if fine else f"asks {ask.section!r}"


def replied(row: Row, reply: bytes | None) -> str:
    """What is wrong with a reply, read by another library; "" for none."""
    if reply is None:
        return "" if row.expect == "silent" else "silence"
    if reply[:2] != row.wire[:2] or not reply[2] & 0x80:
        return f"a reply to something else: {reply[:12]!r}"
    try:
        message = dns.message.from_wire(reply)
    except Exception as error:  # a reply dnspython can't read
        return f"unreadable: {error}"
    if message.answer and row.expect in ("deny", "silent"):
        return f"answers {message.answer}"
    return ""


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("mode", ["forward", "self"])
@pytest.mark.parametrize("family", FAMILIES)
def test_judged(family: str, mode: str, tcp: bool) -> None:
    wrong = []
    made = responder(mode)
    for row in FAMILIES[family]():
        outcome = made.respond(row.wire, tcp)
        problem = asked(outcome)
        if mode == "self" and outcome.ask:
            problem = "asks in mode self"
        if mode == "forward" and (outcome.ask is not None) != (row.expect == "same") and row.expect != "either":
            problem = f"asked: {outcome.ask is not None}"
        if outcome.ask is None:
            problem = problem or replied(row, outcome.reply)
        if outcome.event.code not in CODES or (outcome.event.verdict == "allow") != (
            outcome.event.code == "dns.allowed"
        ):
            problem = f"{outcome.event}"
        if row.expect == "same" and outcome.event.code != "dns.allowed":
            problem = outcome.event.code
        if problem:
            wrong.append((row.id, row.expect, problem))
    assert wrong == []


@pytest.mark.parametrize("rtype", sorted(ANSWERED))
def test_what_a_hostile_upstream_says(rtype: int) -> None:
    made = responder()
    asking = made.respond(query(question(BELOW, rtype)), True).ask
    assert asking is not None
    wrong = []
    passed = 0
    for title, section, counts in answers(rtype):
        wire = struct.pack(">6H", 0xABCD, 0x8180, *counts) + asking.section + section
        if counts[0] != 1:
            assert not matches(wire, wire[:2], asking.section), title
            continue
        try:
            answer = decode_answer(wire, "x.allowed.test", rtype, 12 + len(asking.section))
        except BadAnswer:
            continue
        outcomes = made.finish(asking, True, answer)
        reply = outcomes[0].reply
        assert reply is not None
        message = dns.message.from_wire(reply)
        passed += bool(message.answer)
        owners = {"x.allowed.test."}
        for rrset in message.answer:
            if rrset.name.to_text() not in owners or rrset.rdtype not in (rtype, dns.rdatatype.CNAME):
                wrong.append((title, f"{rrset}"))
            if rrset.rdtype == dns.rdatatype.CNAME:
                owners.add(rrset[0].target.to_text())
            elif not all(classify(item.address).is_global for item in rrset):
                wrong.append((title, f"{rrset}"))
            if rrset.ttl > 86400:
                wrong.append((title, f"ttl {rrset.ttl}"))
        sound = title.startswith(("ttl", "1 alias", "8 alias", "16 alias")) or title.endswith(
            (" too", " and mine", "and public")
        )
        if sound and not message.answer:
            wrong.append((title, "nothing is left of a sound answer"))
        if title.startswith("class") and message.answer:
            wrong.append((title, "records of another class"))
        if message.authority or message.additional:
            wrong.append((title, "more than an answer"))
        local = title.startswith("local")
        if local != any(outcome.event.code == "egress.address-not-global" for outcome in outcomes):
            wrong.append((title, f"{[outcome.event.code for outcome in outcomes]}"))
    assert wrong == []
    assert passed > 20


async def udp(served: Any, row: Row) -> bytes | None:
    """The reply to one datagram; None where none came before that to a plain question which followed it."""
    if row.expect != "same":
        reply: bytes | None = await served.send_raw(row.wire)
        return reply
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", served.port))
        await loop.sock_sendall(sock, row.wire)
        return await asyncio.wait_for(loop.sock_recv(sock, 65535), 10)


@pytest.mark.parametrize("family", FAMILIES)
async def test_live_over_udp_and_tcp(family: str) -> None:
    rows = [row for row in FAMILIES[family]() if row.wire]
    rows = rows if len(rows) <= LIVE else random.Random(family).sample(rows, LIVE)
    wrong = []
    async with lab.forwarding(RULES, limits=lab.SHORT) as (served, upstream):
        for row in rows:
            upstream.asked.clear()
            replies = [await udp(served, row)]
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(len(row.wire).to_bytes(2) + row.wire)
            writer.write_eof()
            async with asyncio.timeout(10):
                stream = await reader.read()
            writer.close()
            if stream:
                assert int.from_bytes(stream[:2]) == len(stream) - 2, row.id
            replies.append(stream[2:] or None)
            problem = next(filter(None, (replied(row, reply) for reply in replies)), "")
            if any(not listed(name) or name != name.lower() for name in upstream.asked) or (
                row.expect in ("deny", "silent") and upstream.asked
            ):
                problem = f"asked {upstream.asked}"
            if row.expect == "same" and not all(reply and dns.message.from_wire(reply).answer for reply in replies):
                problem = f"{replies}"
            if problem:
                wrong.append((row.id, row.expect, problem))
        assert (await served.ask("alive.own.test", timeout=5)).answer
    assert wrong == []
