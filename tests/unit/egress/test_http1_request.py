"""Requests: what is taken and how it is written anew; what is refused, and with which code."""

from __future__ import annotations

from typing import Any

import pytest

from kap.egress.http1 import (
    BadMessage,
    End,
    RequestHead,
    RequestParser,
    WireLimits,
    chunk,
    last_chunk,
    rebuild_request,
)
from kap.names.hosts import Host, Target

H = b"Host: example.com\r\n"
GET = b"GET http://example.com/a?b HTTP/1.1\r\n"


def events(data: bytes, size: int = 0, **options: Any) -> list[Any]:
    """Everything the parser says about `data`, fed in pieces of `size` (0: at once); body pieces joined; an error last, as its code."""
    parser, out = RequestParser(**options), []
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
    try:
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next()) is not None:
                if isinstance(event, RequestHead | End):
                    out.append(event)
                elif out and isinstance(out[-1], bytes):
                    out[-1] += bytes(event)
                else:
                    out.append(bytes(event))
    except BadMessage as error:
        out.append(error.code)
    return out


def head_of(data: bytes, **options: Any) -> RequestHead:
    found = events(data, **options)
    assert isinstance(found[0], RequestHead), found
    return found[0]


def test_absolute_form_is_rebuilt_for_the_origin() -> None:
    head = head_of(GET + H + b"User-Agent:  x y\t\r\nAccept: */*\r\n\r\n")
    assert (head.method, head.form, head.path, head.minor) == (b"GET", "absolute", b"/a?b", 1)
    assert head.target == Target(Host("example.com"), 80)
    assert rebuild_request(head, head.target) == (
        b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nUser-Agent: x y\r\nAccept: */*\r\nVia: 1.1 kap\r\n\r\n"
    )


def test_host_is_forced_to_the_target() -> None:
    head = head_of(b"GET http://Example.COM.:8080 HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert rebuild_request(head, head.target).startswith(b"GET / HTTP/1.1\r\nHost: example.com:8080\r\nVia")


def test_for_an_upstream_proxy() -> None:
    head = head_of(GET + H + b"Proxy-Authorization: Basic Y2xpZW50\r\n\r\n")
    assert rebuild_request(head, head.target, absolute=True, proxy_auth=b"Basic a2Fw") == (
        b"GET http://example.com/a?b HTTP/1.1\r\nHost: example.com\r\nProxy-Authorization: Basic a2Fw\r\nVia: 1.1 kap\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("line", "path"),
    [
        (b"OPTIONS http://example.com HTTP/1.1\r\n", b"*"),
        (b"OPTIONS http://example.com/ HTTP/1.1\r\n", b"/"),
        (b"GET http://example.com?q HTTP/1.1\r\n", b"/?q"),
        (b"GET HTTP://EXAMPLE.COM/%2e?x=http://evil.example/ HTTP/1.1\r\n", b"/%2e?x=http://evil.example/"),
    ],
)
def test_paths(line: bytes, path: bytes) -> None:
    head = head_of(line + H + b"\r\n")
    assert (head.path, head.target.host.text) == (path, "example.com")


def test_hop_by_hop_and_forged_fields_are_taken_out() -> None:
    head = head_of(
        GET
        + H
        + b"Connection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers, deflate\r\n"
        + b"X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\nHTTP2-Settings: AAMA\r\nUpgrade: h2c\r\nX: y\r\n\r\n"
    )
    assert not head.keep_alive and not head.upgrade
    assert rebuild_request(head, head.target) == (
        b"GET /a?b HTTP/1.1\r\nHost: example.com\r\nX: y\r\nConnection: TE\r\nTE: trailers\r\nVia: 1.1 kap\r\n\r\n"
    )


def test_max_forwards_is_counted_down_where_it_counts() -> None:
    for method in (b"OPTIONS", b"TRACE"):
        line = method + b" http://example.com/a HTTP/1.1\r\n"
        head = head_of(line + H + b"Max-Forwards: 2\r\nX: y\r\n\r\n")
        assert b"\r\nX: y\r\nMax-Forwards: 1\r\n" in rebuild_request(head, head.target)
        for left in (b"0", b"x", b"1, 2"):
            assert events(line + H + b"Max-Forwards: " + left + b"\r\n\r\n") == ["egress.bad-request"]
    assert b"Max-Forwards: 0" in rebuild_request(head_of(GET + H + b"Max-Forwards: 0\r\n\r\n"), head.target)


def test_expect_and_via_are_passed_on() -> None:
    head = head_of(
        GET.replace(b"GET", b"PUT") + H + b"Expect: 100-continue\r\nVia: 1.0 a\r\nContent-Length: 3\r\n\r\nabc"
    )
    assert rebuild_request(head, head.target).endswith(
        b"Expect: 100-continue\r\nVia: 1.0 a\r\nContent-Length: 3\r\nVia: 1.1 kap\r\n\r\n"
    )


def test_body_by_length_and_pipelining() -> None:
    post = b"POST http://example.com/ HTTP/1.1\r\n" + H + b"Content-Length: 5\r\n\r\nhello"
    for size in (0, 1, 7):
        found = events(post + post + GET + H + b"\r\n", size)
        assert [type(e).__name__ for e in found] == ["RequestHead", "bytes", "End"] * 2 + ["RequestHead", "End"]
        assert found[1] == found[4] == b"hello"


def test_chunked_body_is_reframed() -> None:
    post = b"POST http://example.com/ HTTP/1.1\r\n" + H + b"Transfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n"
    body = b"5;a=b\r\nhello\r\n00a\r\n0123456789\r\n0;x\r\nX-Sum: 1\r\nContent-Type: no\r\n\r\n"
    for size in (0, 1, 4):
        head, data, end = events(post + body, size)
        assert rebuild_request(head, head.target).endswith(
            b"Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\nVia: 1.1 kap\r\n\r\n"
        )
        assert data == b"hello0123456789"
        assert end == End(((b"X-Sum", b"1"),))
        assert last_chunk(end.trailers) == b"0\r\nX-Sum: 1\r\n\r\n"
    assert chunk(b"x" * 17) == b"11\r\n" + b"x" * 17 + b"\r\n"


def test_websocket_waits_for_the_answer() -> None:
    data = GET + H + b"Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Key: x\r\n\r\n"
    parser = RequestParser()
    parser.feed(data + GET + H + b"\r\n")
    head = parser.next()
    assert isinstance(head, RequestHead) and head.upgrade
    assert rebuild_request(head, head.target).endswith(
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nVia: 1.1 kap\r\n\r\n"
    )
    assert parser.next() is None
    parser.resume()
    assert isinstance(parser.next(), End) and isinstance(parser.next(), RequestHead)
    parser = RequestParser()
    parser.feed(data + b"\x81\x00")
    parser.next()
    assert parser.rest() == b"\x81\x00"


def test_connect() -> None:
    parser = RequestParser()
    parser.feed(b"CONNECT Example.com:443 HTTP/1.1\r\nHost: whatever.example\r\nContent-Length: 0\r\n\r\n\x16\x03")
    head = parser.next()
    assert isinstance(head, RequestHead)
    assert (head.form, head.target, head.path) == ("authority", Target(Host("example.com"), 443), b"")
    assert parser.next() is None and parser.rest() == b"\x16\x03"
    assert head_of(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n").target.port == 443, "CONNECT needs no Host"
    assert head_of(b"CONNECT [2001:db8::1]:443 HTTP/1.0\r\n\r\n").target.host.is_ip


def test_http_1_0() -> None:
    head = head_of(b"GET http://example.com/ HTTP/1.0\r\n\r\n")
    assert head.minor == 0 and not head.keep_alive
    assert head_of(b"GET http://example.com/ HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive


def test_one_empty_line_before_a_request() -> None:
    for size in (0, 1, 2):
        assert [type(e).__name__ for e in events(b"\r\n" + GET + H + b"\r\n", size)] == ["RequestHead", "End"]
    assert events(b"\r\n\r\n" + GET + H + b"\r\n") == ["egress.not-http"]


def test_origin_form_where_a_port_is_given() -> None:
    head = head_of(b"GET /x HTTP/1.1\r\nHost: Example.com\r\n\r\n", origin_port=80)
    assert (head.form, head.target, head.path) == ("origin", Target(Host("example.com"), 80), b"/x")
    assert head_of(b"OPTIONS * HTTP/1.1\r\nHost: example.com\r\n\r\n", origin_port=80).path == b"*"
    assert head_of(b"GET http://example.com/x HTTP/1.1\r\nHost: example.com\r\n\r\n", origin_port=80).path == b"/x"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"GET /x HTTP/1.1\r\nHost: example.com:81\r\n\r\n", "egress.host-mismatch"),
        (b"GET http://example.com/ HTTP/1.1\r\nHost: other.example\r\n\r\n", "egress.host-mismatch"),
        (b"GET /x HTTP/1.0\r\n\r\n", "egress.bad-request"),
        (b"GET * HTTP/1.1\r\nHost: example.com\r\n\r\n", "egress.bad-request"),
        (b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n", "egress.bad-request"),
        (b"GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", "egress.bad-target"),
    ],
)
def test_refused_as_to_an_origin(data: bytes, code: str) -> None:
    assert events(data, origin_port=80) == [code]


REFUSED = {
    "bare LF": (GET.replace(b"\r\n", b"\n") + H.replace(b"\r\n", b"\n") + b"\n", "egress.bad-request"),
    "bare LF in fields": (GET + b"Host: example.com\nX: y\r\n\r\n", "egress.bad-request"),
    "bare CR in a value": (GET + H + b"X: a\rb\r\n\r\n", "egress.bad-request"),
    "NUL in a value": (GET + H + b"X: a\0b\r\n\r\n", "egress.bad-request"),
    "control byte": (GET + H + b"X: \x1b[1m\r\n\r\n", "egress.bad-request"),
    "DEL": (GET + H + b"X: \x7f\r\n\r\n", "egress.bad-request"),
    "folding": (GET + H + b"X: a\r\n b\r\n\r\n", "egress.bad-request"),
    "fold before the first field": (GET + b" X: a\r\n" + H + b"\r\n", "egress.bad-request"),
    "space before the colon": (GET + H + b"X : a\r\n\r\n", "egress.bad-request"),
    "tab in a name": (GET + H + b"X\t: a\r\n\r\n", "egress.bad-request"),
    "empty name": (GET + H + b": a\r\n\r\n", "egress.bad-request"),
    "no colon": (GET + H + b"nonsense\r\n\r\n", "egress.bad-request"),
    "high byte in a name": (GET + H + b"X\xc3: a\r\n\r\n", "egress.bad-request"),
    "two hosts": (GET + H + H + b"\r\n", "egress.bad-request"),
    "no host": (GET + b"\r\n", "egress.bad-request"),
    "two lengths": (GET + H + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", "egress.bad-framing"),
    "a list of lengths": (GET + H + b"Content-Length: 1, 1\r\n\r\nx", "egress.bad-framing"),
    "signed length": (GET + H + b"Content-Length: +1\r\n\r\nx", "egress.bad-framing"),
    "negative length": (GET + H + b"Content-Length: -1\r\n\r\nx", "egress.bad-framing"),
    "hex length": (GET + H + b"Content-Length: 0x1\r\n\r\nx", "egress.bad-framing"),
    "empty length": (GET + H + b"Content-Length:\r\n\r\n", "egress.bad-framing"),
    "huge length": (GET + H + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", "egress.bad-framing"),
    "length and coding": (
        GET + H + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "egress.bad-framing",
    ),
    "coding and length": (
        GET + H + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "egress.bad-framing",
    ),
    "two codings": (
        GET + H + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "egress.bad-framing",
    ),
    "coding list": (GET + H + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "egress.bad-framing"),
    "identity": (GET + H + b"Transfer-Encoding: identity\r\n\r\n", "egress.bad-framing"),
    "quoted coding": (GET + H + b'Transfer-Encoding: "chunked"\r\n\r\n', "egress.bad-framing"),
    "coding with parameter": (GET + H + b"Transfer-Encoding: chunked;q=1\r\n\r\n", "egress.bad-framing"),
    "xchunked": (GET + H + b"Transfer-Encoding: xchunked\r\n\r\n", "egress.bad-framing"),
    "coding with vertical tab": (GET + H + b"Transfer-Encoding: \x0bchunked\r\n\r\n", "egress.bad-request"),
    "coding in 1.0": (GET.replace(b"1.1", b"1.0") + H + b"Transfer-Encoding: chunked\r\n\r\n", "egress.bad-framing"),
    "connection names host": (GET + H + b"Connection: close, Host\r\n\r\n", "egress.bad-request"),
    "connection names length": (GET + H + b"Connection: content-length\r\n\r\n", "egress.bad-request"),
    "connection no token": (GET + H + b"Connection: a b\r\n\r\n", "egress.bad-request"),
    "https url": (b"GET https://example.com/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "ftp url": (b"GET ftp://example.com/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "origin form": (b"GET / HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "asterisk": (b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "authority form, not CONNECT": (b"GET example.com:80 HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "lower case connect": (b"connect example.com:443 HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "fragment": (b"GET http://example.com/#x HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "userinfo": (b"GET http://u:p@example.com/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-target"),
    "backslash": (b"GET http://evil.example\\@example.com/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-target"),
    "no authority": (b"GET http:///x HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "encoded host": (b"GET http://ex%61mple.com/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-target"),
    "port 0": (b"GET http://example.com:0/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-target"),
    "raw utf-8": ("GET http://example.com/\u00fc HTTP/1.1\r\n".encode() + H + b"\r\n", "egress.bad-request"),
    "two spaces": (b"GET  http://example.com/ HTTP/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "tabs": (b"GET\thttp://example.com/\tHTTP/1.1\r\n" + H + b"\r\n", "egress.not-http"),
    "space at the end": (b"GET http://example.com/ HTTP/1.1 \r\n" + H + b"\r\n", "egress.bad-request"),
    "HTTP/0.9": (b"GET http://example.com/\r\n\r\n", "egress.bad-request"),
    "HTTP/1.2": (b"GET http://example.com/ HTTP/1.2\r\n" + H + b"\r\n", "egress.bad-request"),
    "HTTP/2.0": (b"GET http://example.com/ HTTP/2.0\r\n" + H + b"\r\n", "egress.bad-request"),
    "http/1.1": (b"GET http://example.com/ http/1.1\r\n" + H + b"\r\n", "egress.bad-request"),
    "h2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "egress.bad-request"),
    "tls": (b"\x16\x03\x01\x00\x05hello", "egress.not-http"),
    "socks4": (b"\x04\x01\x01\xbb", "egress.not-http"),
    "socks5": (b"\x05\x01\x00", "egress.not-http"),
    "ssh": (b"SSH-2.0-x\r\n", "egress.not-http"),
    "smtp": (b"EHLO x\r\n", "egress.bad-request"),
    "endless method": (b"A" * 100, "egress.not-http"),
    "CONNECT with a body": (
        b"CONNECT example.com:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        "egress.bad-framing",
    ),
    "CONNECT chunked": (
        b"CONNECT example.com:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "egress.bad-framing",
    ),
    "CONNECT without port": (b"CONNECT example.com HTTP/1.1\r\n\r\n", "egress.bad-target"),
    "CONNECT url": (b"CONNECT http://example.com:443 HTTP/1.1\r\n\r\n", "egress.bad-target"),
    "upgrade to what": (GET + H + b"Connection: upgrade\r\nUpgrade: foo\r\n\r\n", "egress.upgrade-refused"),
    "websocket or foo": (GET + H + b"Connection: upgrade\r\nUpgrade: websocket, foo\r\n\r\n", "egress.upgrade-refused"),
    "websocket by POST": (
        GET.replace(b"GET", b"POST") + H + b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "egress.upgrade-refused",
    ),
    "a circle": (GET + H + b"Via: 1.1 kap\r\n" * 8 + b"\r\n", "egress.bad-request"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [0, 1])
def test_refused(name: str, size: int) -> None:
    data, code = REFUSED[name]
    assert events(data, size) == [code]


CHUNKS = {
    "negative": b"-1\r\n",
    "prefix": b"0x5\r\nhello\r\n",
    "spaces": b"5 \r\nhello\r\n",
    "leading space": b" 5\r\nhello\r\n",
    "bare LF": b"5\nhello\r\n",
    "too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "bare LF behind": b"5\r\nhello\n0\r\n\r\n",
    "huge": b"fffffffffffffffff\r\n",
    "empty": b"\r\n",
    "extension with NUL": b"5;a=\0\r\nhello\r\n",
    "long extension": b"5;" + b"a" * 1000 + b"\r\nhello\r\n",
    "trailer host": b"0\r\nHost: evil.example\r\n\r\n",
    "trailer length": b"0\r\nContent-Length: 5\r\n\r\n",
    "trailer coding": b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer malformed": b"0\r\nX : y\r\n\r\n",
    "trailers too many": b"0\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    "trailers too long": b"0\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", CHUNKS)
@pytest.mark.parametrize("size", [0, 1])
def test_refused_chunks(name: str, size: int) -> None:
    found = events(GET + H + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS[name], size)
    assert found[-1] == "egress.bad-framing"


def test_limits() -> None:
    limits = WireLimits(head_bytes=200, fields=5)
    assert events(GET + H + b"X: " + b"a" * 300 + b"\r\n\r\n", limits=limits) == ["egress.head-too-large"]
    for size in (1, 50):
        assert events(GET + H + b"X: " + b"a" * 300, size, limits=limits) == ["egress.head-too-large"]
    assert events(GET + H + b"X: y\r\n" * 5 + b"\r\n", limits=limits) == ["egress.head-too-large"]
    assert len(events(GET + H + b"X: y\r\n" * 4 + b"\r\n", limits=limits)) == 2


def test_a_body_is_not_copied_and_an_end_in_it_is_seen() -> None:
    parser = RequestParser()
    parser.feed(GET + H + b"Content-Length: 10\r\n\r\n")
    assert isinstance(parser.next(), RequestHead) and parser.next() is None
    data = b"12345"
    parser.feed(data)
    assert parser.next() is data
    parser.feed_eof()
    with pytest.raises(BadMessage):
        parser.next()
    with pytest.raises(BadMessage):
        parser.next()


def test_idle_and_buffered() -> None:
    parser = RequestParser()
    assert parser.idle
    parser.feed(GET)
    assert parser.next() is None and not parser.idle and parser.buffered == len(GET)
    parser.feed(H + b"\r\n")
    parser.next()
    assert not parser.idle
    parser.next()
    assert parser.idle and parser.buffered == 0
