"""Messages as kap sends them on: written anew from what was parsed, never copied from the wire. Sans-io.

Rules: the start line is ours, Host is the target the policy allowed, the framing is the one that was understood, hop-by-hop fields
are this hop's, Via names us.

Sources: RFC 9110 7.2 (Host), 7.6 (forwarding, Via), 10.1.4 (TE); RFC 9112 3.2 (request target), 6.1, 7.1 (chunked).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable

from kap.egress.http1_fields import Pair
from kap.egress.http1_request import RequestHead
from kap.egress.http1_response import ResponseHead
from kap.names.hosts import Target

VIA = b"Via: 1.1 kap\r\n"
LAST_CHUNK = b"0\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_TARGETS = 4096


def rebuild_request(
    head: RequestHead,
    target: Target,
    *,
    absolute: bool = False,
    proxy_auth: bytes | None = None,
    via: bytes = VIA,
) -> bytes:
    """The head to send to `target` (with `absolute`: to an upstream proxy, `proxy_auth` its Proxy-Authorization value). `via`: b"" where
    the message stays inside kap."""
    authority = host_field(target)
    path = head.path
    if absolute:
        path = b"http://" + authority + (b"" if path == b"*" else path)
    fields = head.fields
    parts = [head.method, b" ", path, b" HTTP/1.1\r\nHost: ", authority, b"\r\n"]
    if proxy_auth is not None:
        parts.append(b"Proxy-Authorization: %b\r\n" % proxy_auth)
    parts.append(fields.wire)
    _add_framing(parts, fields.length, fields.chunked)
    if head.upgrade:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif fields.te_trailers:
        parts.append(b"Connection: TE\r\nTE: trailers\r\n")
    parts.append(via)
    parts.append(b"\r\n")
    return b"".join(parts)


def rebuild_response(head: ResponseHead, *, to_minor: int = 1, close: bool = False, via: bytes = VIA) -> bytes:
    """The head to send to a client that speaks HTTP/1.`to_minor`; `close`: this connection ends after the response.

    A chunked or until-close body goes to an HTTP/1.0 client, an until-close body to any client, unframed: the caller closes behind
    it (`must_close` says so)."""
    fields = head.fields
    parts = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason)]
    parts.append(fields.wire)
    if head.status >= 200 and head.status != 204 and not head.switched:
        _add_framing(parts, fields.length, fields.chunked and to_minor == 1)
    if head.switched and head.status == 101:
        parts.append(b"Connection: Upgrade\r\nUpgrade: websocket\r\n")
    elif not head.interim:
        if close or must_close(head, to_minor):
            parts.append(b"Connection: close\r\n")
        elif to_minor == 0:
            parts.append(b"Connection: keep-alive\r\n")
    parts.append(via)
    parts.append(b"\r\n")
    return b"".join(parts)


def must_close(head: ResponseHead, to_minor: int) -> bool:
    """Whether only the end of the connection tells the client where this body ends."""
    return head.until_close or (to_minor == 0 and head.has_body and head.fields.chunked)


def chunk(data: bytes | memoryview) -> bytes:
    """Body bytes (not empty) as one chunk."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))


def last_chunk(trailers: Iterable[Pair] = ()) -> bytes:
    """The end of a chunked body."""
    fields = b"".join([b"%b: %b\r\n" % pair for pair in trailers])
    return b"0\r\n%b\r\n" % fields if fields else LAST_CHUNK


@functools.lru_cache(maxsize=_TARGETS)
def host_field(target: Target) -> bytes:
    """The value of Host for `target`: the port only where it is not 80."""
    text = str(target)
    return (text[:-3] if target.port == 80 else text).encode("ascii")


def _add_framing(parts: list[bytes], length: int | None, chunked: bool) -> None:
    if chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    elif length is not None:
        parts.append(b"Content-Length: %d\r\n" % length)
