"""What kap writes reads the same to other people's parsers (llhttp, h11): no second reading of it exists for them either."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kap.egress.http1 import (
    BadMessage,
    End,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    chunk,
    last_chunk,
    rebuild_request,
    rebuild_response,
)

Message = tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]
"""Method or status, target, fields in lower case, body."""

NAMES = [
    b"X",
    b"accept",
    b"Content-Length",
    b"Transfer-Encoding",
    b"Connection",
    b"Upgrade",
    b"TE",
    b"Expect",
    b"Host",
    b"x_y",
    b"Trailer",
]
VALUES = [
    b"y",
    b"",
    b" ",
    b"5",
    b"0",
    b"chunked",
    b"Chunked ",
    b"gzip",
    b"close",
    b"keep-alive, x",
    b"upgrade",
    b"h2c",
    b"trailers",
    b"\xff",
    b"a,b",
    b"\t;",
]
fields = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=5)
bodies = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"1;a\r\nx\r\n0\r\n\r\n", b"hellohello"]
)
METHODS = [b"GET", b"POST", b"HEAD", b"OPTIONS", b"DELETE"]
methods = st.sampled_from(METHODS)
targets = st.sampled_from([b"/", b"/a?b=c", b"?q", b"", b"//x", b"/\\", b"/%00", b"/a%20b"])


def lines(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(name + b":" + value + b"\r\n" for name, value in pairs)


def written_requests(raw: bytes) -> tuple[list[Message], bytes]:
    """What kap takes of `raw`, and all it writes for it."""
    parser, read, out = RequestParser(), [], b""
    parser.feed(raw)
    head: RequestHead | None = None
    body = b""
    try:
        while (event := parser.next()) is not None:
            if isinstance(event, RequestHead):
                head, body = event, b""
                start = rebuild_request(head, head.target)
            elif isinstance(event, End):
                assert head is not None
                out += start + (chunk(body) if body and head.fields.chunked else body)
                out += last_chunk(event.trailers) if head.fields.chunked else b""
                read.append((head.method, head.path, sorted((n.lower(), v) for n, v in head.fields.pairs), body))
            else:
                body += bytes(event)
    except BadMessage:
        pass
    return read, out


OURS = {b"host", b"via", b"connection", b"te", b"upgrade", b"content-length", b"transfer-encoding"}


class Collector:
    """Callbacks of httptools."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.parser: Any = None
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.url = b""
        self.in_trailers = False

    def on_message_begin(self) -> None:
        self.fields, self.body, self.url, self.in_trailers = [], b"", b"", False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_trailers and name.lower() not in OURS:
            self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.in_trailers = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        what = self.parser.get_method() if self.url else b"%d" % self.parser.get_status_code()
        self.messages.append((what, self.url, sorted(self.fields), self.body))


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(methods, targets, fields, bodies), min_size=1, max_size=3))
def test_llhttp_reads_the_same_requests(requests: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]]) -> None:
    raw = b"".join(
        method + b" http://example.com" + target + b" HTTP/1.1\r\nHost: example.com\r\n" + lines(pairs) + b"\r\n" + body
        for method, target, pairs, body in requests
    )
    read, out = written_requests(raw)
    if any(method not in METHODS for method, *_ in read):
        return  # llhttp has a list of methods; "helloGET", of a body nobody announced, is one by the RFC
    collector = Collector()
    collector.parser = httptools.HttpRequestParser(collector)
    if out:
        collector.parser.feed_data(out)
    assert collector.messages == read


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(methods, targets, fields, bodies), min_size=1, max_size=3))
def test_h11_reads_the_same_requests(requests: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]]) -> None:
    h11 = pytest.importorskip("h11")
    raw = b"".join(
        method + b" http://example.com" + target + b" HTTP/1.1\r\nHost: example.com\r\n" + lines(pairs) + b"\r\n" + body
        for method, target, pairs, body in requests
    )
    read, out = written_requests(raw)
    found: list[Message] = []
    rest = out
    while rest:
        connection = h11.Connection(h11.SERVER)
        connection.receive_data(rest)
        request = connection.next_event()
        body = b""
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            body += bytes(event.data)
        rest = connection.trailing_data[0]
        pairs = sorted((n, v) for n, v in request.headers if n not in OURS)
        found.append((request.method, request.target, pairs, body))
    assert found == read


@settings(max_examples=400, deadline=None)
@given(st.sampled_from([b"200 OK", b"404 Not Found", b"201 ", b"299"]), fields, bodies)
def test_llhttp_reads_the_same_response(status: bytes, pairs: list[tuple[bytes, bytes]], body: bytes) -> None:
    parser = ResponseParser()
    parser.expect(b"GET")
    parser.feed(b"HTTP/1.1 " + status + b"\r\n" + lines(pairs) + b"\r\n" + body)
    data, out, head = b"", b"", None
    try:
        while (event := parser.next()) is not None:
            if isinstance(event, ResponseHead):
                head = event
                out = rebuild_response(head)
            elif isinstance(event, End):
                out += last_chunk(event.trailers) if head is not None and head.fields.chunked else b""
                break
            else:
                data += bytes(event)
                out += chunk(event) if head is not None and head.fields.chunked else bytes(event)
        else:
            return
    except BadMessage:
        return
    assert head is not None
    collector = Collector()
    collector.parser = httptools.HttpResponseParser(collector)
    collector.parser.feed_data(out)
    expected = sorted((n.lower(), v) for n, v in head.fields.pairs)
    assert collector.messages == [(b"%d" % head.status, b"", expected, data)]
