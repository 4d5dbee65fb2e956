"""What the name server's tests share: an upstream that records what it is asked, a log in memory, a server on port 0.

The upstream and the client are dnspython's: another reading of the RFCs than ours on both sides of the wire.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from kap.audit.event import Event
from kap.config.model import Limits
from kap.dns.server import NameServer
from kap.policy.compiler import compile_rules
from kap.policy.live import Live

PUBLIC = "9.9.9.10"
PUBLIC6 = "2620:fe::10"


class MemoryLog:
    """Keeps events; `wait` for one with a code."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._news = asyncio.Event()

    def record(self, event: Event) -> None:
        self.events.append(event)
        self._news.set()

    def codes(self) -> list[str]:
        return [event.code for event in self.events]

    async def wait(self, count: int = 1, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while len(self.events) < count:
                self._news.clear()
                await self._news.wait()


class Upstream(asyncio.DatagramProtocol):
    """Answers any name with a public address; names that begin with a known word misbehave. `asked` and `raw` keep it all."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.raw: list[bytes] = []
        self.ports: set[int] = set()
        self.port = 0
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.raw.append(data)
        self.ports.add(addr[1])
        query = dns.message.from_wire(data)
        name = query.question[0].name.to_text().rstrip(".")
        self.asked.append(name)
        word = name.split(".")[0]
        if word in ("drop", "once") and (word == "drop" or self.asked.count(name) == 1):
            return
        if word == "garbage":
            self.transport.sendto(
                data[:2] + b"\x81\x80" + data[4:6] + b"\0\1\0\0\0\0" + data[12 : len(data) - 11] + b"\xc0", addr
            )
            return
        if word == "forged":
            self._forge(query, data, addr)
        delay = 0.3 if word == "slow" else 0
        wire = self.answer(query).to_wire(max_size=65535)
        if len(wire) > 1232:
            short = dns.message.make_response(query)
            short.flags |= dns.flags.TC | dns.flags.RA
            wire = short.to_wire()
        asyncio.get_running_loop().call_later(delay, self.transport.sendto, wire, addr)

    def _forge(self, query: dns.message.Message, data: bytes, addr: tuple[str, int]) -> None:
        """What an attacker off the path can send: the wrong id, the wrong question, the right ones from another socket."""
        lie = dns.message.make_response(query)
        lie.answer.append(dns.rrset.from_text(query.question[0].name, 60, "IN", "A", "6.6.6.6"))
        wire = lie.to_wire()
        self.transport.sendto(bytes((wire[0] ^ 1,)) + wire[1:], addr)
        self.transport.sendto(wire.replace(b"\x06forged", b"\x06FORGED", 1), addr)
        self.transport.sendto(data, addr)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(wire, addr)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        question = query.question[0]
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        name, word = question.name, question.name.labels[0].decode()
        add = lambda owner, rtype, *texts, ttl=60: reply.answer.append(  # noqa: E731
            dns.rrset.from_text(owner, ttl, "IN", rtype, *texts)
        )
        if word in ("servfail", "nx", "refuse"):
            reply.set_rcode(
                {"servfail": dns.rcode.SERVFAIL, "nx": dns.rcode.NXDOMAIN, "refuse": dns.rcode.REFUSED}[word]
            )
        elif word == "cname-loop":
            add(name, "CNAME", "b.allowed.test.")
            add("b.allowed.test.", "CNAME", name.to_text())
        elif word == "alias":
            add(name, "CNAME", "cdn.example.net.")
            add("cdn.example.net.", "A", PUBLIC)
        elif word == "wrongname":
            add("denied.test.", "A", PUBLIC)
        elif word == "mixed" and question.rdtype == dns.rdatatype.A:
            add(name, "A", PUBLIC, "10.0.0.1", "169.254.169.254")
        elif word == "private":
            add(name, *(("A", "127.0.0.1") if question.rdtype == dns.rdatatype.A else ("AAAA", "::ffff:127.0.0.1")))
        elif word == "many":
            add(name, "A", *(f"9.9.{n // 250}.{n % 250 + 1}" for n in range(300)))
        elif word in ("big", "huge"):
            add(name, "TXT", *(f'"{n:03}{"x" * 200}"' for n in range(8 if word == "big" else 250)))
        elif question.rdtype == dns.rdatatype.A:
            add(name, "A", PUBLIC, ttl=0 if word == "fresh" else 60)
        elif question.rdtype == dns.rdatatype.AAAA:
            add(name, "AAAA", PUBLIC6)
        elif question.rdtype == dns.rdatatype.HTTPS:
            add(name, "HTTPS", "1 . alpn=h2 ech=AEX+DQBBpQAgACBm")
        return reply

    async def serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            size = int.from_bytes(await reader.readexactly(2))
            data = await reader.readexactly(size)
            self.raw.append(data)
            query = dns.message.from_wire(data)
            self.asked.append(query.question[0].name.to_text().rstrip("."))
            wire = self.answer(query).to_wire(max_size=65535)
            writer.write(len(wire).to_bytes(2) + wire)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def bind_pair() -> tuple[socket.socket, socket.socket]:
    """A datagram and a listening stream socket on one free port (free for both takes a few tries on a busy machine)."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        try:
            return udp, socket.create_server(udp.getsockname())
        except OSError:
            udp.close()
    raise AssertionError("no port is free for both UDP and TCP")


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    loop = asyncio.get_running_loop()
    fake = Upstream()
    udp, tcp = bind_pair()
    fake.port = tcp.getsockname()[1]
    server = await asyncio.start_server(fake.serve_tcp, sock=tcp)
    transport, _ = await loop.create_datagram_endpoint(lambda: fake, sock=udp)
    try:
        yield fake
    finally:
        transport.close()
        server.close()


class Served:
    """A running name server, its log, its policy cell, and its port (the same for UDP and TCP)."""

    def __init__(self, server: NameServer, log: MemoryLog, live: Live, port: int) -> None:
        self.server, self.log, self.live, self.port = server, log, live, port

    async def ask(
        self, name: str, rtype: str = "A", *, tcp: bool = False, timeout: float = 10.0, **options: object
    ) -> dns.message.Message:
        query = dns.message.make_query(name, rtype, **options)
        send = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await send(query, "127.0.0.1", timeout=timeout, port=self.port)

    async def send_raw(self, data: bytes) -> bytes | None:
        """One datagram that needs no upstream; its reply, or None where none came before the reply to a plain question after it."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", self.port))
            await loop.sock_sendall(sock, data)
            await self.ask("alive.own.test")  # the server reads and answers one socket in order
            try:
                return sock.recv(65535)
            except BlockingIOError:
                return None

    async def exchange(self, data: bytes) -> bytes:
        """One datagram and its reply."""
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(("127.0.0.1", self.port))
            await loop.sock_sendall(sock, data)
            async with asyncio.timeout(10):
                return await loop.sock_recv(sock, 65535)


RULES = {"allow": ["allowed.test", "*.allowed.test"], "deny": ["denied.test", "*.denied.test"]}


@asynccontextmanager
async def serve(policy: object = RULES, **options: object) -> AsyncIterator[Served]:
    """A server with `policy` (rules, or None for none) and an own name ``alive.own.test``; other keywords go to `NameServer`."""
    log = MemoryLog()
    live = Live(compile_rules(**policy) if isinstance(policy, dict) else policy)
    options.setdefault("names", {"alive.own.test": "127.0.0.1"})
    server = NameServer(live, log, **options)
    udp, tcp = bind_pair()
    port = tcp.getsockname()[1]
    await server.serve_udp(udp)
    await server.serve_tcp(tcp)
    try:
        yield Served(server, log, live, port)
    finally:
        await server.close()


@asynccontextmanager
async def forwarding(policy: object = RULES, **options: object) -> AsyncIterator[tuple[Served, Upstream]]:
    """A forwarding server and its upstream."""
    async with (
        upstream() as fake,
        serve(policy, answer="forward", upstream=f"127.0.0.1:{fake.port}", **options) as served,
    ):
        yield served, fake


SHORT = Limits(dns_seconds=0.6, head_seconds=0.5)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Give other tasks their turn until `condition` holds; fails by time-out."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it waits for state of the code under test, which has no event to offer
            await asyncio.sleep(0)


async def closed(reader: asyncio.StreamReader, seconds: float = 6.0) -> bool:
    """True when the other side closes without a further octet; fails by time-out."""
    async with asyncio.timeout(seconds):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True
