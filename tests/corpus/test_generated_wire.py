"""The families of `generated_wire`, live, on both engines; the client's end comes right behind what it sends.

What an origin saw is read again by a parser of this test's own.
"""

from __future__ import annotations

import re
from typing import Any

import pytest

from corpus.generated_framing import bodies, noise, smuggling
from corpus.generated_wire import Row, connects, hosts, urls
from kap.policy.codes import CODES
from rig.wire import ALLOWED, Stage, stage, talk

FAMILIES = {"connect": connects, "urls": urls, "hosts": hosts, "bodies": bodies, "smuggling": smuggling, "noise": noise}

pytestmark = pytest.mark.timeout(120)


def misread(record: bytes) -> str:
    """What is wrong with the requests an origin got; "" where each is whole, framed in one way, and names the one host."""
    while record:
        head, found, record = record.partition(b"\r\n\r\n")
        if not found:
            return f"half a head: {head[:200]!r}"
        line, *lines = head.split(b"\r\n")
        if not re.fullmatch(rb"[!-~]+ (?:/[!-~]*|\*) HTTP/1\.1", line):
            return f"request line {line[:200]!r}"
        fields = [re.fullmatch(rb"([!#-'*+.0-9A-Z^-z|~-]+): ([^\r\n\0]*)", each) for each in lines]
        if not all(fields):
            return f"fields {lines!r}"
        values = [(each[1].lower(), each[2]) for each in fields if each]
        named = [value for key, value in values if key == b"host"]
        if named != [b"allowed.test"]:
            return f"hosts {named}"
        if any(
            b"denied" in value
            for key, value in values
            if key in (b"x-forwarded-host", b"forwarded", b"x-host", b"proxy-authorization")
        ):
            return f"routed elsewhere: {values}"
        lengths = [value for key, value in values if key == b"content-length"]
        codings = [value for key, value in values if key == b"transfer-encoding"]
        if len(lengths) + len(codings) > 1:
            return f"two framings: {values}"
        if lengths:
            record = record[int(lengths[0]) :]
        elif codings:
            match = re.match(rb"(?:([0-9a-f]+)\r\n(?s:.*?)\r\n)*?0\r\n(?:[!-~]+:[^\r\n]*\r\n)*\r\n", record)
            record = record[match.end() :] if match else b""
    return ""


def problems(on: Stage, row: Row, answer: bytes) -> list[str]:
    if answer.startswith(b"HTTP/1.1 100 "):  # RFC 9110 15.2.1: the final answer follows
        answer = answer.partition(b"\r\n\r\n")[2]
    status = answer[9:12] if answer.startswith(b"HTTP/1.1 ") else b""
    wrong = [f"denied origin got {bytes(one)[:100]!r}" for one in on.denied.seen]
    wrong += [f"dialled {address}:{port}" for address, port in on.dialled if address != ALLOWED]
    wrong += [found for record in on.allowed.seen if record[:8] != b"GET http" and (found := misread(bytes(record)))]
    codes = [code for code in on.events.codes() if code != "egress.allowed"]
    if row.expect == "allow" and (not status.startswith(b"2") or codes):
        wrong.append(f"answered {answer[:60]!r} {codes}")
    if row.expect == "deny" and (status.startswith(b"2") or on.dialled):
        wrong.append(f"answered {answer[:60]!r}, dialled {on.dialled}")
    if row.expect == "deny" and not codes:
        wrong.append(f"no event: {on.events.codes()}")
    if not CODES.keys() >= set(codes) or "egress.internal-error" in codes:
        wrong.append(f"codes {codes}")
    if answer and not answer.startswith(b"HTTP/1.1 "):
        wrong.append(f"answered {answer[:60]!r}")
    if b"mitmproxy" in answer.lower() or b"Traceback" in answer:
        wrong.append(f"shows {answer[:200]!r}")
    return wrong


@pytest.mark.parametrize("family", FAMILIES)
async def test_generated(family: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[tuple[str, Any]] = []
    async with stage(engine, monkeypatch) as on:
        for row in FAMILIES[family]():
            on.clear()
            answer = await talk(await on.open(), row.raw)
            await on.rig.settled()
            wrong = problems(on, row, answer)
            if wrong:
                failures.append((row.id, wrong))
        on.clear()
        last = next(row for row in FAMILIES["urls"]() if row.expect == "allow")
        assert problems(on, last, await talk(await on.open(), last.raw)) == [], "well at the end"
    assert failures == []
