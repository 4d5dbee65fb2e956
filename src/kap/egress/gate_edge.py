"""The edges of mitmproxy's HTTP stack, sans-io. Towards an origin (`ServerEdge`): what the stack sends is parsed and written anew for the
target that was allowed, what the origin answers is parsed strictly and written anew for the stack. Towards the client (`ClientEdge`):
what the stack answers is parsed and written anew.

So neither an addon that changes a request nor an origin that breaks HTTP meets anything but `http1`, and mitmproxy's own parsers only
ever see what kap wrote. Trailers end here: mitmproxy's HTTP/1 stack knows none (RFC 9110 6.5.1 lets a recipient discard them).
"""

from __future__ import annotations

import msgspec

from kap.egress.http1 import (
    LAST_CHUNK,
    BadMessage,
    End,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    WireLimits,
    chunk,
    last_chunk,
    must_close,
    rebuild_request,
    rebuild_response,
)
from kap.egress.replies import ESTABLISHED
from kap.names.hosts import Target


class StackPage(Exception):
    """mitmproxy answered with an error page of its own; it must not reach a client."""


class ServerEdge:
    """One connection to an origin. `target`: where the next request may go, set before it is sent. `begun`: the answer to the current
    request has begun to come from the origin. `spent`: the connection carries no further request."""

    __slots__ = (
        "_chunked",
        "_raw",
        "_request_chunked",
        "_requests",
        "_responses",
        "asterisk",
        "begun",
        "spent",
        "target",
    )

    def __init__(self, target: Target, limits: WireLimits) -> None:
        self.target = target
        self.asterisk = False
        self.begun = False
        self.spent = False
        self._raw = False
        self._request_chunked = False
        self._chunked = False
        self._requests = RequestParser(limits, origin_port=target.port)
        self._responses = ResponseParser(limits)

    def outgoing(self, data: bytes) -> bytes:
        """What mitmproxy wants to send -> what is sent. Raises `BadMessage`."""
        if self._raw:
            return data
        self._requests.feed(data)
        out: list[bytes | memoryview] = []
        while (event := self._requests.next()) is not None:
            if isinstance(event, RequestHead):
                out.append(self._request(event))
            elif isinstance(event, End):
                out.append(LAST_CHUNK if self._request_chunked else b"")
            else:
                out.append(chunk(event) if self._request_chunked else event)
        return b"".join(out)

    def _request(self, head: RequestHead) -> bytes:
        if head.target != self.target:
            raise BadMessage("egress.host-mismatch", f"an addon sent the request to {head.target}")
        if self.asterisk and head.path == b"/":
            head = msgspec.structs.replace(head, path=b"*")  # the stack cannot say "OPTIONS *" to an origin
        self._request_chunked = head.fields.chunked
        self._responses.expect(head.method, head.upgrade)
        self.begun = False
        return rebuild_request(head, self.target)

    def incoming(self, data: bytes) -> bytes:
        """What the origin sent -> what mitmproxy gets. Raises `BadMessage`."""
        if self._raw:
            return data
        self._responses.feed(data)
        return self._drain()

    def ended(self) -> bytes:
        """The origin has closed: the rest for mitmproxy. Raises `BadMessage` where an answer is cut short."""
        if self._raw:
            return b""
        self._responses.feed_eof()
        return self._drain()

    def _drain(self) -> bytes:
        out: list[bytes | memoryview] = []
        while (event := self._responses.next()) is not None:
            if isinstance(event, ResponseHead):
                out.append(self._response(event))
                if event.switched:
                    self._raw = True
                    out.append(self._responses.rest())
                    break
            elif isinstance(event, End):
                out.append(LAST_CHUNK if self._chunked else b"")
                self._requests.resume()
            else:
                out.append(chunk(event) if self._chunked else event)
        return b"".join(out)

    def _response(self, head: ResponseHead) -> bytes:
        if head.interim:
            return b""  # mitmproxy has answered Expect itself and passes on no other 1xx
        self.begun = True
        self._chunked = head.fields.chunked and head.has_body
        self.spent = self.spent or not (head.keep_alive or head.switched)
        return rebuild_response(head, via=b"")


class ClientEdge:
    """The answer to one request at a time. `answer`: its head, once there is one. `done`: it is complete. `raw`: bytes both ways from here
    on. `closes`: the connection ends behind it."""

    __slots__ = ("_chunked", "_request", "_responses", "answer", "closes", "done", "raw")

    def __init__(self, limits: WireLimits) -> None:
        self._responses = ResponseParser(limits)
        self._request: RequestHead | None = None
        self._chunked = False
        self.answer: ResponseHead | None = None
        self.closes = False
        self.done = False
        self.raw = False

    def expect(self, request: RequestHead) -> None:
        """The stack has been handed `request`."""
        self._request = request
        self.answer, self.closes, self.done = None, False, False
        self._responses.expect(request.method, request.upgrade)

    def outgoing(self, data: bytes, *, from_origin: bool) -> bytes:
        """What the stack wants to send -> what the client gets. `from_origin`: an origin has begun to answer. Raises `BadMessage`,
        `StackPage`."""
        if self.raw:
            return data
        self._responses.feed(data)
        return self._drain(from_origin)

    def ended(self) -> bytes:
        """The stack closes: the rest of an answer that ends with the connection. Raises `BadMessage` where one is cut short."""
        if self.raw:
            return b""
        self._responses.feed_eof()
        return self._drain(True)

    def _drain(self, from_origin: bool) -> bytes:
        assert self._request is not None
        out: list[bytes | memoryview] = []
        while not self.raw and (event := self._responses.next()) is not None:
            if isinstance(event, ResponseHead):
                out.append(self._head(event, self._request, from_origin))
            elif isinstance(event, End):
                self.done = True
                out.append(last_chunk() if self._chunked else b"")
            else:
                out.append(chunk(event) if self._chunked else event)
        return b"".join(out)

    def _head(self, head: ResponseHead, request: RequestHead, from_origin: bool) -> bytes:
        if head.interim:
            return rebuild_response(head) if request.minor else b""
        if not from_origin and (head.fields.get(b"server") or b"").startswith(b"mitmproxy"):
            raise StackPage
        self.answer = head
        self.raw = head.switched
        if request.form == "authority" and head.switched:
            return ESTABLISHED
        self.closes = not head.switched and (
            not request.keep_alive or must_close(head, request.minor) or request.form == "authority"
        )
        self._chunked = head.fields.chunked and head.has_body and request.minor == 1
        return rebuild_response(head, to_minor=request.minor, close=self.closes)
