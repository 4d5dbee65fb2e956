"""Origins that break HTTP, on both engines: whatever one answers, the client reads exactly one answer to each of its requests, and never
one that some origin smuggled in for it."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
from collections.abc import Iterator

import pytest

from kap.egress.http1 import BadMessage, End, ResponseHead, ResponseParser
from rig.client import Client
from rig.wire import Stage, stage

pytestmark = pytest.mark.timeout(300)
BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfalse"
"""What a client must never take for an answer."""

TRUE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"
FRAMINGS = {
    "none": (b"", BODY),
    "length": (b"Content-Length: %d\r\n" % len(BODY), BODY),
    "length, no body": (b"Content-Length: %d\r\n" % len(BODY), b""),
    "length 0": (b"Content-Length: 0\r\n", BODY),
    "chunked": (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "chunked, no body": (b"Transfer-Encoding: chunked\r\n", b""),
    "chunked, trailers": (
        b"Transfer-Encoding: chunked\r\n",
        b"1\r\nx\r\n0\r\nX: y\r\nContent-Length: 3\r\n\r\n" + BODY,
    ),
    "chunked, short": (b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n" + BODY),
    "both": (b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + BODY),
    "two lengths": (b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(BODY), BODY),
    "coding list": (b"Transfer-Encoding: x, chunked\r\n", b"0\r\n\r\n" + BODY),
}
STATUSES = (
    b"200 OK",
    b"204 No Content",
    b"304 Not Modified",
    b"404 Not Found",
    b"100 Continue",
    b"101 Switching",
    b"199 X",
)
METHODS = (b"GET", b"HEAD")


def request(method: bytes, path: bytes) -> bytes:
    return method + b" http://allowed.test" + path + b" HTTP/1.1\r\nHost: allowed.test\r\n\r\n"


def answers() -> Iterator[tuple[bytes, bytes, str, bytes]]:
    for method, status, (name, (fields, body)) in itertools.product(METHODS, STATUSES, FRAMINGS.items()):
        yield method, status, name, b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n" + body


def read_answers(raw: bytes, methods: list[bytes]) -> list[tuple[int, bytes]]:
    """(status, body) of each final answer a strict client reads; `BadMessage` where something is left over or malformed."""
    parser, found = ResponseParser(), []
    parser.feed(raw)
    parser.feed_eof()
    for method in methods:
        parser.expect(method)
        body, head = b"", None
        while (event := parser.next()) is not None:
            if isinstance(event, ResponseHead):
                head = event if not event.interim else head
            elif isinstance(event, End):
                break
            else:
                body += bytes(event)
        if head is None:
            break
        found.append((head.status, body))
    if parser.buffered:
        raise BadMessage("egress.bad-response", f"left over: {parser.rest()!r}")
    return found


async def two_requests(on: Stage, method: bytes, answer: bytes, *, ends: bool) -> bytes:
    """The origin answers ``/first`` with `answer` and everything else with the truth; what the client got. `ends`: it closes
    behind the first."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            writer.write(answer if b"/first" in head else TRUE)
            if b"/first" in head and ends:
                return

    on.allowed.http = origin  # type: ignore[method-assign]
    client: Client = await on.open()
    await client.send(request(method, b"/first"))
    await asyncio.sleep(0)
    await client.send(request(b"GET", b"/second"))
    client.half_close()
    return await client.rest()


@pytest.mark.parametrize("engine", ["plane", "mitmproxy"])
async def test_no_answer_is_smuggled(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if engine == "mitmproxy" and importlib.util.find_spec("mitmproxy") is None:
        pytest.skip("mitmproxy is not installed (it needs Python 3.13)")
    failures = []
    async with stage(engine, monkeypatch) as on:
        for method, status, name, answer in answers():
            on.clear()
            raw = await two_requests(
                on, method, answer, ends=status.startswith(b"1") or name.endswith(("no body", "none"))
            )
            await on.rig.settled()
            try:
                read = read_answers(raw, [method, b"GET"])
            except BadMessage as error:
                if "ended inside" in error.message:
                    continue  # cut short, and the client can tell
                failures.append((method, status, name, error.message, raw[-200:]))
                continue
            if len(read) == 2 and read[1] != (200, b"true") and read[1][0] < 400:
                failures.append((method, status, name, "the second answer is false", raw[-200:]))
    assert failures == []
