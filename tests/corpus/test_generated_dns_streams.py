"""DNS over TCP as a stream: lengths that lie, many messages at once, other protocols. Nothing of a denied name gets out by any of it."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import dns.message
import pytest

from corpus.generated_dns import ALLOWED, BELOW, DENIED, opt, query, question
from corpus.generated_hellos import plain, record

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).parents[1] / "unit" / "dns" / "lab.py")
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)

pytestmark = pytest.mark.timeout(60)
RULES = {"allow": ["allowed.test", "*.allowed.test"]}
GOOD, BAD = query(question(BELOW)), query(question(DENIED))


def framed(data: bytes, off: int = 0) -> bytes:
    return (len(data) + off).to_bytes(2) + data


def streams() -> Iterator[tuple[str, tuple[bytes, ...], int]]:
    """Title, segments, and how many replies there are to be (-1: any number)."""
    for size in range(12):
        yield f"a message of {size}", (framed(GOOD[:size]),), 0
        yield f"a message of {size}, then a sound one", (framed(GOOD[:size]) + framed(GOOD),), 0
    for off in (-20, -5, -1, 1, 5, 400, 30000):
        yield f"a length of {off}", (framed(BAD, off),), -1
        yield f"a length of {off}, allowed, denied behind", (framed(GOOD, off) + framed(BAD),), -1
    for size in (1, 2, 3, 7):
        wire = framed(GOOD) + framed(BAD) + framed(GOOD)
        yield f"segments of {size}", tuple(wire[at : at + size] for at in range(0, len(wire), size)), 3
    yield "half a message", (framed(GOOD)[:-3],), 0
    yield "half a length", (b"\0",), 0
    yield "one and a half", (framed(GOOD) + framed(GOOD)[:9],), 1
    yield "a hundred", (framed(GOOD) * 50 + framed(BAD) * 50,), 100
    yield "a thousand refused", (framed(BAD) * 1000,), 1000
    yield "a response", (framed(query(question(ALLOWED), 0x8180)) + framed(BAD),), 0
    yield "two questions", (framed(query(question(ALLOWED) + question(DENIED), counts=(2, 0, 0, 0))) + framed(GOOD),), 2
    yield "the longest that is read", (framed(query(question(BELOW), behind=b"\0" * 2000)[:2048]),), 1
    yield "too long", (framed(query(question(BELOW), behind=b"\0" * 3000)),), 0
    yield "64 KiB", (framed(bytes(65535)),), 0
    yield "HTTP", (b"GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n",), 0
    yield "TLS", (record(plain(b"denied.test")),), 0
    yield (
        "edns keep-alive and padding",
        (framed(query(question(ALLOWED), counts=(1, 0, 0, 1), behind=opt(options=b"\0\x0b\0\0\0\x0c\0\4\0\0\0\0"))),),
        1,
    )
    yield "zeros", (b"\0" * 5000,), 0


async def test_streams() -> None:
    wrong = []
    async with lab.forwarding(RULES, limits=lab.SHORT) as (served, upstream):
        for title, segments, count in streams():
            upstream.asked.clear()
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            try:
                for segment in segments:
                    writer.write(segment)
                    await asyncio.sleep(0)
                writer.write_eof()
                async with asyncio.timeout(10):
                    data = await reader.read()
            except ConnectionError:
                data = b""
            finally:
                writer.close()
            replies = 0
            while len(data) >= 2:
                size = int.from_bytes(data[:2])
                message = dns.message.from_wire(data[2 : 2 + size])
                names = {str(rrset.name) for rrset in message.answer}
                if not names <= {"allowed.test.", "x.allowed.test."}:
                    wrong.append((title, f"{names}"))
                data, replies = data[2 + size :], replies + 1
            if data or (count >= 0 and replies != count):
                wrong.append((title, f"{replies} replies"))
            if any("denied" in name for name in upstream.asked):
                wrong.append((title, f"asked {upstream.asked}"))
        assert (await served.ask("x.allowed.test", tcp=True, timeout=5)).answer
    assert wrong == []
