"""Requests as a forward proxy gets them. Sans-io; see `http1` for the rules and an example.

Sources: RFC 9112 2.2 (leading CRLF, bare LF), 3 (request line and its four forms); RFC 9110 7.8 (Upgrade), 9.3.6 (CONNECT).
"""

from __future__ import annotations

import functools
import re
from typing import Literal

import msgspec

from kap.egress.http1_fields import FIELDS, TCHAR, BadMessage, Fields, parse_fields
from kap.egress.http1_message import DONE, SWITCHED, MessageReader, WireLimits
from kap.names.hosts import BadTarget, Target, parse_authority

Form = Literal["absolute", "authority", "origin", "asterisk"]

_LINE = rb"(" + TCHAR + rb"{1,32}+) ([\x21\x22\x24-\x7e]++) HTTP/1\.([01])\r\n"  # no "#": a fragment is never sent
_REQUEST_LINE = re.compile(_LINE)
_HEAD = re.compile(_LINE + FIELDS)
_BEGINNING = re.compile(TCHAR + rb"{0,32}+(?: |\Z)")
_ABSOLUTE = re.compile(rb"http://([^/?]++)(.*+)", re.I | re.S)
_TARGETS = 4096
# Offers whose refusal RFC 9110 7.8 leaves to the server: the client goes on in HTTP/1.1.
_IGNORED_UPGRADES = frozenset({b"h2c", b"h2", b"tls/1.0", b"tls/1.1", b"tls/1.2", b"tls/1.3"})
_MOST_HOPS = 8
_COUNTED = frozenset({b"OPTIONS", b"TRACE"})
_MAX_FORWARDS = re.compile(rb"[0-9]{1,9}+")


class RequestHead(msgspec.Struct, frozen=True):
    """`method` as sent. `target`: where the request is to go. `path`: what an origin is asked for (``/a?b``, ``*``; empty for CONNECT).
    `minor`: 0 or 1 of HTTP/1.x. `upgrade`: a websocket is asked for. `keep_alive`: the client's wish."""

    method: bytes
    form: Form
    target: Target
    path: bytes
    minor: int
    fields: Fields
    upgrade: bool = False
    keep_alive: bool = True

    @property
    def has_body(self) -> bool:
        """Body bytes follow."""
        return self.fields.chunked or bool(self.fields.length)


class RequestParser(MessageReader[RequestHead]):
    """Reads one client connection. Without `origin_port`: a proxy port (absolute-form, CONNECT). With it: requests sent as to an origin on
    that port (transparent, or inside a tunnel); the target then comes from Host.

    After the head of a CONNECT or a websocket request `next` returns None until `resume` (go on parsing HTTP) or `rest`."""

    __slots__ = ("_crlf_skipped", "_held", "_origin_port")

    def __init__(self, limits: WireLimits | None = None, *, origin_port: int | None = None) -> None:
        super().__init__(limits or WireLimits())
        self._origin_port = origin_port
        self._crlf_skipped = False
        self._held = DONE

    def resume(self) -> None:
        """The upgrade was not accepted: what follows is HTTP again. The next event is the `End` of that request. Else nothing happens."""
        if self._state == SWITCHED:
            self._state = self._held

    def _next_head(self) -> RequestHead | None:
        if self._partial[:2] == b"\r\n" and not self._crlf_skipped:
            del self._partial[:2]
            self._scanned, self._crlf_skipped = 0, True
        if self._partial and not self._line(b"\r\n\r\n", self.limits.head_bytes, "request head"):
            self._check_beginning(self._partial)
            return None
        match = _HEAD.match(self._buffer, self._position)
        if match is None:
            return self._incomplete_or_bad()
        if match.end() - self._position > self.limits.head_bytes:
            raise BadMessage("egress.head-too-large", f"request head of more than {self.limits.head_bytes} bytes")
        self._position = match.end()
        self._crlf_skipped = False
        method, target, minor, section = match.groups()
        head = _make_head(method, target, int(minor), parse_fields(section, self.limits.fields), self._origin_port)
        self._begin_body(head.fields.length, head.fields.chunked)
        if head.form == "authority" or head.upgrade:
            self._held, self._state = self._state, SWITCHED
        return head

    def _incomplete_or_bad(self) -> RequestHead | None:
        if self._buffer[self._position : self._position + 2] == b"\r\n" and not self._crlf_skipped:
            self._position += 2  # RFC 9112 2.2: one empty line before a request line is ignored
            self._crlf_skipped = True
            return self._next_head()
        if self._line(b"\r\n\r\n", self.limits.head_bytes, "request head"):
            line = self._buffer[self._position : self._buffer.find(b"\n", self._position) + 1]
            if not _BEGINNING.match(line):
                raise BadMessage("egress.not-http", "the first bytes are no HTTP method")
            fine = _REQUEST_LINE.fullmatch(line)
            raise BadMessage("egress.bad-request", "malformed header field" if fine else "malformed request line")
        self._check_beginning(self._partial)
        return None

    def _check_beginning(self, partial: bytearray) -> None:
        """Refuse early what can't become a request: other protocols must not sit here until the time limit."""
        if partial == b"\r" and not self._crlf_skipped:
            return
        if partial and not _BEGINNING.match(partial):
            raise BadMessage("egress.not-http", "the first bytes are no HTTP method")
        newline = partial.find(b"\n", 0, self.limits.head_bytes)
        if newline >= 0 and not _REQUEST_LINE.match(partial):
            raise BadMessage("egress.bad-request", "malformed request line")


