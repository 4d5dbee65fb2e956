"""One HTTP request and its answer on their way through: what is written where, and what comes after. Sans-io."""

from __future__ import annotations

import msgspec

from kap.egress.http1 import (
    End,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    chunk,
    last_chunk,
    must_close,
    rebuild_request,
    rebuild_response,
)


class Exchange(msgspec.Struct):
    """`requested`: the whole request was passed on. `answered`: the final answer's head was. `finished`: its end was. `silent`: the
    server has sent nothing yet. `switched`: a websocket was accepted. `by_proxy`: the server is the upstream proxy; `proxy_status`: that
    itself refused. `recorded`: the decision's event is written. `repeatable`: may be asked again where a kept connection ended.
    `known`: the rebuilt head, where it is remembered."""

    head: RequestHead
    known: bytes = b""
    responses: ResponseParser | None = None
    requested: bool = False
    answered: bool = False
    finished: bool = False
    switched: bool = False
    silent: bool = True
    recorded: bool = False
    repeatable: bool = False
    by_proxy: bool = False
    proxy_status: int = 0
    close_after: bool = False
    server_keeps: bool = False
    chunked_down: bool = False

    @property
    def method(self) -> str:
        """The method, for the log."""
        return self.head.method.decode("ascii")

    def start(self, responses: ResponseParser, by_proxy: bool, authorization: bytes | None) -> bytes:
        """The head to send; `responses` reads the server's side and will read the answer."""
        head = self.head
        self.by_proxy = by_proxy
        self.responses = responses
        responses.expect(head.method, head.upgrade)
        if self.known and not by_proxy:
            return self.known
        return rebuild_request(head, head.target, absolute=by_proxy, proxy_auth=authorization)

    def request_body(self, data: bytes | memoryview) -> bytes | memoryview:
        """A piece of the request's body, as it is to be sent."""
        return chunk(data) if self.head.fields.chunked else data

    def request_end(self, end: End) -> bytes:
        """What ends the request's body on the wire."""
        self.requested = True
        return last_chunk(end.trailers) if self.head.fields.chunked else b""

    def answer(self, requests: RequestParser) -> bytes | memoryview:
        """Everything of the answer that is here, as the client gets it. Raises `BadMessage`. An upgrade that was not accepted makes
        `requests` go on parsing."""
        parts: list[bytes | memoryview] = []
        responses = self.responses
        if responses is None:
            return b""
        while not self.finished and not self.switched:
            event = responses.next()
            if event is None:
                break
            self.silent = False
            if isinstance(event, ResponseHead):
                self._response_head(event, parts, requests)
                if self.proxy_status:
                    return b""
            elif isinstance(event, End):
                self.finished = True
                if self.chunked_down:
                    parts.append(last_chunk(event.trailers))
            else:
                parts.append(chunk(event) if self.chunked_down else event)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _response_head(self, head: ResponseHead, parts: list[bytes | memoryview], requests: RequestParser) -> None:
        minor = self.head.minor
        if head.interim:
            if minor == 1:
                parts.append(rebuild_response(head))
            return
        if head.switched:
            self.answered = self.switched = True
            parts.append(rebuild_response(head))
            return
        if self.by_proxy and head.status == 407:
            self.proxy_status = head.status
            return
        if self.head.upgrade:
            requests.resume()
        self.answered = True
        self.server_keeps = head.keep_alive
        early = not self.requested and self.head.has_body
        self.close_after = early or not self.head.keep_alive or must_close(head, minor)
        self.chunked_down = head.fields.chunked and head.has_body and minor == 1
        parts.append(rebuild_response(head, to_minor=minor, close=self.close_after))
