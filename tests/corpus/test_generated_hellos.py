"""The families of `generated_hellos`: all through the reader, and those that differ on the wire live, on both engines."""

from __future__ import annotations

import importlib.util
import random

import pytest

from corpus.generated_hellos import FAMILIES, A, Row, plain, record
from kap.egress.clienthello import BadHello, HelloReader, check_hello
from kap.names.hosts import Host, Target
from kap.policy.codes import CODES
from rig.wire import ALLOWED, PONG, Stage, stage

pytestmark = pytest.mark.timeout(120)
TARGET = Target(Host("allowed.test"), 443)
LIVE = 40
"""Rows of a family that go over real sockets: all of a small one, else a fixed choice."""


def read(row: Row, *, ech: bool) -> tuple[str, bytes]:
    """``tunnel``, a code, or ``more`` (then the plane's deadline closes); and what would be sent on."""
    reader = HelloReader()
    for number, segment in enumerate(row.segments):
        try:
            hello = reader.feed(segment)
        except BadHello as bad:
            assert bad.code in CODES
            return bad.code, b""
        if hello is not None:
            code = check_hello(hello, TARGET, ech)
            return (code or "tunnel"), bytes(reader.data) + b"".join(row.segments[number + 1 :])
    return "more", b""


@pytest.mark.parametrize("family", FAMILIES)
def test_read(family: str) -> None:
    wrong = []
    seen = set()
    for row in FAMILIES[family]():
        got, sent = read(row, ech=True)
        seen.add(row.expect)
        if (row.expect == "tunnel" and got != "tunnel") or (row.expect == "block" and got == "tunnel"):
            wrong.append((row.id, row.expect, got))
        if got == "tunnel" and sent != b"".join(row.segments):
            wrong.append((row.id, "not the same bytes", got))
        closed = read(row, ech=False)[0]
        if closed == "tunnel" if row.ech else closed != got:
            wrong.append((row.id, "with ech refused", closed))
    assert wrong == []
    assert "block" in seen


def chosen(family: str) -> list[Row]:
    rows = [row for row in FAMILIES[family]() if len(row.segments) < 100]
    return rows if len(rows) <= LIVE else random.Random(family).sample(rows, LIVE)


async def live(on: Stage, row: Row) -> str:
    on.clear()
    client = await on.open()
    await client.send(b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test:443\r\n\r\n")
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    sent = b""
    try:
        for segment in row.segments:
            await client.send(segment)
            sent += segment
        client.half_close()
    except ConnectionError:
        pass
    answer = await client.rest()
    client.close()
    await on.rig.settled()
    if any(address != ALLOWED for address, _ in on.dialled):
        return f"dialled {on.dialled}"
    got = b"".join(on.allowed.take())
    if got == sent and answer == PONG:
        return "tunnel"
    codes = [code for code in on.events.codes() if code != "egress.allowed"]
    if not got and PONG not in answer and codes and "egress.internal-error" not in codes and CODES.keys() >= set(codes):
        return "block"
    return f"the origin got {got[:60]!r} of {sent[:60]!r}, the client {answer[:60]!r}, {codes}"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("engine", ["plane", "mitmproxy"])
async def test_live(family: str, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "mitmproxy" and importlib.util.find_spec("mitmproxy") is None:
        pytest.skip("mitmproxy is not installed (it needs Python 3.13)")
    wrong = []
    async with stage(engine, monkeypatch, ech=("allowed.test",)) as on:
        for row in chosen(family):
            got = await live(on, row)
            wanted = "tunnel" if read(row, ech=True)[0] == "tunnel" else "block"
            if got != wanted or row.expect not in (got, "either"):
                wrong.append((row.id, row.expect, wanted, got))
        assert await live(on, Row("last", (record(plain(A)),), "tunnel")) == "tunnel"
    assert wrong == []
