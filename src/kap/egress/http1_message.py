"""What both directions of HTTP/1 share: buffering, limits, body framing. Sans-io; `http1` has the two parsers and the example.

Rules: bytes are searched once (an incomplete head or line keeps a cursor), body bytes are handed out without being copied, and an
error is final: every later `next` raises it again.

Sources: RFC 9112 6, 7 (message body, chunked coding).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Generic, TypeVar

import msgspec

from kap.egress.http1_fields import FIELDS, VALUE, BadMessage, Pair, parse_trailers

HEAD, FIXED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILERS, UNTIL_CLOSE, DONE, SWITCHED = range(9)

_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15}+)(?:[ \t]*+;" + VALUE + rb")?\r\n")
_TRAILER_SECTION = re.compile(FIELDS)


class WireLimits(msgspec.Struct, frozen=True):
    """Bytes, except `fields` (count, of a head or trailer section). `chunk_line`: chunk size with its extensions."""

    head_bytes: int = 65_536
    fields: int = 128
    chunk_line: int = 256
    trailer_bytes: int = 8192


class End(msgspec.Struct, frozen=True):
    """The message is complete. `trailers`: only behind a chunked body."""

    trailers: tuple[Pair, ...] = ()


END = End()
H = TypeVar("H")


class MessageReader(ABC, Generic[H]):
    """Feed bytes, pull events: ``H`` (a head), then body bytes, then `End`, then the next head. `next` returns None for "feed more"."""

    __slots__ = ("_buffer", "_eof", "_error", "_left", "_partial", "_position", "_scanned", "_state", "limits")

    def __init__(self, limits: WireLimits) -> None:
        self.limits = limits
        self._state = HEAD
        self._buffer = b""
        self._position = 0
        self._partial = bytearray()  # an incomplete head or line; then _buffer is empty
        self._scanned = 0  # how much of _partial is known to hold no end
        self._left = 0
        self._eof = False
        self._error: BadMessage | None = None

    @property
    def buffered(self) -> int:
        """Bytes fed and not yet handed out: when to pause reading."""
        return len(self._partial) + len(self._buffer) - self._position

    @property
    def idle(self) -> bool:
        """Between two messages, with nothing of the next one here."""
        return self._state == HEAD and not self.buffered

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the peer."""
        if self._partial:
            self._partial += data
        elif self._position == len(self._buffer):
            self._buffer, self._position = data, 0
        else:
            self._buffer, self._position = self._buffer[self._position :] + data, 0

    def feed_eof(self) -> None:
        """The peer will send no more. `next` then ends an until-close body, or raises where the message is cut short."""
        self._eof = True

    def rest(self) -> bytes:
        """Take what was fed and not handed out, after a CONNECT or an accepted upgrade. Nothing is parsed any more afterwards."""
        self._state = SWITCHED
        data = bytes(self._partial) or self._buffer[self._position :]
        self._partial, self._buffer, self._position = bytearray(), b"", 0
        return data

    def next(self) -> H | bytes | memoryview | End | None:
        """The next event, or None when more bytes are needed. Raises `BadMessage`, once and for ever."""
        if self._error is not None:
            raise self._error
        try:
            state = self._state
            if state == HEAD:
                if self._position == len(self._buffer) and not self._partial:
                    return None
                head = self._next_head()
                if head is None and self.buffered:
                    self._refuse_if_ended("head")
                return head
            if state == DONE:
                self._finish()
                return END
            if state == SWITCHED:
                return None
            return self._next_body(state)
        except BadMessage as error:
            self._error = self._blame(error)
            raise self._error from None

    @abstractmethod
    def _next_head(self) -> H | None:
        """The head at hand, or None when it is not complete."""

    def _finish(self) -> None:
        """A message ended: get ready for the next."""
        self._state = HEAD

    def _blame(self, error: BadMessage) -> BadMessage:
        """The error as this direction names it."""
        return error

    def _begin_body(self, length: int | None, chunked: bool) -> None:
        if chunked:
            self._state = CHUNK_SIZE
        elif length:
            self._state, self._left = FIXED, length
        else:
            self._state = DONE

    def _next_body(self, state: int) -> bytes | memoryview | End | None:
        while True:
            if state in (FIXED, CHUNK_DATA):
                return self._take(state)
            if state == UNTIL_CLOSE:
                return self._take_until_close()
            if state == CHUNK_END:
                if not self._fill(2):
                    self._refuse_if_ended("chunk")
                    return None
                if self._buffer[self._position : self._position + 2] != b"\r\n":
                    raise BadMessage("egress.bad-framing", "a chunk is longer than its size says")
                self._position += 2
                state = self._state = CHUNK_SIZE
            elif state == CHUNK_SIZE:
                if not self._chunk_size():
                    self._refuse_if_ended("chunk size")
                    return None
                state = self._state
            else:
                return self._trailers()

    def _take(self, state: int) -> bytes | memoryview | None:
        buffer, at = self._buffer, self._position
        available = len(buffer) - at
        if not available:
            self._refuse_if_ended("body")
            return None
        taken = min(available, self._left)
        self._left -= taken
        self._position = at + taken
        if not self._left:
            self._state = CHUNK_END if state == CHUNK_DATA else DONE
        return buffer if taken == len(buffer) else memoryview(buffer)[at : at + taken]

    def _take_until_close(self) -> bytes | memoryview | End | None:
        if self._position < len(self._buffer):
            data = memoryview(self._buffer)[self._position :]
            self._position = len(self._buffer)
            return data
        if not self._eof:
            return None
        self._finish()
        return END

    def _chunk_size(self) -> bool:
        """Read one chunk-size line; extensions are checked and dropped."""
        if not self._line(b"\r\n", self.limits.chunk_line, "chunk size line"):
            return False
        match = _CHUNK_LINE.match(self._buffer, self._position)
        if match is None:
            raise BadMessage("egress.bad-framing", "malformed chunk size")
        self._position = match.end()
        self._left = int(match[1], 16)
        self._state = CHUNK_DATA if self._left else TRAILERS
        return True

    def _trailers(self) -> End | None:
        if self._fill(2) and self._buffer[self._position : self._position + 2] == b"\r\n":
            self._position += 2
            self._finish()
            return END
        if not self._line(b"\r\n\r\n", self.limits.trailer_bytes, "trailer section"):
            self._refuse_if_ended("trailers")
            return None
        match = _TRAILER_SECTION.match(self._buffer, self._position)
        if match is None:
            raise BadMessage("egress.bad-framing", "malformed trailer section")
        self._position = match.end()
        trailers = parse_trailers(match[1], self.limits.fields)
        self._finish()
        return End(trailers)

    def _refuse_if_ended(self, where: str) -> None:
        if self._eof:
            raise BadMessage("egress.bad-framing", f"the connection ended inside the {where}")

    def _fill(self, count: int) -> bool:
        """Whether `count` bytes are at hand in `_buffer`."""
        if self._partial and len(self._partial) >= count:
            self._whole()
        if len(self._buffer) - self._position >= count:
            return True
        self._keep_partial()
        return False

    def _line(self, end: bytes, limit: int, what: str) -> bool:
        """Whether `_buffer` holds something that ends in `end`, within `limit` bytes; else what there is becomes `_partial`."""
        if not self._partial:
            found = self._buffer.find(end, self._position, self._position + limit + len(end))
            if found >= 0:
                return True
            self._keep_partial()
        else:
            found = self._partial.find(end, max(0, self._scanned - len(end) + 1), limit + len(end))
            if found >= 0:
                self._whole()
                return True
        self._scanned = len(self._partial)
        if len(self._partial) > limit:
            raise BadMessage(self._too_long(), f"{what} of more than {limit} bytes")
        return False

    def _too_long(self) -> str:
        return "egress.head-too-large" if self._state == HEAD else "egress.bad-framing"

    def _keep_partial(self) -> None:
        if self._position < len(self._buffer):
            self._partial = bytearray(memoryview(self._buffer)[self._position :])
            self._scanned = 0
        self._buffer, self._position = b"", 0

    def _whole(self) -> None:
        self._buffer, self._position, self._partial = bytes(self._partial), 0, bytearray()
        self._scanned = 0
