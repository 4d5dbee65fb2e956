"""Whatever bytes come, and however they are cut: the HTTP/1 parsers refuse with a code or say the same as for the whole."""

from __future__ import annotations

import itertools
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kap.egress.http1 import (
    BadMessage,
    End,
    RequestHead,
    RequestParser,
    ResponseHead,
    ResponseParser,
    WireLimits,
    chunk,
    last_chunk,
    rebuild_request,
    rebuild_response,
)
from kap.policy.codes import CODES

PIECES = [
    b"GET ",
    b"POST ",
    b"CONNECT example.com:443",
    b"http://example.com/",
    b" HTTP/1.1",
    b" HTTP/1.0",
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 101 X",
    b"\r\n",
    b"\n",
    b"\r",
    b"Host: example.com\r\n",
    b"Host: evil.example\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n",
    b"5\r\nhello\r\n",
    b"0\r\n\r\n",
    b"hello",
    b" ",
    b"\t",
    b":",
    b"\0",
    b"\xff",
]
noise = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=25).map(b"".join)
LIMITS = WireLimits(head_bytes=400, fields=8, chunk_line=40, trailer_bytes=100)


def run(parser: Any, pieces: list[bytes]) -> list[Any]:
    out: list[Any] = []
    try:
        for piece in pieces:
            parser.feed(piece)
            while (event := parser.next()) is not None:
                if isinstance(event, bytes | memoryview):
                    if out and isinstance(out[-1], bytes):
                        out[-1] += bytes(event)
                    else:
                        out.append(bytes(event))
                else:
                    out.append(event)
    except BadMessage as error:
        assert error.code in CODES
        out.append("bad")
    return out


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({c % (len(data) + 1) for c in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@settings(max_examples=300, deadline=None)
@given(noise, st.lists(st.integers(0, 400), max_size=8), st.sampled_from([None, 80]))
def test_requests(data: bytes, cuts: list[int], origin_port: int | None) -> None:
    whole = run(RequestParser(LIMITS, origin_port=origin_port), [data])
    cut_up = run(RequestParser(LIMITS, origin_port=origin_port), cut(data, cuts))
    assert cut_up[: len(whole)] == whole or whole[: len(cut_up)] == cut_up or cut_up == whole


@settings(max_examples=300, deadline=None)
@given(noise, st.lists(st.integers(0, 400), max_size=8), st.sampled_from([b"GET", b"HEAD", b"CONNECT"]), st.booleans())
def test_responses(data: bytes, cuts: list[int], method: bytes, upgrade: bool) -> None:
    def parser() -> ResponseParser:
        made = ResponseParser(LIMITS)
        made.expect(method, upgrade)
        return made

    whole, cut_up = run(parser(), [data]), run(parser(), cut(data, cuts))
    assert cut_up[: len(whole)] == whole or whole[: len(cut_up)] == cut_up


tokens = st.from_regex(re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}"), fullmatch=True).map(lambda s: "x-" + s)
values = st.from_regex(re.compile(r"[\x21-\x7e]([\x20-\x7e\t]{0,20}[\x21-\x7e])?"), fullmatch=True)
fields = st.lists(st.tuples(tokens.map(str.encode), values.map(str.encode)), max_size=8)
path = st.from_regex(re.compile(r"/[!-\"$-~]{0,30}"), fullmatch=True).map(str.encode)


@settings(max_examples=200, deadline=None)
@given(path, fields, st.lists(st.binary(min_size=1, max_size=40), max_size=4), st.booleans())
def test_what_is_rebuilt_reads_the_same(
    path: bytes, fields: list[tuple[bytes, bytes]], body: list[bytes], chunked: bool
) -> None:
    """A request written by kap is a request kap takes, and says the same again: no second reading of it exists for us."""
    fields = [pair for pair in fields if pair[0].lower() not in (b"x-host", b"x-forwarded-host", b"x-forwarded-server")]
    framing = b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % sum(map(len, body))
    data = b"".join([chunk(piece) for piece in body]) + last_chunk() if chunked else b"".join(body)
    raw = b"POST http://example.com:8080" + path + b" HTTP/1.1\r\nHost: example.com:8080\r\n"
    raw += b"".join(b"%b:%b\r\n" % pair for pair in fields) + framing + b"\r\n" + data
    first = run(RequestParser(), [raw])
    assert isinstance(first[0], RequestHead) and isinstance(first[-1], End)
    again = rebuild_request(first[0], first[0].target)
    second = run(RequestParser(origin_port=8080), [again + data])
    assert second[0].path == first[0].path and second[0].target == first[0].target
    assert second[0].fields.pairs == (*first[0].fields.pairs, (b"Via", b"1.1 kap"))
    assert (second[0].fields.length, second[0].fields.chunked) == (first[0].fields.length, first[0].fields.chunked)
    assert second[1:] == first[1:]


@settings(max_examples=200, deadline=None)
@given(fields, st.binary(max_size=60), st.sampled_from([0, 1]))
def test_a_response_rebuilt_reads_the_same(fields: list[tuple[bytes, bytes]], body: bytes, minor: int) -> None:
    fields = [pair for pair in fields if pair[0].lower() not in (b"x-host", b"x-forwarded-host", b"x-forwarded-server")]
    raw = b"HTTP/1.1 200 OK\r\n" + b"".join(b"%b: %b\r\n" % pair for pair in fields)
    raw += b"Content-Length: %d\r\n\r\n" % len(body) + body
    parser, again = ResponseParser(), ResponseParser()
    parser.expect(b"GET")
    again.expect(b"GET")
    first = run(parser, [raw])
    assert isinstance(first[0], ResponseHead)
    second = run(again, [rebuild_response(first[0], to_minor=minor) + body])
    assert second[0].fields.pairs == (*first[0].fields.pairs, (b"Via", b"1.1 kap"))
    assert second[1:] == first[1:]
