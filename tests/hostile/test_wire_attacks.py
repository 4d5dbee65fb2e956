"""Attacks on the wire, on both engines: smuggling in many spellings, floods without an end, noise. What reaches an origin is always a
strictly valid request for the host that was allowed; what is refused is refused early; the proxy is well afterwards."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator

import pytest

from kap.egress.http1 import BadMessage, RequestHead, RequestParser
from rig.client import Client
from rig.plane import SOON, client_hello
from rig.wire import ALLOWED, PONG, Stage, stage, talk

pytestmark = pytest.mark.timeout(300)
CEILING = 24 << 20
"""Bytes that can be in sockets' buffers and the proxy's together before a flood has to have been stopped."""


def seen_at_the_origin(on: Stage) -> list[str]:
    """What is wrong with what reached an origin, judged by the strict parser alone."""
    wrong = []
    if on.denied.seen or any(address != ALLOWED for address, _ in on.dialled):
        wrong.append(f"dialled {on.dialled}")
    for record in on.allowed.seen:
        parser = RequestParser(origin_port=80)
        parser.feed(bytes(record))
        parser.feed_eof()
        try:
            while (event := parser.next()) is not None:
                if isinstance(event, RequestHead) and (
                    event.target.host.text != "allowed.test" or b"denied" in event.path
                ):
                    wrong.append(f"a request for {event.target}{event.path!r}")
        except BadMessage as error:
            if "ended inside" not in error.message:
                wrong.append(f"{error.message}: {bytes(record)!r}")
    return wrong


CODINGS = [
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding:chunked",
    b"transfer-encoding:  CHUNKED \t",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"X: y\r\n Transfer-Encoding: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: chunked\x00",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: 'chunked'",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding: chunked;",
    b"Transfer-Encoding: ,chunked",
    b"Transfer-Encoding: chunk",
    b"Transfer-Encoding:",
    b"Transfer_Encoding: chunked",
    b"Transfer-Encoding: chunked\r\nConnection: Transfer-Encoding",
    b"Tran\x73fer-Enc\xf6ding: chunked",
]
LENGTHS = [
    b"",
    b"Content-Length: 0",
    b"Content-Length: 5",
    b"Content-Length: 500",
    b"Content-Length: +5",
    b"Content-Length: 0x5",
    b"Content-Length: 5, 5",
    b"Content-Length: 5\r\nContent-Length: 0",
    b"Content-Length: 5 ",
    b"Content-Length : 5",
    b"Content-Length: -1",
    b"Content-Length: 5\r\nConnection: Content-Length",
]
SMUGGLED = b"GET http://denied.test/denied HTTP/1.1\r\nHost: denied.test\r\n\r\n"


def smuggling() -> Iterator[bytes]:
    for coding, length in itertools.product(CODINGS, LENGTHS):
        fields = b"".join(line + b"\r\n" for line in (length, coding) if line)
        head = b"POST http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n" + fields + b"\r\n"
        yield head + b"0\r\n\r\n" + SMUGGLED


async def test_smuggling(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []
    async with stage(engine, monkeypatch) as on:
        for raw in smuggling():
            on.clear()
            await talk(await on.open(), raw)
            await on.rig.settled()
            wrong = seen_at_the_origin(on)
            if wrong:
                failures.append((raw, wrong))
    assert failures == []


async def flood(client: Client, start: bytes, more: bytes) -> tuple[int, bytes]:
    """Send `start`, then `more` without an end, until the other side stops it; how much went, and what it said."""
    sent = len(start)
    client.writer.write(start)
    try:
        async with asyncio.timeout(4 * SOON):
            while sent < CEILING and not client.writer.is_closing():
                client.writer.write(more)
                sent += len(more)
                await client.writer.drain()
                await asyncio.sleep(0)
                if client.reader.at_eof():
                    break
    except (ConnectionError, TimeoutError):
        pass
    answer = b""
    try:
        answer = await client.rest()
    except TimeoutError:
        answer = b"(still open)"
    client.close()
    return sent, answer


GET = b"GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n"
POST = GET.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"
CONNECT = b"CONNECT allowed.test:443 HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
FLOODS = {
    "header value": (GET + b"X: ", b"a" * 65_536),
    "header lines": (GET, b"X: y\r\n" * 10_000),
    "request line": (b"GET http://allowed.test/", b"a" * 65_536),
    "method": (b"", b"A" * 65_536),
    "empty lines": (b"", b"\r\n" * 30_000),
    "chunk extension": (POST + b"5;", b"a" * 65_536),
    "chunk size": (POST, b"0" * 65_536),
    "trailers": (POST + b"0\r\n", b"X: y\r\n" * 10_000),
    "client hello": (
        CONNECT + b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380),
        b"\x16\x03\x01\x40\x00" + bytes(16_384),
    ),
    "hello of one-byte records": (CONNECT + b"\x16\x03\x01\x00\x01\x01", b"\x16\x03\x01\x00\x01\x00" * 10_000),
}


@pytest.mark.parametrize("name", FLOODS)
async def test_floods(engine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(engine, monkeypatch) as on:
        sent, answer = await flood(await on.open(), *FLOODS[name])
        assert sent < CEILING and answer != b"(still open)"
        assert seen_at_the_origin(on) == [] or name == "client hello"
        await on.rig.settled()
        assert [code for code in on.events.codes() if code != "egress.allowed"], "it is in the log"
        good = await talk(await on.open(), GET + b"Connection: close\r\n\r\n", head_first=True)
        assert good.endswith(b"ok")


async def test_noise(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeded, so that a failure can be had again."""
    dice = random.Random(2026)
    seeds = [GET + b"\r\n", POST + b"5\r\nhello\r\n0\r\n\r\n", CONNECT + client_hello("allowed.test"), SMUGGLED, b""]
    failures = []
    async with stage(engine, monkeypatch) as on:
        for number in range(250):
            raw = bytearray(dice.choice(seeds) + dice.choice(seeds))
            for _ in range(dice.randrange(6)):
                place = dice.randrange(len(raw) + 1)
                raw[place : place + dice.randrange(3)] = dice.randbytes(dice.randrange(4))
            on.clear()
            await talk(await on.open(), bytes(raw))
            await on.rig.settled()
            web = [record for record in on.allowed.seen if not record.startswith(b"\x16")]
            on.allowed.seen[:] = web
            wrong = seen_at_the_origin(on)
            if wrong:
                failures.append((number, bytes(raw), wrong))
        client = await on.open()
        await client.send(CONNECT)
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        await client.send(client_hello("allowed.test"))
        assert await client.exactly(len(PONG)) == PONG
        client.close()
    assert failures == []
