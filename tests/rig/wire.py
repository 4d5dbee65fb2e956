"""The stage for the wire corpora: ``allowed.test`` and ``denied.test`` on addresses of their own, an origin behind each that writes down
every byte, and a loop that dials nothing but them.

No low port is bound: connections to ``127.0.1.x:80`` and so on are led to the origin's real port by the loop, which also keeps the
list of everything that was dialled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kap.config.model import Limits
from rig.client import Client, connect
from rig.plane import SOON, EventList

ALLOWED, DENIED, GIT = "127.0.1.1", "127.0.1.2", "127.0.1.3"
NAMES = {
    "allowed.test": (ALLOWED,),
    "denied.test": (DENIED,),
    "git.test": (GIT,),
    "allowed.test.denied.test": (DENIED,),
}
PORTS = (22, 25, 80, 443, 8443)
LIMITS = Limits(head_seconds=2.0, hello_seconds=2.0, connect_seconds=3.0, response_seconds=5.0)
PONG = b"PONG-from-the-origin"


class Origin:
    """Every connection's bytes in `seen`. On 80 it speaks HTTP, on other ports it says PONG to the first bytes."""

    def __init__(self) -> None:
        self.seen: list[bytearray] = []

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        record = bytearray()
        self.seen.append(record)
        answered = 0
        while data := await reader.read(1 << 16):
            record += data
            heads = record.count(b" HTTP/1.1\r\n")
            if record.endswith(b"\r\n") or b"\r\n\r\n" in record:
                body = b"" if record.startswith(b"HEAD ") else b"ok"
                for _ in range(heads - answered):
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + body)
                answered = heads

    async def pong(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        record = bytearray()
        self.seen.append(record)
        while data := await reader.read(1 << 16):
            if not record:
                writer.write(PONG)
            record += data

    def take(self) -> list[bytes]:
        """What was seen since the last time."""
        out = [bytes(record) for record in self.seen]
        self.seen.clear()
        return out


class Stage:
    """`port` of the proxy; the origins; `dialled`: every (address, port) since the last `clear`."""

    def __init__(self, rig: Any, events: EventList) -> None:
        self.rig = rig
        self.events = events
        self.port = 0
        self.allowed = Origin()
        self.denied = Origin()
        self.git = Origin()
        self.dialled: list[tuple[str, int]] = []

    def clear(self) -> None:
        for origin in (self.allowed, self.denied, self.git):
            origin.seen.clear()
        self.dialled.clear()
        self.events.clear()

    async def open(self) -> Client:
        return await connect(self.port)

    async def _lead(self, monkeypatch: Any) -> None:
        """Lead what the proxy dials to the origins, and refuse everything else."""
        loop = asyncio.get_running_loop()
        real = loop.create_connection
        ports = {}
        for address, origin in ((ALLOWED, self.allowed), (DENIED, self.denied), (GIT, self.git)):
            http = await self.rig.origin(
                lambda reader, writer, origin=origin: origin.http(reader, writer)
            )  # may be replaced
            pong = await self.rig.origin(origin.pong)
            ports |= {(address, port): http if port == 80 else pong for port in PORTS}

        async def create_connection(factory: Any, host: Any = None, port: Any = None, **rest: Any) -> Any:
            if (host, port) == ("127.0.0.1", self.port):  # a test's client
                return await real(factory, host, port, **rest)
            self.dialled.append((host, port))
            if (host, port) not in ports:
                raise ConnectionRefusedError(111, f"nothing at {host}:{port} on this stage")
            return await real(factory, "127.0.0.1", ports[(host, port)], **rest)

        monkeypatch.setattr(loop, "create_connection", create_connection)


@asynccontextmanager
async def stage(engine: str, monkeypatch: Any, *, ech: tuple[str, ...] = ()) -> AsyncIterator[Stage]:
    """`engine`: ``plane`` (kap's own) or ``mitmproxy`` (its layers under kap's gate)."""
    rules: dict[str, Any] = {
        "allow": ("allowed.test", "allowed.test:8443", "git.test"),
        "private": ("127.0.0.0/8",),
        "ech": ech,
        "names": NAMES,
        "limits": LIMITS,
    }
    if engine == "plane":
        from rig.plane import plane_rig as make
    else:
        from rig.gate import gate_rig as make  # type: ignore[assignment]
    async with make(**rules) as rig:
        made = Stage(rig, rig.events)
        made.port = await rig.listen()
        await made._lead(monkeypatch)
        yield made


async def talk(client: Client, raw: bytes, *, head_first: bool = False) -> bytes:
    """Send, half-close, and read to the end. `head_first`: half-close only when a response head has come."""
    head = b""
    try:
        await client.send(raw)
        if head_first:
            head = await client.head()
        client.half_close()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    return head + await asyncio.wait_for(client.rest(), 2 * SOON)
