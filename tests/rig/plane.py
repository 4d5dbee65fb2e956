"""A `Plane` on loopback with a policy of plain rules, a resolver of plain answers, and a list for a log."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from kap.audit.event import Event
from kap.config.model import Limits
from kap.egress.plane import Kind, Plane
from kap.egress.resolve import ResolveError
from kap.egress.upstream import UpstreamProxy
from kap.policy.compiler import Policy, compile_rules
from kap.policy.live import Live

SOON = 5.0
"""Seconds after which a wait in a test has failed."""

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class EventList(list[Event]):
    """A `Recorder` that keeps the events."""

    def record(self, event: Event) -> None:
        self.append(event)

    def codes(self, kind: str = "decision") -> list[str]:
        return [event.code for event in self if event.kind == kind]

    def allowed(self) -> list[str]:
        return [event.host for event in self if event.kind == "decision" and event.verdict == "allow"]


class StaticResolver:
    """Answers from a dict; a name that is not in it does not exist. `asked` counts; nothing is cached, so every dial asks."""

    def __init__(self, names: dict[str, tuple[str, ...]]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None

    def cached(self, name: str) -> tuple[str, ...] | None:
        return None

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        if self.hold is not None:
            await self.hold.wait()
        if name not in self.names:
            raise ResolveError("no such name in this test")
        return self.names[name]


class Rig:
    """One plane. `port` of each listener; `origins` closes with it."""

    def __init__(self, plane: Plane, events: EventList, resolver: StaticResolver, stack: AsyncExitStack) -> None:
        self.plane = plane
        self.events = events
        self.resolver = resolver
        self._stack = stack

    async def listen(self, kind: Kind = "proxy", port: int | None = None) -> int:
        sock = bound()
        await self.plane.serve(sock, kind, port=port)
        return int(sock.getsockname()[1])

    async def origin(self, handler: Handler, **options: object) -> int:
        return await serve(self._stack, handler, **options)

    async def settled(self) -> None:
        """Wait until the plane has no connection left."""
        async with asyncio.timeout(SOON):
            while self.plane.connections:  # noqa: ASYNC110 - the plane has no event for it, and a test needs none
                await asyncio.sleep(0.005)


def bound(address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    sock.bind((address, 0))
    sock.setblocking(False)
    return sock


async def serve(stack: AsyncExitStack, handler: Handler, **options: object) -> int:
    """An origin on a free port of 127.0.0.1, closed with `stack`."""

    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(run, "127.0.0.1", 0, **options)  # type: ignore[arg-type]

    async def stop() -> None:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.sleep(0)

    stack.push_async_callback(stop)
    return int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def plane_rig(
    *,
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
    private: tuple[str, ...] = ("127.0.0.0/8",),
    ech: tuple[str, ...] = (),
    names: dict[str, tuple[str, ...]] | None = None,
    limits: Limits | None = None,
    upstream: UpstreamProxy | None = None,
    own_addresses: frozenset[str] = frozenset(),
) -> AsyncIterator[Rig]:
    """`names` default to ``allowed.test`` and ``other.test``, both 127.0.0.1."""
    events = EventList()
    resolver = StaticResolver(
        {"allowed.test": ("127.0.0.1",), "other.test": ("127.0.0.1",)} if names is None else names
    )
    policy = compile_rules(allow=allow, deny=deny, private=private, ech=ech)
    live = Live(policy)
    plane = Plane(
        live,
        events,
        resolver=resolver,
        limits=limits or Limits(),
        upstream=upstream,
        own_addresses=own_addresses,
    )
    async with AsyncExitStack() as stack:
        stack.push_async_callback(plane.close)
        yield Rig(plane, events, resolver, stack)


def policy_of(*allow: str, private: tuple[str, ...] = ("127.0.0.0/8",), deny: tuple[str, ...] = ()) -> Policy:
    """Rules as texts."""
    return compile_rules(allow=allow, private=private, deny=deny)


def client_hello(name: str | None) -> bytes:
    """What OpenSSL sends first when it wants to talk to `name`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    side = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        side.do_handshake()
    return outgoing.read()
