"""Responses: which body follows which head, how heads are written anew, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from kap.egress.http1 import (
    BadMessage,
    End,
    ResponseHead,
    ResponseParser,
    WireLimits,
    must_close,
    rebuild_response,
)

OK = b"HTTP/1.1 200 OK\r\n"


def events(
    data: bytes, method: bytes = b"GET", *, size: int = 0, upgrade: bool = False, eof: bool = False
) -> list[Any]:
    """As in the test of requests; `eof`: the origin closes behind `data`."""
    parser, out = ResponseParser(), []
    parser.expect(method, upgrade)
    try:
        for piece in [data[at : at + size] for at in range(0, len(data), size)] if size else [data]:
            parser.feed(piece)
            _drain(parser, out)
        if eof:
            parser.feed_eof()
            _drain(parser, out)
    except BadMessage as error:
        out.append(error.code)
    return out


def _drain(parser: ResponseParser, out: list[Any]) -> None:
    while (event := parser.next()) is not None:
        if isinstance(event, ResponseHead | End):
            out.append(event)
        elif out and isinstance(out[-1], bytes):
            out[-1] += bytes(event)
        else:
            out.append(bytes(event))


def shape(found: list[Any]) -> list[Any]:
    return [e.status if isinstance(e, ResponseHead) else "end" if isinstance(e, End) else e for e in found]


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize(
    ("method", "data", "expected"),
    [
        (b"GET", OK + b"Content-Length: 2\r\n\r\nhi", [200, b"hi", "end"]),
        (b"GET", OK + b"Content-Length: 0\r\n\r\n", [200, "end"]),
        (b"GET", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1;x\r\n!\r\n0\r\n\r\n", [200, b"hi!", "end"]),
        (b"GET", OK + b"\r\nuntil close", [200, b"until close", "end"]),
        (b"GET", b"HTTP/1.0 200\r\n\r\nhi", [200, b"hi", "end"]),
        (b"HEAD", OK + b"Content-Length: 99\r\n\r\n", [200, "end"]),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", [304, "end"]),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", [204, "end"]),
        (
            b"GET",
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK + b"Content-Length: 2\r\n\r\nhi",
            [103, 200, b"hi", "end"],
        ),
    ],
)
def test_bodies(method: bytes, data: bytes, expected: list[Any], size: int) -> None:
    assert shape(events(data, method, size=size, eof=True)) == expected


def head_of(data: bytes, method: bytes = b"GET", **options: Any) -> ResponseHead:
    found = events(data, method, **options)
    assert isinstance(found[0], ResponseHead), found
    return found[0]


def test_head_is_rebuilt() -> None:
    head = head_of(
        b"HTTP/1.1 200 Fine \xe9\r\nServer:  x\r\nConnection: keep-alive, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n"
        b"Proxy-Authenticate: Basic\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\n\r\n"
    )
    assert head.keep_alive
    assert rebuild_response(head) == (
        b"HTTP/1.1 200 Fine \xe9\r\nServer: x\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 0\r\nVia: 1.1 kap\r\n\r\n"
    )
    assert rebuild_response(head, close=True).endswith(
        b"Content-Length: 0\r\nConnection: close\r\nVia: 1.1 kap\r\n\r\n"
    )
    assert b"Connection: keep-alive\r\n" in rebuild_response(head, to_minor=0)


def test_for_a_client_of_http_1_0() -> None:
    head = head_of(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert must_close(head, 0) and not must_close(head, 1)
    assert rebuild_response(head, to_minor=0) == b"HTTP/1.1 200 OK\r\nConnection: close\r\nVia: 1.1 kap\r\n\r\n"


def test_until_close_closes() -> None:
    head = head_of(OK + b"\r\n")
    assert head.until_close and not head.keep_alive and must_close(head, 1)
    assert b"Connection: close\r\n" in rebuild_response(head)


def test_head_of_no_body_keeps_the_length() -> None:
    assert b"Content-Length: 99" in rebuild_response(head_of(OK + b"Content-Length: 99\r\n\r\n", b"HEAD"))
    assert b"Content-Length" not in rebuild_response(head_of(b"HTTP/1.1 204 No\r\nContent-Length: 9\r\n\r\n"))


def test_keep_alive() -> None:
    length = b"Content-Length: 0\r\n\r\n"
    assert head_of(OK + length).keep_alive
    assert not head_of(OK + b"Connection: close\r\n" + length).keep_alive
    assert not head_of(b"HTTP/1.0 200 OK\r\n" + length).keep_alive
    assert head_of(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + length).keep_alive


def test_websocket() -> None:
    answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
    parser = ResponseParser()
    parser.expect(b"GET", True)
    parser.feed(answer + b"\x81\x01a")
    head = parser.next()
    assert isinstance(head, ResponseHead) and head.switched
    assert parser.next() is None and parser.rest() == b"\x81\x01a"
    assert rebuild_response(head) == (
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Via: 1.1 kap\r\n\r\n"
    )


def test_connect_through_an_upstream_proxy() -> None:
    parser = ResponseParser()
    parser.expect(b"CONNECT")
    parser.feed(b"HTTP/1.0 200 Connection established\r\nContent-Length: 5\r\n\r\n\x16\x03")
    head = parser.next()
    assert isinstance(head, ResponseHead) and head.switched and parser.rest() == b"\x16\x03"
    assert shape(events(b"HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno", b"CONNECT")) == [407, b"no", "end"]


LENGTH = b"Content-Length: 2\r\n"
REFUSED = {
    "not http": b"SSH-2.0-OpenSSH\r\n",
    "http 2": b"HTTP/2 200 OK\r\n\r\n",
    "icy": b"ICY 200 OK\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\n\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 099": b"HTTP/1.1 099 OK\r\n\r\n",
    "lower case": b"http/1.1 200 OK\r\n\r\n",
    "control byte in the reason": b"HTTP/1.1 200 O\x07K\r\n\r\n",
    "folding": OK + b"X: a\r\n b\r\n\r\n",
    "space before the colon": OK + b"X : a\r\n\r\n",
    "NUL": OK + b"X: a\0\r\n\r\n",
    "length and coding": OK + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": OK + LENGTH + LENGTH + b"\r\nhi",
    "coding list": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "coding in 1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "connection names length": OK + b"Connection: content-length\r\n" + LENGTH + b"\r\nhi",
    "switch nobody asked for": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "interim with a body": b"HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
    "too many fields": OK + b"X: y\r\n" * 200 + b"\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("size", [0, 1])
def test_refused(name: str, size: int) -> None:
    assert events(REFUSED[name], size=size) == ["egress.bad-response"]


def test_other_protocol_than_websocket_is_refused() -> None:
    data = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert events(data, upgrade=True) == ["egress.bad-response"]


@pytest.mark.parametrize(
    "data",
    [
        OK + b"Content-Length: 5\r\n\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhi",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
        OK + b"X: ",
    ],
)
def test_cut_short(data: bytes) -> None:
    assert events(data, eof=True)[-1] == "egress.bad-response"


def test_bytes_nobody_asked_for() -> None:
    parser = ResponseParser()
    parser.feed(OK + LENGTH + b"\r\nhi")
    with pytest.raises(BadMessage, match="answer no request"):
        parser.next()
    assert events(OK + LENGTH + b"\r\nhi" + OK)[-1] == "egress.bad-response"


def test_head_limit() -> None:
    parser = ResponseParser(WireLimits(head_bytes=100))
    parser.expect(b"GET")
    parser.feed(OK + b"X: " + b"a" * 200)
    with pytest.raises(BadMessage) as caught:
        parser.next()
    assert caught.value.code == "egress.bad-response"
