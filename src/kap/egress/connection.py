"""The client's side of a connection: what is the same in every protocol that can stand for it.

Rules: `broken` is the answer to every exception: both sides are closed, nothing is relayed, one event says so. A refusal is written,
ended with FIN, and what the client still sends is thrown away for a moment, so that it gets to read the answer.
"""

from __future__ import annotations

import abc
import asyncio
import logging
import time
from contextlib import suppress
from typing import cast

from kap.audit.event import Event
from kap.egress.state import PlaneState
from kap.names.hosts import Target
from kap.policy.compiler import Policy
from kap.policy.decision import RuleRef

LINGER_SECONDS = 2.0
LINGER_BYTES = 1 << 20

_log = logging.getLogger("kap.egress")


class ClientSide(asyncio.Protocol, abc.ABC):
    """Base of the protocols. Subclasses say what to do with bytes, a passed deadline, a new policy."""

    __slots__ = ("client", "deadline", "ended", "key", "peer", "plane", "started", "subject", "transport")

    client: str
    """``address:port`` of the client's socket, for the log."""
    deadline: float
    """When `expire` is due (`time.monotonic`)."""
    ended: bool
    """The client has sent FIN."""
    key: int
    """Of the plane's registry, the same for every object that stands for the connection."""
    peer: str
    """The client's address, for its limit."""
    started: float
    subject: str
    transport: asyncio.Transport

    def __init__(self, plane: PlaneState, before: ClientSide | None = None) -> None:
        self.plane = plane
        if before is not None:
            self.transport = before.transport
            self.client = before.client
            self.peer = before.peer
            self.subject = before.subject
            self.started = before.started
            self.deadline = before.deadline
            self.ended = before.ended
            self.key = before.key
            return
        self.client = ""
        self.peer = ""
        self.subject = "app"
        self.started = 0.0
        self.deadline = 0.0
        self.ended = False
        self.key = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepted."""
        self.transport = cast(asyncio.Transport, transport)
        name = transport.get_extra_info("peername")
        if isinstance(name, tuple):
            self.peer = name[0]
            self.client = f"{name[0]}:{name[1]}"
        self.started = time.monotonic()
        if self.plane.admit(self):
            self.accepted()
        else:
            self.plane.overloaded(self)

    def accepted(self) -> None:
        """A new connection is within the limits: set its first deadline."""

    def overload_answer(self) -> bytes:
        """What a client is told that comes when there are too many."""
        return b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Gone."""
        self.plane.leave(self)

    def take_over(self) -> None:
        """Made of the object `before`: stand for the connection in its place from now on."""
        self.plane.connections[self.key] = self
        self.transport.set_protocol(self)

    def tick(self, now: float) -> None:
        """Called about four times a second."""
        if now >= self.deadline:
            self.expire()

    @abc.abstractmethod
    def expire(self) -> None:
        """The deadline has passed."""

    def revoked_by(self, policy: Policy) -> bool:
        """True when a new policy forbids what this connection is doing (it is then closed by `revoke`)."""
        return False

    def revoke(self) -> None:
        """Close at once because of a new policy."""
        self.abort()

    def abort(self) -> None:
        """Close both sides at once, without an answer."""
        self.transport.abort()

    def broken(self, error: BaseException) -> None:
        """Something here failed: refuse, loudly for the operator, silently for the client."""
        _log.error("internal error on a connection of %s: %r", self.client, error, exc_info=error)
        self.record("egress.internal-error", "deny", detail=repr(error))
        # Another object may stand for the connection by now, and it is the one that has the server's side.
        self.plane.connections.get(self.key, self).abort()

    def finish(self, answer: bytes) -> None:
        """Write the last bytes to the client and close without cutting them off."""
        if self.transport.is_closing():
            return
        if answer:
            self.transport.write(answer)
        Linger(self.plane, self).begin()

    def record(
        self,
        code: str,
        verdict: str,
        *,
        target: Target | None = None,
        method: str = "",
        rule: RuleRef | None = None,
        address: str = "",
        detail: str = "",
        host: str = "",
    ) -> int:
        """One decision event; its id. `host` stands in where a client's text made no `Target`."""
        plane = self.plane
        policy = plane.live.policy
        number = plane.next_id()
        plane.audit.record(
            Event(
                "decision",
                "egress",
                code,
                id=number,
                verdict=verdict,
                subject=self.subject,
                host=host if target is None else target.host.text,
                port=0 if target is None else target.port,
                method=method,
                rule=rule,
                policy="" if policy is None else policy.digest[:12],
                address=address,
                client=self.client,
                detail=detail,
            )
        )
        return number

    def record_closed(self, number: int, code: str, target: Target | None, address: str, up: int, down: int) -> None:
        """The ``closed`` event of decision `number`: why it ended, bytes from the client (`up`) and to it (`down`)."""
        self.plane.audit.record(
            Event(
                "closed",
                "egress",
                code,
                id=number,
                subject=self.subject,
                host="" if target is None else target.host.text,
                port=0 if target is None else target.port,
                address=address,
                client=self.client,
                bytes_up=up,
                bytes_down=down,
                seconds=round(time.monotonic() - self.started, 6),
            )
        )


class Linger(ClientSide):
    """Reads and forgets until the client has seen our end, for a short while and a bounded number of bytes."""

    __slots__ = ("_left",)

    def begin(self) -> None:
        """Take the connection over after its last answer was written."""
        self.take_over()
        self._left = LINGER_BYTES
        self.deadline = time.monotonic() + LINGER_SECONDS
        if self.ended or not self.transport.can_write_eof():
            self.transport.close()
            return
        with suppress(OSError):
            self.transport.write_eof()
        self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Throw it away."""
        self._left -= len(data)
        if self._left < 0:
            self.transport.abort()

    def eof_received(self) -> bool:
        """Both sides have ended."""
        return False

    def expire(self) -> None:
        """Long enough."""
        self.transport.abort()
