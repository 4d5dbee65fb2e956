"""Bodies whose end is in doubt, with a request for the denied host behind or inside them, and what is no HTTP at all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from corpus.generated_wire import A, D, Row, connect, get

HIDDEN = b"GET http://denied.test/hello HTTP/1.1\r\nHost: denied.test\r\nConnection: close\r\n\r\n"
CODINGS = (
    *(
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding: Chunked",
        b"Transfer-Encoding:\tchunked",
        b"Transfer-Encoding: \x0bchunked",
        b"Transfer-Encoding : chunked",
    ),
    *(
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity, chunked",
        b"Transfer-Encoding: gzip, chunked",
    ),
    *(
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked,",
    ),
    *(
        b"Transfer-Encoding: ,chunked",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding: chunked;q=1",
        b"Transfer-Encoding:\r\n chunked",
        b"Transfer-Encoding: identity",
    ),
    *(
        b"Transfer_Encoding: chunked",
        b"X: y\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\0",
        b"Transfer-Encoding:",
        b"Trans\xffer-Encoding: chunked",
    ),
)
LENGTHS = (
    *(
        b"",
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Content-Length: 4",
        b"Content-Length: +5",
        b"Content-Length: -1",
        b"Content-Length: 0x5",
    ),
    *(
        b"Content-Length: 5, 5",
        b"Content-Length: 5\r\nContent-Length: 0",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length : 5",
        b"Content-Length: 5 ",
    ),
    *(
        b"Content-Length: 05",
        b"Content-Length: 5_0",
        b"Content-Length: 99999999999999999999",
        b"Content-Length:\r\n 5",
        b"Content-Length:",
        b"Content-Length: \xd9\xa5",
    ),
)
BODIES = (b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", b"")
CHUNKS = (
    *(
        b"-1\r\n\r\n",
        b"+0\r\n\r\n",
        b"0x0\r\n\r\n",
        b" 0\r\n\r\n",
        b"0 \r\n\r\n",
        b"0;a\r\n\r\n",
        b'0;a="b\r\n"\r\n\r\n',
        b"0\n\n",
        b"0\r\r\n\r\n",
        b"00\r\n\r\n",
        b"ffffffffffffffff\r\n\r\n",
    ),
    *(
        b"10000000000000000\r\n",
        b"0\r\nHost: denied.test\r\n\r\n",
        b"0\r\nTransfer-Encoding: x\r\n\r\n",
        b"0\r\nX: y\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
    ),
    *(
        b"5\r\nhello0\r\n\r\n",
        b"6\r\nhello\r\n0\r\n\r\n",
        b"\r\n0\r\n\r\n",
        b"g\r\n\r\n",
        b"5;" + b"e" * 9000 + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\n" + b"X: y\r\n" * 2000 + b"\r\n",
        b"0\r\n X: y\r\n\r\n",
    ),
)


def smuggling() -> Iterator[Row]:
    """A denied request hidden behind a body whose end is in doubt."""
    post = b"POST http://allowed.test/echo HTTP/1.1\r\nHost: allowed.test\r\n%b\r\n%b"
    for coding, length, body in itertools.product((b"", *CODINGS), LENGTHS, BODIES):
        if coding or length:
            fields = b"".join(line + b"\r\n" for line in (coding, length) if line)
            yield Row(f"{coding!r} {length!r} {body!r}", post % (fields, body + HIDDEN), "safe")
    for chunks in CHUNKS:
        yield Row(f"chunks {chunks[:40]!r}", post % (b"Transfer-Encoding: chunked\r\n", chunks + HIDDEN), "safe")
        yield Row(
            f"chunks {chunks[:40]!r} hidden",
            post % (b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + chunks),
            "safe",
        )
    for method in (b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"TRACE", b"CONNECT"):
        target = b"allowed.test:443" if method == b"CONNECT" else b"http://allowed.test/"
        for fields in (
            b"",
            b"Content-Length: 0\r\n",
            b"Content-Length: %d\r\n" % len(HIDDEN),
            b"Transfer-Encoding: chunked\r\n",
        ):
            yield Row(
                f"{method!r} {fields!r}",
                b"%b %b HTTP/1.1\r\nHost: allowed.test\r\n%b\r\n" % (method, target, fields) + HIDDEN,
                "safe",
            )
    keep = b"GET http://allowed.test/hello HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
    for count, last in itertools.product(
        (1, 2, 5), (HIDDEN, connect(b"denied.test:443", A), get(b"http://allowed.test/", D), b"\0" * 20, b"CONNECT")
    ):
        yield Row(f"pipeline of {count}, then {last[:30]!r}", keep * count + last, "safe")
    for key in (b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b""):
        for upgrade in (b"websocket", b"WebSocket", b"h2c", b"tls/1.2", b"websocket, h2c", b"foo"):
            rest = b"Connection: Upgrade\r\nUpgrade: %b\r\nSec-WebSocket-Version: 13\r\n%b" % (upgrade, key)
            yield Row(f"upgrade {upgrade!r} {key[:10]!r}", get(b"http://allowed.test/", A, rest=rest) + HIDDEN, "safe")


FINE = (
    b"Content-Length: 5\r\n\r\nhello",
    b"content-length:5\r\n\r\nhello",
    b"Content-Length: 0\r\n\r\n",
    b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello",
    b"Content-Length: 5\r\nContent-Type: text/plain; charset=utf-8\r\nUser-Agent: x/1 (y; z) \xe9\r\nX-Empty:\r\n\r\nhello",
    b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"transfer-encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\nA\r\n0123456789\r\n0000\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n0;last\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"Content-Length: 300000\r\n\r\n" + b"x" * 300000,
    b"Proxy-Connection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    b"Proxy-Authorization: Basic eDp5\r\nCookie: a=b; c=d\r\nContent-Length: 0\r\n\r\n",
    b"Connection: close, X-Own\r\nX-Own: 1\r\nTE: trailers, deflate\r\nContent-Length: 0\r\n\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 0\r\n\r\n",
    b"Accept-Language:    de\t \r\nRange: bytes=0-\r\nContent-Length: 0\r\n\r\n",
)


def bodies() -> Iterator[Row]:
    """What real clients send: none of it may be refused."""
    for rest in FINE:
        for method in (b"POST", b"PUT", b"PATCH", b"DELETE", b"GET"):
            line = b"%b http://allowed.test/echo HTTP/1.1\r\nHost: allowed.test\r\n" % method
            yield Row(f"fine {method!r} {rest[:60]!r}", line + rest, "allow")


def noise() -> Iterator[Row]:
    """Other protocols, half messages, floods."""
    for text in (
        *(
            b"",
            b"\r\n" * 100,
            b"\n" * 100,
            b"\0" * 1000,
            b"\xff" * 1000,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x00\x05hello",
            b"\x04\x01\x01\xbb\nc\x01\x02\0",
        ),
        *(
            b"\x05\x01\x00",
            b"EHLO x\r\n",
            b"SSH-2.0-x\r\n",
            b"GET http://denied.test/hello\r\n\r\n",
            b"GET",
            b"GET ",
            b"GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n",
        ),
        *(
            b"CONNECT",
            b"CONNECT allowed.test:443 HTTP/1.1\r\n",
            b"A" * 70000,
            b"GET http://allowed.test/" + b"a" * 200000,
            b"USER x\r\n",
            b"{}\r\n",
            b"* OK\r\n",
            b"QUIT\r\n",
        ),
    ):
        yield Row(f"noise {text[:30]!r} {len(text)}", text, "safe")
    for count, size in ((5000, 1), (1, 200000), (101, 1000), (1, 70000)):
        fields = b"".join(b"X-%d: %b\r\n" % (n, b"a" * size) for n in range(count))
        yield Row(f"{count} fields of {size}", get(b"http://denied.test/", A, rest=fields), "deny")
        yield Row(f"{count} fields of {size}, allowed", get(b"http://allowed.test/", A, rest=fields), "safe")
