"""Floods: sockets, memory and the log stay bounded, and honest clients are still served."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import random
import socket
from pathlib import Path

import dns.message

from kap.config.model import Limits

_spec = importlib.util.spec_from_file_location("dns_lab", Path(__file__).parents[1] / "unit" / "dns" / "lab.py")
assert _spec is not None and _spec.loader is not None
lab = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(lab)


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_kib() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def from_a_new_port(port: int, wire: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(("127.0.0.1", port))
        await loop.sock_sendall(sock, wire)
        async with asyncio.timeout(10):
            return await loop.sock_recv(sock, 2048)


async def test_three_thousand_queries_from_new_ports_cost_no_socket_and_no_memory() -> None:
    async with lab.forwarding(cache_entries=0) as (served, fake):
        wires = [dns.message.make_query(f"n{n}.allowed.test", "A").to_wire() for n in range(300)]
        for wire in wires:  # every name once: caches and pools have their size
            await from_a_new_port(served.port, wire)
        fake.raw.clear()
        files, memory = open_files(), resident_kib()
        for n in range(3000):
            await from_a_new_port(served.port, wires[n % 300])
            if n % 300 == 0:
                served.log.events.clear()
                fake.raw.clear()
                fake.asked.clear()
        assert open_files() <= files + 16
        assert resident_kib() <= memory + 8192


async def test_sockets_are_replaced_and_the_old_ones_closed() -> None:
    from kap.dns import upstream

    async with lab.forwarding(cache_entries=0) as (served, fake):
        before = open_files()
        for n in range(upstream.SOCKETS):
            await served.ask(f"warm{n}.allowed.test")
        for channels in served.server._upstream._channels.values():
            for channel in channels:
                channel.used = upstream.QUERIES_PER_SOCKET
        ports = set(fake.ports)
        for n in range(upstream.SOCKETS * 2):
            await served.ask(f"again{n}.allowed.test")
        assert len(fake.ports - ports) >= upstream.SOCKETS - 1
        assert open_files() <= before + upstream.SOCKETS + 1


async def test_a_flood_of_garbage_leaves_a_bounded_log_and_a_count() -> None:
    rng = random.Random(5)
    async with lab.serve() as served:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(("127.0.0.1", served.port))
            for n in range(3000):
                sock.send(rng.randbytes(40))
                if n % 50 == 0:
                    await asyncio.sleep(0)
        assert (await served.ask("allowed.test")).answer
    events = served.log.events
    assert len(events) < 200
    assert any(event.kind == "notice" and event.code == "dns.bad-query" for event in events)
    told = sum(int(e.detail.split()[0]) if e.kind == "notice" else 1 for e in events if e.code.startswith("dns."))
    assert told > 1000, "what was held back is counted"


async def test_a_dead_upstream_is_bounded_in_questions_and_in_time() -> None:
    limits = Limits(dns_inflight=64, dns_seconds=0.6)
    async with lab.forwarding(limits=limits) as (served, _):
        asked = [asyncio.ensure_future(served.ask(f"drop.n{n}.allowed.test", timeout=10)) for n in range(150)]
        got = await asyncio.gather(*asked)
        assert {message.rcode().to_text(message.rcode()) for message in got} == {"SERVFAIL"}
        assert set(served.log.codes()) == {"dns.limit", "dns.upstream-failure"}
        assert served.log.codes().count("dns.upstream-failure") == 64
        assert served.server._upstream.busy == 0
        assert (await served.ask("x.allowed.test")).answer


async def test_what_is_remembered_of_queries_is_bounded() -> None:
    async with lab.serve({"allow": ["*.allowed.test"]}) as served:
        client = NoClient()
        for n in range(10_000):
            served.server.handle(dns_query(n), client)
        assert all(len(memo) <= 4096 for memo in served.server._memo)
        assert client.replies == 10_000


class NoClient:
    """Counts replies; not a socket."""

    tcp = False
    label = "192.0.2.1:1"

    def __init__(self) -> None:
        self.replies = 0

    def reply(self, data: bytes | None) -> None:
        self.replies += data is not None


def dns_query(n: int) -> bytes:
    label = f"n{n}".encode()
    return b"\0\1\1\0\0\1\0\0\0\0\0\0" + bytes((len(label),)) + label + b"\x07allowed\x04test\0\0\1\0\1"
