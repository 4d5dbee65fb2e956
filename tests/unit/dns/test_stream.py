"""DNS over TCP: framing, pipelining, limits, time-outs."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import socket
from pathlib import Path

import dns.message

from kap.config.model import Limits

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).with_name("lab.py"))
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)


def frame(name: str, ident: int, rtype: str = "A") -> bytes:
    wire = dns.message.make_query(name, rtype, id=ident).to_wire()
    return len(wire).to_bytes(2) + wire


async def read(reader: asyncio.StreamReader) -> dns.message.Message:
    async with asyncio.timeout(10):
        return dns.message.from_wire(await reader.readexactly(int.from_bytes(await reader.readexactly(2))))


async def test_a_query_may_come_octet_by_octet() -> None:
    async with lab.serve() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        for octet in frame("allowed.test", 7):
            writer.write(bytes((octet,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert (await read(reader)).id == 7
        writer.close()


async def test_pipelined_queries_are_all_answered_in_any_order() -> None:
    async with lab.forwarding() as (served, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(frame("slow.allowed.test", 1) + b"".join(frame(f"n{n}.allowed.test", n) for n in range(2, 400)))
        answers = [await read(reader) for _ in range(399)]
        assert {answer.id for answer in answers} == set(range(1, 400))
        assert answers[0].id != 1, "a slow answer holds nothing up"
        assert all(answer.answer for answer in answers)
        writer.close()


async def test_half_closed_connections_get_their_answers() -> None:
    async with lab.forwarding() as (served, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(frame("slow.allowed.test", 1) + frame("x.allowed.test", 2))
        writer.write_eof()
        assert {(await read(reader)).id, (await read(reader)).id} == {1, 2}
        assert await lab.closed(reader)
        writer.close()


async def test_what_is_not_dns_closes_the_connection_and_is_recorded() -> None:
    async with lab.serve() as served:
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0", b"\0\0", b"\0\x0bshort......"):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(garbage)
            assert await lab.closed(reader)
            writer.close()
        assert served.log.codes() == ["dns.bad-query"] * 4


async def test_a_response_sent_as_a_query_closes_the_connection() -> None:
    async with lab.serve() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        data = bytearray(frame("allowed.test", 9))
        data[4] |= 0x80
        writer.write(bytes(data))
        assert await lab.closed(reader)
        assert served.log.codes() == ["dns.bad-query"]
        writer.close()


async def test_silent_and_trickling_connections_are_closed() -> None:
    async with lab.serve(limits=lab.SHORT) as served:
        silent, writer1 = await asyncio.open_connection("127.0.0.1", served.port)
        slow, writer2 = await asyncio.open_connection("127.0.0.1", served.port)

        async def trickle() -> None:
            for octet in frame("a" * 60 + ".allowed.test", 1) * 4:
                writer2.write(bytes((octet,)))
                await asyncio.sleep(0.1)

        task = asyncio.ensure_future(trickle())
        assert await lab.closed(silent)
        assert await lab.closed(slow)
        task.cancel()
        writer1.close()
        writer2.close()


async def test_connections_are_capped() -> None:
    async with lab.serve(limits=Limits(dns_inflight=3)) as served:
        held = []
        for n in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(frame("allowed.test", n))
            await read(reader)
            held.append(writer)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        assert await lab.closed(reader)
        assert served.log.codes() == ["dns.allowed"] * 3 + ["dns.limit"]
        for open_writer in held:
            open_writer.close()
            await open_writer.wait_closed()
        await lab.until(lambda: not served.server._connections)
        assert (await served.ask("allowed.test", tcp=True)).answer


async def test_a_client_that_does_not_read_stops_being_read() -> None:
    async with lab.serve({"allow": ["*.allowed.test"]}, limits=lab.SHORT) as served:
        loop = asyncio.get_running_loop()
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", served.port))
        chunk = frame("x.allowed.test", 1) * 2000
        sent = 0
        with contextlib.suppress(OSError):
            async with asyncio.timeout(20):
                while True:  # ends when the server stops reading and then closes
                    await loop.sock_sendall(sock, chunk)
                    sent += len(chunk)
        assert sent < 64 * 1024 * 1024
        sock.close()
        assert (await served.ask("x.allowed.test")).answer


async def test_no_connection_is_left_when_the_server_closes() -> None:
    async with lab.serve() as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(frame("allowed.test", 1))
        await read(reader)
    assert await lab.closed(reader)
    writer.close()
