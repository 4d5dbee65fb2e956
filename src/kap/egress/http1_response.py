"""Responses of an origin or an upstream proxy. Sans-io; see `http1` for the rules and an example.

Sources: RFC 9112 4 (status line), 6.3 (message body length); RFC 9110 15 (status codes), 7.8 (101).
"""

from __future__ import annotations

import re

import msgspec

from kap.egress.http1_fields import FIELDS, VALUE, BadMessage, Fields, parse_fields
from kap.egress.http1_message import DONE, HEAD, SWITCHED, UNTIL_CLOSE, MessageReader, WireLimits

_HEAD = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: (" + VALUE + rb"))?\r\n" + FIELDS)
_STATUS_LINE = b"HTTP/1."
_STARTED = re.compile(rb"HTTP/1\.[01] [1-9][0-9][0-9](?: " + VALUE + rb")?\r\n")


class ResponseHead(msgspec.Struct, frozen=True):
    """`interim`: a 1xx, the final response is still to come. `until_close`: the body ends with the connection. `keep_alive`: the
    connection can carry another request after this response. `switched`: the accepted websocket or the opened CONNECT tunnel."""

    status: int
    reason: bytes
    minor: int
    fields: Fields
    interim: bool = False
    until_close: bool = False
    keep_alive: bool = True
    switched: bool = False
    has_body: bool = True


class ResponseParser(MessageReader[ResponseHead]):
    """Reads one connection to an origin. `expect` says which request the next response answers; bytes nobody asked for are refused.
    Every error has the code ``egress.bad-response``. After a head with `switched`, `rest` gives what came behind it."""

    __slots__ = ("_method", "_upgrade")

    def __init__(self, limits: WireLimits | None = None) -> None:
        super().__init__(limits or WireLimits())
        self._method: bytes | None = None
        self._upgrade = False

    def expect(self, method: bytes, upgrade: bool = False) -> None:
        """One request with `method` was sent; `upgrade`: it asked for a websocket."""
        self._method = method
        self._upgrade = upgrade

    def _blame(self, error: BadMessage) -> BadMessage:
        return BadMessage("egress.bad-response", error.message)

    def _finish(self) -> None:
        self._state = HEAD
        self._method = None
        self._upgrade = False

    def _next_head(self) -> ResponseHead | None:
        if self._method is None:
            if self.buffered:
                raise BadMessage("egress.bad-response", "bytes that answer no request")
            return None
        if self._partial and not self._line(b"\r\n\r\n", self.limits.head_bytes, "response head"):
            self._check_beginning()
            return None
        match = _HEAD.match(self._buffer, self._position)
        if match is None:
            if self._line(b"\r\n\r\n", self.limits.head_bytes, "response head"):
                raise BadMessage("egress.bad-response", "malformed response head")
            self._check_beginning()
            return None
        if match.end() - self._position > self.limits.head_bytes:
            raise BadMessage("egress.bad-response", f"response head of more than {self.limits.head_bytes} bytes")
        self._position = match.end()
        minor, status, reason, section = match.groups()
        return self._make_head(int(minor), int(status), reason or b"", parse_fields(section, self.limits.fields))

    def _check_beginning(self) -> None:
        start = bytes(self._partial[: len(_STATUS_LINE)])
        if not _STATUS_LINE.startswith(start):
            raise BadMessage("egress.bad-response", "the answer is not HTTP/1")
        if b"\n" in self._partial and not _STARTED.match(self._partial):
            raise BadMessage("egress.bad-response", "malformed status line")

    def _make_head(self, minor: int, status: int, reason: bytes, fields: Fields) -> ResponseHead:
        if fields.chunked and not minor:
            raise BadMessage("egress.bad-response", "Transfer-Encoding in an HTTP/1.0 response")
        if status < 200:
            return self._interim(minor, status, reason, fields)
        if self._method == b"CONNECT" and status < 300:
            self._state = SWITCHED
            return ResponseHead(status, reason, minor, fields, switched=True, has_body=False)
        keep_alive = not fields.close and (minor == 1 or fields.keep_alive)
        if self._method == b"HEAD" or status in (204, 304):
            self._state = DONE
            return ResponseHead(status, reason, minor, fields, keep_alive=keep_alive, has_body=False)
        if not fields.chunked and fields.length is None:
            self._state = UNTIL_CLOSE
            return ResponseHead(status, reason, minor, fields, until_close=True, keep_alive=False)
        self._begin_body(fields.length, fields.chunked)
        return ResponseHead(status, reason, minor, fields, keep_alive=keep_alive)

    def _interim(self, minor: int, status: int, reason: bytes, fields: Fields) -> ResponseHead:
        if fields.chunked or fields.length:
            raise BadMessage("egress.bad-response", "an interim response with a body")
        if status != 101:
            return ResponseHead(status, reason, minor, fields, interim=True, has_body=False)
        if not self._upgrade or fields.upgrade != (b"websocket",):
            raise BadMessage("egress.bad-response", "the host switched to a protocol nobody asked for")
        self._state = SWITCHED
        return ResponseHead(status, reason, minor, fields, switched=True, has_body=False)
