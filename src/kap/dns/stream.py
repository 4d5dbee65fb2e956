"""DNS over TCP (RFC 7766): messages behind a two-octet length, many on one connection, answered in any order.

Rules of the module: a connection holds at most a bounded number of unanswered messages and a bounded buffer; it stops reading
instead of growing; it is closed when no whole message comes for a while, and at the first sign that its stream is not DNS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from kap.dns.wire import HEADER_SIZE, MAX_QUERY

if TYPE_CHECKING:
    from kap.dns.server import Client

    Handle = Callable[[bytes, Client], None]

MAX_PENDING: Final = 128
"""Messages of one connection that wait for their answer before it is read again."""
_HIGH_WATER: Final = 262_144


class Connection(asyncio.Protocol):
    """One client over TCP. `handle` gets every message; `forget` is called with this when it is over; `seconds`: how long it may
    take to send the next whole message; `refuse`: close it at once."""

    tcp = True

    def __init__(
        self, handle: Handle, forget: Callable[[Connection], None], seconds: float, *, refuse: bool = False
    ) -> None:
        self._handle = handle
        self._forget = forget
        self._seconds = seconds
        self._refuse = refuse
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._buffer = bytearray()
        self._pending = 0
        self._active = 0.0
        self._ended = False
        self._blocked = False
        self._pumping = False
        self._reading = True
        self.label = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._refuse:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_HIGH_WATER)
        peer = transport.get_extra_info("peername") or ("", 0)
        self.label = f"[{peer[0]}]:{peer[1]}" if ":" in peer[0] else f"{peer[0]}:{peer[1]}"
        loop = asyncio.get_running_loop()
        self._active = loop.time()
        self._timer = loop.call_later(self._seconds, self._on_timer)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._pump()

    def eof_received(self) -> bool:
        """The client asks no more; what it asked is still answered."""
        self._ended = True
        self._pump()
        return self._transport is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._buffer.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._forget(self)

    def pause_writing(self) -> None:
        self._blocked = True

    def resume_writing(self) -> None:
        self._blocked = False
        self._pump()

    def reply(self, data: bytes | None) -> None:
        """Send the answer to one message; a message that deserves none ends the connection."""
        self._pending -= 1
        if self._transport is None:
            return
        if data is None:
            self._transport.abort()
            return
        self._transport.write(len(data).to_bytes(2) + data)
        self._pump()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def _pump(self) -> None:
        """Take whole messages out of the buffer while answers flow, then read on, wait or close."""
        if self._pumping or self._transport is None:
            return
        self._pumping = True
        try:
            taken = self._take_messages(self._transport)
        finally:
            self._pumping = False
        if taken:
            self._active = asyncio.get_running_loop().time()
        self._settle()

    def _take_messages(self, transport: asyncio.Transport) -> int:
        start = taken = 0
        while not self._stalled and not transport.is_closing() and len(self._buffer) - start >= 2:
            size = int.from_bytes(self._buffer[start : start + 2])
            if not HEADER_SIZE <= size <= MAX_QUERY:
                self._pending += 1
                self._handle(b"", self)  # recorded as malformed; the missing reply closes us
                break
            if len(self._buffer) - start - 2 < size:
                break
            message = bytes(self._buffer[start + 2 : start + 2 + size])
            start += 2 + size
            taken += 1
            self._pending += 1
            self._handle(message, self)
        del self._buffer[:start]
        return taken

    def _settle(self) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._ended and not self._pending and not self._stalled:
            transport.close()
        elif self._reading and self._stalled:
            self._reading = False
            transport.pause_reading()
        elif not self._reading and not self._stalled and not self._ended:
            self._reading = True
            transport.resume_reading()

    @property
    def _stalled(self) -> bool:
        return self._blocked or self._pending >= MAX_PENDING

    def _on_timer(self) -> None:
        """Close when no whole message came for `seconds` (a client that does not read its answers counts as silent too)."""
        loop = asyncio.get_running_loop()
        left = self._active + self._seconds - loop.time()
        if left <= 0 and self._transport is not None and (self._blocked or not self._pending):
            self._transport.abort()
            return
        self._timer = loop.call_later(max(left, 1.0), self._on_timer)
