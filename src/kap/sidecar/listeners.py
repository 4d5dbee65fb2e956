"""The sidecar's listening sockets: parsed, bound, served, and opened again when one dies.

Rules: all of them bind or the sidecar does not start; one that dies later is an event, turns the health red, and is opened again on the
same address at growing intervals; nobody else can take a port over (no ``SO_REUSEPORT``).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, get_args

import msgspec

from kap.audit.event import Event
from kap.audit.log import Recorder
from kap.errors import KapError, UsageError
from kap.names.hosts import BadTarget, parse_authority
from kap.sidecar.status import ListenerStatus

Kind = Literal["proxy", "http", "tls", "dns", "gate"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DEFAULT_PORTS: Mapping[Kind, int] = {"proxy": 3128, "http": 80, "tls": 443, "dns": 53}
"""``gate`` has none: it is there only where it is asked for."""

WATCH = 0.5
FIRST_DELAY = 0.5
LAST_DELAY = 30.0
_PAIR_ATTEMPTS = 20
_BACKLOG = 1024

Serve = Callable[[socket.socket], Awaitable[None]]
_log = logging.getLogger("kap.sidecar")


class Endpoint(msgspec.Struct, frozen=True):
    """An IP address and a port to listen on (0: any free one)."""

    address: str
    port: int

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def parse_listen(text: str) -> tuple[Kind, Endpoint]:
    """``KIND=ADDRESS[:PORT]`` of the command line; raises `UsageError`."""
    name, _, rest = text.partition("=")
    for kind in KINDS:
        if kind == name:
            return kind, parse_endpoint(rest, DEFAULT_PORTS.get(kind))
    raise UsageError(
        f"--listen {text!r} names no listener", f"write one of {', '.join(KINDS)}: --listen proxy=0.0.0.0:3128"
    )


def parse_endpoint(text: str, default_port: int | None) -> Endpoint:
    """``ADDRESS[:PORT]``, an IPv6 address in brackets; raises `UsageError`."""
    any_port = text.endswith(":0")  # no target, but the way to say "any free port"
    try:
        target = parse_authority(text[:-2], 1) if any_port else parse_authority(text, default_port)
    except BadTarget as bad:
        raise UsageError(
            f"cannot listen on {text!r}: {bad}", "write an IP address and a port, like 0.0.0.0:3128"
        ) from bad
    if not target.host.is_ip:
        raise UsageError(
            f"cannot listen on the name {text!r}", "write an IP address; 0.0.0.0 stands for every IPv4 address"
        )
    return Endpoint(target.host.text, 0 if any_port else target.port)


def bind(kind: Kind, endpoint: Endpoint) -> list[socket.socket]:
    """The bound sockets of one listener (two for ``dns``: UDP, then TCP on the same port). Raises `KapError`."""
    try:
        if kind != "dns":
            return [_socket(endpoint, socket.SOCK_STREAM)]
        return _pair(endpoint)
    except OSError as error:
        raise KapError(
            f"cannot listen on {endpoint} ({kind}): {os.strerror(error.errno or 0)}", _cure(error)
        ) from error


def _pair(endpoint: Endpoint) -> list[socket.socket]:
    for attempt in range(_PAIR_ATTEMPTS):
        udp = _socket(endpoint, socket.SOCK_DGRAM)
        try:
            return [udp, _socket(Endpoint(endpoint.address, udp.getsockname()[1]), socket.SOCK_STREAM)]
        except OSError:
            udp.close()
            if endpoint.port or attempt == _PAIR_ATTEMPTS - 1:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free for both UDP and TCP")


def _socket(endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
    sock = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((endpoint.address, endpoint.port))
        if kind == socket.SOCK_STREAM:
            sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _cure(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need CAP_NET_BIND_SERVICE or the sysctl net.ipv4.ip_unprivileged_port_start=0"
    if error.errno == errno.EADDRINUSE:
        return "another program listens there; stop it, or give another port with --listen"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address; 0.0.0.0 stands for every IPv4 address"
    return "give another address with --listen"


class Listener:
    """One served socket. `status` tells how it is."""

    def __init__(self, kind: Kind, sock: socket.socket, serve: Serve) -> None:
        address, port = sock.getsockname()[:2]
        datagrams = sock.type == socket.SOCK_DGRAM
        name = "dns-tcp" if kind == "dns" and not datagrams else kind
        self.status = ListenerStatus(name, address, port)
        self.sock = sock
        self._type = socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM
        self._serve = serve
        self._delay = FIRST_DELAY

    @property
    def alive(self) -> bool:
        """Whether the socket is still there and, for TCP, still listening."""
        if self.sock.fileno() < 0:
            return False
        try:
            if self._type == socket.SOCK_STREAM:
                return bool(self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
            return self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED)
        except OSError:
            return False

    async def start(self) -> None:
        """Hand the socket to its plane."""
        await self._serve(self.sock)

    async def reopen(self) -> bool:
        """Bind the same address again and serve it; False, with `status.error`, where that fails."""
        try:
            with contextlib.suppress(OSError):
                self.sock.close()
            self.sock = _socket(Endpoint(self.status.address, self.status.port), self._type)
            await self._serve(self.sock)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from serving, it is tried again later
            self.status.error = getattr(error, "strerror", None) or str(error) or type(error).__name__
            return False
        self.status.up, self.status.error = True, ""
        self._delay = FIRST_DELAY
        return True

    def next_delay(self) -> float:
        """Seconds until the next try; doubles each time."""
        delay, self._delay = self._delay, min(2 * self._delay, LAST_DELAY)
        return delay


class Supervisor:
    """Starts `listeners` and keeps them up. `changed` is called when the status of one changed."""

    def __init__(
        self,
        listeners: Sequence[Listener],
        audit: Recorder,
        *,
        changed: Callable[[], None] = lambda: None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.listeners = tuple(listeners)
        self.changed = changed
        self._audit = audit
        self._sleep = sleep

    async def start(self) -> None:
        """Serve all of them. Raises what a plane raises: a sidecar starts whole or not at all."""
        for listener in self.listeners:
            await listener.start()

    async def run(self) -> None:
        """Watch them for ever."""
        async with asyncio.TaskGroup() as group:
            for listener in self.listeners:
                group.create_task(self._watch(listener))

    async def _watch(self, listener: Listener) -> None:
        while True:
            await self._sleep(WATCH)
            if listener.alive:
                continue
            status = listener.status
            status.up, status.restarts = False, status.restarts + 1
            status.error = status.error or "the socket was closed"
            where = f"{status.kind} {Endpoint(status.address, status.port)}"
            _log.error("the listener %s died; opening it again", where)
            self._audit.record(Event("notice", "sidecar", "sidecar.listener-failed", detail=f"{where}: {status.error}"))
            self.changed()
            while not await listener.reopen():
                _log.error("the listener %s cannot be opened: %s", where, status.error)
                self.changed()
                await self._sleep(listener.next_delay())
            _log.info("the listener %s is up again", where)
            self.changed()
