"""What all connections of one plane share: the policy in force, the log, the limits, the registry, the clock's sweep.

Rules: a connection is registered from accept to its last close, whatever protocol object stands for it at the moment; counts never
leak; one sweep serves every deadline, so a connection costs no timer of its own, and an empty plane does not wake up.
"""

from __future__ import annotations

import asyncio
import resource
import time
from typing import TYPE_CHECKING

from kap.config.model import Limits
from kap.egress.connector import Connector
from kap.egress.http1 import RequestHead, WireLimits
from kap.names.hosts import Target
from kap.policy.live import Live

if TYPE_CHECKING:
    from kap.audit.log import Recorder
    from kap.egress.connection import ClientSide
    from kap.egress.upstream import UpstreamProxy

SWEEP = 0.25
"""Seconds between two looks at the deadlines: how late a deadline may be noticed."""

SPLICES = 512
"""Tunnels relayed by the kernel at once; the others are relayed in user space. Each holds six descriptors."""

_RESERVED = 128  # descriptors kept for the log, DNS, the resolver's threads and the listening sockets
_KNOWN, _KNOWN_BYTES = 1024, 1024
_TURNED_AWAY = 64  # connections beyond the limit that are still told why


class PlaneState:
    """See the module. `loop` is set when the plane starts to serve."""

    __slots__ = (
        "_event_id",
        "_last_key",
        "_overload_at",
        "_overloaded",
        "_sweeper",
        "audit",
        "capacity",
        "connections",
        "connector",
        "known_connects",
        "known_requests",
        "limits",
        "live",
        "loop",
        "per_client",
        "spliced",
        "upstream",
        "wire_limits",
    )

    loop: asyncio.AbstractEventLoop

    def __init__(
        self, live: Live, audit: Recorder, connector: Connector, limits: Limits, upstream: UpstreamProxy | None
    ) -> None:
        self.live = live
        self.audit = audit
        self.connector = connector
        self.connections: dict[int, ClientSide] = {}
        self.known_connects: dict[bytes, Target] = {}
        self.known_requests: dict[bytes, tuple[RequestHead, bytes]] = {}
        self.per_client: dict[str, int] = {}
        self.spliced = 0
        self.configure(limits, upstream)
        self._event_id = 0
        self._last_key = 0
        self._overloaded = 0
        self._overload_at = 0.0
        self._sweeper: asyncio.TimerHandle | None = None

    def configure(self, limits: Limits, upstream: UpstreamProxy | None) -> None:
        """Take these limits and this upstream proxy for what comes from now on."""
        self.limits = limits
        self.upstream = upstream
        self.wire_limits = WireLimits(head_bytes=limits.head_bytes)
        self.capacity = min(limits.connections, descriptors_for_connections())

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """The plane serves on `loop` from now on."""
        self.loop = loop
        self.connector.loop = loop

    def admit(self, connection: ClientSide) -> bool:
        """Register a new connection; False when the plane or this client has too many (it is registered all the same)."""
        peer = connection.peer
        count = self.per_client.get(peer, 0) + 1
        self.per_client[peer] = count
        self._last_key += 1
        connection.key = self._last_key
        self.connections[connection.key] = connection
        if self._sweeper is None:
            self._sweeper = self.loop.call_later(SWEEP, self._sweep)
        return len(self.connections) <= self.capacity and count <= self.limits.connections_per_client

    def leave(self, connection: ClientSide) -> None:
        """The last close of a connection; safe to call twice."""
        if self.connections.pop(connection.key, None) is None:
            return
        count = self.per_client[connection.peer] - 1
        if count:
            self.per_client[connection.peer] = count
        else:
            del self.per_client[connection.peer]

    def remember_connect(self, head: bytes, target: Target) -> None:
        """`head`, all of a client's first bytes, is a strictly parsed CONNECT to `target`: the same bytes mean the same next time."""
        if len(head) <= _KNOWN_BYTES:
            if len(self.known_connects) >= _KNOWN:
                self.known_connects.clear()
            self.known_connects[head] = target

    def remember_request(self, data: bytes, head: RequestHead, rebuilt: bytes) -> None:
        """`data` is exactly one strictly parsed request without a body; `rebuilt` is what it is sent on as."""
        if len(data) <= _KNOWN_BYTES:
            if len(self.known_requests) >= _KNOWN:
                self.known_requests.clear()
            self.known_requests[data] = (head, rebuilt)

    def next_id(self) -> int:
        """A number that ties a decision to its ``closed`` event."""
        self._event_id += 1
        return self._event_id

    def overloaded(self, connection: ClientSide) -> None:
        """Turn a connection away that `admit` found too many. At most one event a second: a flood must not become a log flood."""
        self._overloaded += 1
        now = time.monotonic()
        if now - self._overload_at >= 1:
            detail = f"{self._overloaded} turned away, {len(self.connections)} connections open"
            connection.record("egress.limit-connections", "deny", detail=detail)
            self._overload_at, self._overloaded = now, 0
        if len(self.connections) <= self.capacity + _TURNED_AWAY:
            connection.finish(connection.overload_answer())
        else:
            connection.transport.abort()

    def _sweep(self) -> None:
        now = time.monotonic()
        for connection in list(self.connections.values()):
            try:
                connection.tick(now)
            except Exception as error:  # noqa: BLE001 - one broken connection must not stop the clock of the others
                connection.broken(error)
        self._sweeper = self.loop.call_later(SWEEP, self._sweep) if self.connections else None

    def stop(self) -> None:
        """No sweep any more."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None


def descriptors_for_connections() -> int:
    """How many connections the process's descriptor limit carries at two sockets each, splices set aside."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return 1 << 20
    return max(8, (soft - _RESERVED) // 2)


def may_splice(state: PlaneState) -> bool:
    """True while descriptors are left for one more spliced tunnel (six of them in place of two)."""
    spare = 2 * (descriptors_for_connections() - len(state.connections)) - 4 * state.spliced
    return state.spliced < SPLICES and spare > _RESERVED
