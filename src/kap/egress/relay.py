"""An accepted tunnel: bytes both ways until both sides have ended.

Rules: a half-close travels; each side's slowness stops the other side's reading; bytes are counted; after `SPLICE_AFTER` bytes one way
the tunnel moves into the kernel, where it keeps its counts, its idle limit and its place in the registry; one ``closed`` event.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from kap.egress.connection import ClientSide
from kap.egress.grant import Grant
from kap.egress.server_side import ServerSide, reset
from kap.egress.splice import Splice
from kap.egress.state import may_splice
from kap.policy.compiler import Policy

SPLICE_AFTER = 512 * 1024
"""Bytes one way after which a tunnel is moved into the kernel. Earlier, set-up costs more than it saves."""

LOOP_BUFFER = 65_536
"""The event loop's own limit for what waits to be written; a relay has no use for more."""

_NEVER = 1 << 62
_DRAIN_FIRST = 0.001
_DRAIN_TRIES = 7
"""Waits for empty buffers, doubling from 1 ms: 127 ms in all, then the tunnel goes on as it was."""


class Relay(ClientSide):
    """See the module."""

    __slots__ = (
        "_client_full",
        "_closing_code",
        "_draining",
        "_seen",
        "_server_full",
        "_splice",
        "_splice_at",
        "down",
        "grant",
        "server",
        "up",
    )

    server: ServerSide

    def begin(self, server: ServerSide, grant: Grant, up: int, down: int) -> None:
        """Take both sides over. `up` and `down` count the bytes that have already passed."""
        self.grant = grant
        self.server = server
        self.up = up
        self.down = down
        self._seen = -1
        self._splice: Splice | None = None
        self._splice_at = SPLICE_AFTER
        self._draining = False
        self._client_full = False
        self._server_full = False
        self._closing_code = "egress.allowed"
        self.take_over()
        server.owner = self
        limits = self.plane.limits
        self.deadline = time.monotonic() + limits.idle_seconds
        if limits.buffer_bytes < LOOP_BUFFER:
            self.transport.set_write_buffer_limits(high=limits.buffer_bytes)
            server.transport.set_write_buffer_limits(high=limits.buffer_bytes)
        self.transport.resume_reading()
        server.transport.resume_reading()
        if self.ended:
            self.eof_received()
        if server.ended or server.lost:
            self._server_already_gone()

    # -- bytes

    def data_received(self, data: bytes) -> None:
        """Client to server."""
        self.server.transport.write(data)
        self.up += len(data)
        if self.up > self._splice_at:
            self._consider_splice()

    def server_data(self, data: bytes) -> None:
        """Server to client."""
        self.transport.write(data)
        self.down += len(data)
        if self.down > self._splice_at:
            self._consider_splice()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._client_full = True
        self.server.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._client_full = False
        if not self._draining:
            self.server.transport.resume_reading()

    def server_full(self, full: bool) -> None:
        """See `ServerOwner`."""
        self._server_full = full
        if full:
            self.transport.pause_reading()
        elif not self._draining:
            self.transport.resume_reading()

    # -- ends

    def eof_received(self) -> bool:
        """The client's half of the tunnel has ended. Staying half open with both ends seen would leak the transports."""
        self.ended = True
        transport = self.server.transport
        if self.server.ended or transport.is_closing():
            return False
        if transport.can_write_eof():
            with suppress(OSError):
                transport.write_eof()
        return True

    def server_ended(self) -> bool:
        """See `ServerOwner`."""
        if self.ended or self.transport.is_closing():
            return False
        if not self.transport.can_write_eof():
            self.transport.close()
            return False
        with suppress(OSError):
            self.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone: the server's side ends the same way, orderly or by reset."""
        if self._splice is not None:
            return  # Only the transport went; the tunnel lives on in the kernel.
        self._gone()
        transport = self.server.transport
        if not transport.is_closing():
            _close(transport, exc)

    def server_lost(self, error: Exception | None) -> None:
        """See `ServerOwner`."""
        if self._splice is None and not self.transport.is_closing():
            _close(self.transport, error)

    def abort(self) -> None:
        """Both sides, at once, by RST: neither may take what it has for the whole."""
        if self._splice is not None:
            self._splice.close(ConnectionAbortedError())
            return
        reset(self.transport)
        reset(self.server.transport)

    def _server_already_gone(self) -> None:
        if self.server.lost or not self.server_ended():
            self.transport.close()

    def _gone(self) -> None:
        if self.key in self.plane.connections:
            self.plane.leave(self)
            grant = self.grant
            self.record_closed(grant.number, self._closing_code, grant.target, grant.address, self.up, self.down)

    # -- time and policy

    def tick(self, now: float) -> None:
        """The idle limit runs from the last byte either way."""
        moved = self.up + self.down if self._splice is None else self._splice.moved
        if moved != self._seen:
            self._seen = moved
            self.deadline = now + self.plane.limits.idle_seconds
        elif now >= self.deadline:
            self.expire()

    def expire(self) -> None:
        """Nothing was sent for too long."""
        self._closing_code = "egress.idle-timeout"
        self.abort()

    def revoked_by(self, policy: Policy) -> bool:
        """See `ClientSide`."""
        return not self.grant.permitted_by(policy, self.plane.connector)

    def revoke(self) -> None:
        """See `ClientSide`."""
        grant = self.grant
        self.record("egress.revoked", "deny", target=grant.target, address=grant.address, rule=None)
        self._closing_code = "egress.revoked"
        self.abort()

    # -- into the kernel

    def _consider_splice(self) -> None:
        self._splice_at = _NEVER
        if not may_splice(self.plane) or not _plain(self.transport) or not _plain(self.server.transport):
            return
        self._draining = True
        self.transport.pause_reading()
        self.server.transport.pause_reading()
        self._drain(0)

    def _drain(self, tries: int) -> None:
        """Splice once nothing is left in either transport; give up for a while where that does not happen soon."""
        client, server = self.transport, self.server.transport
        if client.is_closing() or server.is_closing():
            self._draining = False
            return
        if self.ended or self.server.ended:
            self._stay(_NEVER)
        elif not client.get_write_buffer_size() and not server.get_write_buffer_size():
            self._enter_kernel()
        elif tries < _DRAIN_TRIES:
            self.plane.loop.call_later(_DRAIN_FIRST * (1 << tries), self._drain, tries + 1)
        else:
            self._stay(max(self.up, self.down) + SPLICE_AFTER)

    def _stay(self, splice_at: int) -> None:
        """Go on in user space; a side whose peer is still full stays stopped until that has caught up."""
        self._draining = False
        self._splice_at = splice_at
        if not self._server_full:
            self.transport.resume_reading()
        if not self._client_full:
            self.server.transport.resume_reading()

    def _enter_kernel(self) -> None:
        client, server = self.transport, self.server.transport
        try:
            splice = Splice(self.plane.loop, _descriptor(client), _descriptor(server), self._splice_closed)
        except OSError:
            self._stay(_NEVER)
            return
        self._splice = splice
        self._draining = False
        self.plane.spliced += 1
        self._seen = -1
        client.abort()
        server.abort()
        splice.start()

    def _splice_closed(self, error: OSError | None) -> None:
        assert self._splice is not None
        self.plane.spliced -= 1
        self.up += self._splice.up.moved
        self.down += self._splice.down.moved
        self._gone()


def _plain(transport: asyncio.Transport) -> bool:
    """True for a TCP transport without TLS of ours on it: its descriptor carries exactly the tunnel's bytes."""
    return transport.get_extra_info("ssl_object") is None and transport.get_extra_info("socket") is not None


def _descriptor(transport: asyncio.Transport) -> int:
    return int(transport.get_extra_info("socket").fileno())


def _close(transport: asyncio.Transport, error: Exception | None) -> None:
    """The way the other side ended."""
    if error is None:
        transport.close()
    else:
        reset(transport)