def _make_head(method: bytes, target: bytes, minor: int, fields: Fields, origin_port: int | None) -> RequestHead:
    if minor and fields.host is None and method != b"CONNECT":
        raise BadMessage("egress.bad-request", "no Host")
    if fields.chunked and not minor:
        raise BadMessage("egress.bad-framing", "Transfer-Encoding in an HTTP/1.0 request")
    _check_hops(fields)
    keep_alive = not fields.close if minor else fields.keep_alive and not fields.close
    if method == b"CONNECT":
        if origin_port is not None:
            raise BadMessage("egress.bad-request", "CONNECT sent to an origin")
        if fields.chunked or fields.length:
            raise BadMessage("egress.bad-framing", "CONNECT with a body")
        return RequestHead(method, "authority", _authority(target, None), b"", minor, fields)
    if method in _COUNTED:
        fields = _one_hop_less(fields)
    form, where, path = _split_target(method, target, fields, origin_port)
    return RequestHead(method, form, where, path, minor, fields, _wants_websocket(method, minor, fields), keep_alive)


def _split_target(method: bytes, target: bytes, fields: Fields, origin_port: int | None) -> tuple[Form, Target, bytes]:
    match = _ABSOLUTE.fullmatch(target)
    if match is not None:
        where, path = _authority(match[1], 80), match[2]
        if origin_port is not None:
            _check_origin_host(fields, origin_port, where)
        if not path:
            return "absolute", where, b"*" if method == b"OPTIONS" else b"/"  # RFC 9112 3.2.4
        return "absolute", where, path if path[0] == 0x2F else b"/" + path
    asterisk = target == b"*" and method == b"OPTIONS"
    if target[0] != 0x2F and not asterisk:
        raise BadMessage("egress.bad-request", "the request target is not an http:// URL")
    if origin_port is None:
        raise BadMessage("egress.bad-request", "a proxy takes http:// URLs and CONNECT; this is a request to an origin")
    return "asterisk" if asterisk else "origin", _check_origin_host(fields, origin_port), target


def _check_origin_host(fields: Fields, port: int, expected: Target | None = None) -> Target:
    if fields.host is None:
        raise BadMessage("egress.bad-request", "no Host")
    target = _authority(fields.host, port)
    if target.port != port or (expected is not None and target != expected):
        raise BadMessage("egress.host-mismatch", f"Host names {target}")
    return target


def _authority(raw: bytes, default_port: int | None) -> Target:
    try:
        return _parse_authority(raw, default_port)
    except BadTarget as error:
        raise BadMessage("egress.bad-target", str(error)) from None


@functools.lru_cache(maxsize=_TARGETS)
def _parse_authority(raw: bytes, default_port: int | None) -> Target:
    try:
        return parse_authority(raw.decode("ascii"), default_port)
    except UnicodeDecodeError:
        raise BadTarget("a host name on the wire is ASCII") from None


def _wants_websocket(method: bytes, minor: int, fields: Fields) -> bool:
    """True for a websocket handshake, False for none or one that may be ignored; anything else is refused."""
    offers = fields.upgrade
    if not offers or not minor or all(offer in _IGNORED_UPGRADES for offer in offers):
        return False
    if offers == (b"websocket",) and method == b"GET" and not fields.length and not fields.chunked:
        return True
    shown = b", ".join(offers)[:80].decode("latin-1")
    raise BadMessage("egress.upgrade-refused", f"upgrade to {shown!r} by {method.decode()}")


def _check_hops(fields: Fields) -> None:
    """RFC 9110 7.6.3: a request that keeps coming back is recognised by our name in Via."""
    via = sum(value.lower().count(b" kap") for name, value in fields.pairs if name.lower() == b"via")
    if via >= _MOST_HOPS:
        raise BadMessage("egress.bad-request", "the request went in a circle through kap")


def _one_hop_less(fields: Fields) -> Fields:
    """RFC 9110 7.6.2: OPTIONS and TRACE may say at how many proxies they end."""
    left = fields.get(b"max-forwards")
    if left is None:
        return fields
    if not _MAX_FORWARDS.fullmatch(left) or not int(left):
        raise BadMessage("egress.bad-request", "Max-Forwards lets the request go no further than this proxy")
    others = [pair for pair in fields.pairs if pair[0].lower() != b"max-forwards"]
    return fields.with_pairs([*others, (b"Max-Forwards", b"%d" % (int(left) - 1))])
