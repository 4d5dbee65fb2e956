"""A client of raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

from rig.plane import SOON


class Client:
    """One TCP connection; every wait has a limit."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), SOON)

    async def head(self) -> bytes:
        """Up to and with the empty line."""
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), SOON)

    async def exactly(self, count: int) -> bytes:
        return await asyncio.wait_for(self.reader.readexactly(count), SOON)

    async def rest(self) -> bytes:
        """Everything to the end; a reset counts as an end."""
        parts = []
        with contextlib.suppress(ConnectionError):
            while data := await asyncio.wait_for(self.reader.read(1 << 18), SOON):
                parts.append(data)
        return b"".join(parts)

    async def response(self) -> tuple[int, dict[str, str], bytes]:
        """A response with Content-Length."""
        head = (await self.head()).decode("latin-1")
        lines = head.split("\r\n")
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
        body = await self.exactly(int(fields.get("content-length", "0")))
        return int(lines[0].split(" ")[1]), fields, body

    def half_close(self) -> None:
        self.writer.write_eof()

    def reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


async def connect(port: int) -> Client:
    return Client(*await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), SOON))


async def open_tunnel(port: int, authority: str) -> Client:
    """CONNECT, answered 200."""
    client = await connect(port)
    await client.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
    head = await client.head()
    assert head.startswith(b"HTTP/1.1 200 "), head
    return client


async def ask(port: int, raw: bytes) -> tuple[int, dict[str, str], bytes]:
    """One request, one response with Content-Length."""
    client = await connect(port)
    await client.send(raw)
    try:
        return await client.response()
    finally:
        client.close()
