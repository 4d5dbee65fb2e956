"""A client that sends all it has and then its end, before the server is even dialled, is answered like any other, on both engines."""

from __future__ import annotations

import asyncio

import pytest

from corpus.generated_hellos import A, D, plain, record
from rig.plane import SOON
from rig.wire import PONG, Stage, stage

HEAD = b"CONNECT allowed.test:%d HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


async def whole(on: Stage, raw: bytes) -> bytes:
    """Send and end while the name is still being resolved; everything that comes back."""
    held = on.rig.resolver.hold = asyncio.Event()
    asked = len(on.rig.resolver.asked)
    client = await on.open()
    await client.send(raw)
    client.half_close()
    async with asyncio.timeout(SOON):
        while len(on.rig.resolver.asked) == asked:  # noqa: ASYNC110 - the resolver of the test has no event for it
            await asyncio.sleep(0.005)
    for _ in range(20):  # the end has come to the proxy by now
        await asyncio.sleep(0.001)
    held.set()
    answer = await client.rest()
    await on.rig.settled()
    return answer


@pytest.mark.parametrize(
    ("raw", "answer", "codes"),
    [
        (HEAD % 443 + record(plain(A)), OPEN + PONG, ["egress.allowed"]),
        (HEAD % 443, OPEN, ["egress.allowed"]),
        (HEAD % 8443 + record(plain(A)), OPEN + PONG, ["egress.allowed"]),
        (b"GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n", b"ok", ["egress.allowed"]),
        (HEAD % 80 + GET, b"ok", ["egress.allowed", "egress.allowed"]),
        (HEAD % 80 + GET[:20], OPEN, ["egress.allowed"]),
        (HEAD % 443 + record(plain(A))[:60], OPEN, ["egress.allowed", "egress.bad-hello"]),
        (HEAD % 443 + record(plain(D)), OPEN, ["egress.allowed", "egress.sni-mismatch"]),
        (HEAD % 443 + GET, OPEN, ["egress.allowed", "egress.not-tls"]),
    ],
    ids=[
        "hello",
        "nothing",
        "hello on another port",
        "plain",
        "plain in a tunnel",
        "half a request in a tunnel",
        "half a hello",
        "another name",
        "no TLS",
    ],
)
async def test_end_before_the_dial(
    engine: str, raw: bytes, answer: bytes, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(engine, monkeypatch) as on:
        got = await whole(on, raw)
        assert got.startswith(answer) if answer.startswith(b"HTTP") else got.endswith(answer)
        assert PONG in got or not answer.endswith(PONG)
        assert [
            code for code in on.events.codes() if code != "egress.bad-framing"
        ] == codes  # half a request, where it is told
        assert PONG in got or not any(b"R" * 32 in record for record in on.allowed.seen)
