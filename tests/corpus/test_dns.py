"""The corpus of DNS cases, live, in both modes, against an upstream that records what it is asked."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import socket
from pathlib import Path
from typing import Any

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).parents[1] / "unit" / "dns" / "lab.py")
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)

RULES = {"allow": ["allowed.test", "*.allowed.test"]}
TEXTS = {word: [f'"{n:03}{"x" * 200}"' for n in range(count)] for word, count in (("big", 8), ("huge", 250))}
"""What the upstream server of `lab` says to TXT."""


def build(case: dict[str, Any]) -> tuple[bytes, bool]:
    """The octets of a case, and whether it speaks TCP."""
    if "raw" in case:
        return bytes.fromhex(case["raw"]), bool(case.get("tcp_raw"))
    spec = case["query"]
    rtype = dns.rdatatype.from_text(spec["type"])
    query = dns.message.make_query(spec["name"], rtype, spec.get("rdclass", "IN"), id=0xABCD)
    if "edns" in spec:
        options = [dns.edns.GenericOption(code, bytes.fromhex(text)) for code, text in spec.get("options", [])]
        query.use_edns(spec["edns"], 0x8000 if spec.get("do") else 0, spec.get("payload", 1232), options=options)
    return query.to_wire(), bool(spec.get("tcp"))


def cases(corpora: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (corpora / "dns_cases.jsonl").read_text().splitlines()]


def judge(case: dict[str, Any], got: dict[str, Any] | None, asked: list[str], codes: list[str]) -> str:
    """ "" where the case is as the corpus expects; else what is wrong."""
    expect = case["expect"]
    if any(name != "allowed.test" and not name.endswith(".allowed.test") for name in asked):
        return f"the upstream was asked {asked}"
    if any(name != name.lower() for name in asked):
        return f"the upstream was asked {asked}, not canonical"
    if expect == "deny" and (asked or (got and got["answer"])):
        return f"denied, but asked {asked} and answered {got}"
    if expect in ("no_upstream", "no_upstream_other") and asked:
        return f"asked {asked}"
    if expect == "https" and got and got["answer"]:
        return "HTTPS records pass"
    if expect == "servfail_or_timeout" and got and got["rcode"] != "SERVFAIL":
        return f"{got}"
    if expect in ("same", "truncated"):
        rcode = "SERVFAIL" if "servfail" in case["id"] else "NOERROR"
        wanted = (
            [lab.PUBLIC] if case["query"]["type"] == "A" else TEXTS.get(case["query"]["name"].partition(".")[0], [])
        )
        cut = expect == "truncated"
        if not got or got["rcode"] != rcode or got["cut"] != cut:
            return f"{got} {codes}"
        if rcode == "NOERROR" and sorted(got["answer"]) != ([] if cut else wanted):
            return f"{got} {codes}"
    return ""


async def test_every_case_is_as_the_corpus_expects_when_forwarding(corpora: Path) -> None:
    wrong = {}
    for case in cases(corpora):
        async with lab.forwarding(RULES, limits=lab.SHORT) as (served, fake):
            wire, tcp = build(case)
            got = await ask(served, wire, tcp, case.get("query", {}).get("split", 0))
            codes = [
                code
                for event, code in zip(served.log.events, served.log.codes(), strict=True)
                if event.host != "alive.own.test"
            ]
            problem = judge(case, got, fake.asked, codes)
            if problem or not await alive(served):
                wrong[case["id"]] = problem or "dead"
    assert wrong == {}


async def test_every_case_both_ways_in_self_mode_asks_nobody(corpora: Path) -> None:
    wrong = {}
    for case in cases(corpora):
        for tcp in (False, True):
            async with lab.serve(RULES, addresses=("10.9.0.2",), limits=lab.SHORT) as served:
                wire, _ = build(case)
                got = await ask(served, wire, tcp, 0)
                allowed = case["expect"] in ("same", "policy", "truncated", "alive", "servfail_or_timeout")
                if got and got["answer"] and (not allowed or set(got["answer"]) != {"10.9.0.2"}):
                    wrong[case["id"], tcp] = str(got)
                if not await alive(served):
                    wrong[case["id"], tcp] = "dead"
    assert wrong == {}


async def ask(served: Any, wire: bytes, tcp: bool, split: int) -> dict[str, Any] | None:
    """RCODE and answer texts, or None where the server kept silent (known by its event, not by waiting)."""
    if tcp:
        message = await over_tcp(served, wire, split)
    else:
        message = await over_udp(served, wire)
    if message is None:
        return None
    return {
        "rcode": dns.rcode.to_text(message.rcode()),
        "answer": [item.to_text() for rrset in message.answer for item in rrset],
        "cut": bool(message.flags & dns.flags.TC),
    }


async def over_udp(served: Any, wire: bytes) -> dns.message.Message | None:
    """The reply to one datagram; None where the server records it and says nothing."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", served.port))
        await loop.sock_sendall(sock, wire)
        await served.log.wait(1)
        await served.ask("alive.own.test")  # what is on its way out goes first
        try:
            return dns.message.from_wire(sock.recv(65535))
        except BlockingIOError:
            return None


async def over_tcp(served: Any, wire: bytes, split: int) -> dns.message.Message | None:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    data = len(wire).to_bytes(2) + wire
    for start in range(0, len(data), split or len(data)):
        writer.write(data[start : start + (split or len(data))])
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(10):
            return dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        return None
    finally:
        writer.close()


async def alive(served: Any) -> bool:
    """Whether a plain question is still answered."""
    return bool((await served.ask("alive.own.test", timeout=5)).answer)
