"""The field section of an HTTP/1 message: matched byte by byte against the grammar, sorted into end-to-end and hop-by-hop. Sans-io.

Rules: a field name is a token, a value is visible ASCII, obs-text, space and tab; no folding, no bare CR or LF, no space before the
colon. Fields that decide where a message ends or goes (Host, Content-Length, Transfer-Encoding, Connection) may come once. What
belongs to one hop is taken out here and written anew by `http1_write`.

Sources: RFC 9110 5 (fields), 7.6.1 (Connection), 7.8 (Upgrade), 6.5.1 (trailers); RFC 9112 5, 6 (framing).
"""

from __future__ import annotations

import functools
import re

import msgspec

TCHAR = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
VALUE = rb"[\t\x20-\x7e\x80-\xff]*+"
FIELDS = rb"((?:" + TCHAR + rb"++:" + VALUE + rb"\r\n)*+)\r\n"
"""A whole field section with the empty line that ends it; possessive, so one pass over the bytes decides."""

_FIELD = re.compile(rb"(" + TCHAR + rb"++):[ \t]*+(" + VALUE + rb")\r\n")
_TOKEN = re.compile(TCHAR + rb"++")
_LENGTH = re.compile(rb"[0-9]{1,18}+")
_ONCE = frozenset({b"host", b"content-length", b"transfer-encoding"})
_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"http2-settings",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"upgrade",
    }
)
# kap is the first proxy there is: nobody before it can have forwarded anything, and origins route by these.
_FORGED = frozenset({b"forwarded", b"x-forwarded-host", b"x-forwarded-server", b"x-host"})
_TAKEN_OUT = _ONCE | _HOP_BY_HOP | _FORGED
_NEVER_NAMED = frozenset({b"host", b"content-length", b"transfer-encoding", b"via"})
_TRAILER_REFUSED = _ONCE | _HOP_BY_HOP | _FORGED
_TRAILER_DROPPED = frozenset(
    {
        b"age",
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"expires",
        b"location",
        b"max-forwards",
        b"pragma",
        b"range",
        b"retry-after",
        b"set-cookie",
        b"trailer",
        b"vary",
        b"www-authenticate",
    }
)

_KNOWN, _KNOWN_BYTES = 1024, 1024

Pair = tuple[bytes, bytes]


class BadMessage(Exception):
    """The peer broke HTTP/1 or a limit. `code` is a key of `kap.policy.codes.CODES`; `message` says what is wrong, for a log."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Fields(msgspec.Struct, frozen=True):
    """`pairs`: the end-to-end fields, in order, as written. `length`: of Content-Length, None without one. `chunked`: the body is.
    `close`, `keep_alive`: options of Connection. `upgrade`: protocols offered or chosen, lower case, only where Connection says so.
    `te_trailers`: the peer takes trailers. `wire`: `pairs` as lines, written anew."""

    pairs: tuple[Pair, ...]
    host: bytes | None = None
    length: int | None = None
    chunked: bool = False
    close: bool = False
    keep_alive: bool = False
    upgrade: tuple[bytes, ...] = ()
    te_trailers: bool = False
    wire: bytes = b""

    def get(self, name: bytes) -> bytes | None:
        """The first value of end-to-end field `name` (lower case), or None."""
        for key, value in self.pairs:
            if key.lower() == name:
                return value
        return None

    def with_pairs(self, pairs: list[Pair]) -> Fields:
        """The same with other end-to-end fields."""
        return msgspec.structs.replace(self, pairs=tuple(pairs), wire=_lines(pairs))


def parse_fields(section: bytes, limit: int) -> Fields:
    """`section` has matched `FIELDS` (without its empty line). At most `limit` fields. Raises `BadMessage` with request codes.

    A client sends the same section again and again, so the small ones are remembered; errors are not."""
    return _known_fields(section, limit) if len(section) <= _KNOWN_BYTES else _parse_fields(section, limit)


def _parse_fields(section: bytes, limit: int) -> Fields:
    pairs: list[Pair] = []
    special: dict[bytes, list[bytes]] = {}
    for name, value in _FIELD.findall(section):
        key = name.lower()
        if key in _TAKEN_OUT:
            special.setdefault(key, []).append(value.rstrip(b" \t"))
        else:
            pairs.append((name, value.rstrip(b" \t")))
    if len(pairs) + sum(map(len, special.values())) > limit:
        raise BadMessage("egress.head-too-large", f"more than {limit} fields")
    if not special:
        return Fields(tuple(pairs), wire=_lines(pairs))
    for key in _ONCE:
        if len(special.get(key, ())) > 1:
            code = "egress.bad-request" if key == b"host" else "egress.bad-framing"
            raise BadMessage(code, f"{key.decode()} more than once")
    options = _options(special.get(b"connection", []))
    if options:
        pairs = _without_named(pairs, options)
    length, chunked = _framing(special)
    upgrade = special.get(b"upgrade")
    return Fields(
        tuple(pairs),
        special[b"host"][0] if b"host" in special else None,
        length,
        chunked,
        b"close" in options,
        b"keep-alive" in options,
        tuple(_list(upgrade)) if upgrade and b"upgrade" in options else (),
        b"te" in special and b"trailers" in _list(special[b"te"]),
        _lines(pairs),
    )


_known_fields = functools.lru_cache(maxsize=_KNOWN)(_parse_fields)


def _lines(pairs: list[Pair]) -> bytes:
    return b"".join([b"%b: %b\r\n" % pair for pair in pairs])


def parse_trailers(section: bytes, limit: int) -> tuple[Pair, ...]:
    """Trailer fields fit to be passed on. Refuses those that frame or route, drops those a recipient has to ignore."""
    found = [(name, value.rstrip(b" \t")) for name, value in _FIELD.findall(section)]
    if len(found) > limit:
        raise BadMessage("egress.bad-framing", f"more than {limit} trailer fields")
    for name, _ in found:
        if name.lower() in _TRAILER_REFUSED:
            raise BadMessage("egress.bad-framing", f"{name.decode()} among the trailers")
    return tuple(pair for pair in found if pair[0].lower() not in _TRAILER_DROPPED)


def _framing(special: dict[bytes, list[bytes]]) -> tuple[int | None, bool]:
    codings, lengths = special.get(b"transfer-encoding"), special.get(b"content-length")
    if codings is not None:
        if lengths is not None:
            raise BadMessage("egress.bad-framing", "both Content-Length and Transfer-Encoding")
        if codings[0].lower() != b"chunked":
            raise BadMessage("egress.bad-framing", "a Transfer-Encoding other than chunked")
        return None, True
    if lengths is None:
        return None, False
    if not _LENGTH.fullmatch(lengths[0]):
        raise BadMessage("egress.bad-framing", "Content-Length is not one decimal number")
    return int(lengths[0]), False


def _options(values: list[bytes]) -> list[bytes]:
    options = _list(values)
    for option in options:
        if not _TOKEN.fullmatch(option):
            raise BadMessage("egress.bad-request", "Connection is not a list of tokens")
        if option in _NEVER_NAMED:
            raise BadMessage("egress.bad-request", f"Connection names {option.decode()}")
    return options


def _without_named(pairs: list[Pair], options: list[bytes]) -> list[Pair]:
    """RFC 9110 7.6.1: a field named by Connection ends at this hop."""
    if all(option in (b"close", b"keep-alive") for option in options):
        return pairs
    return [pair for pair in pairs if pair[0].lower() not in options]


def _list(values: list[bytes]) -> list[bytes]:
    """The elements of a comma-separated field (RFC 9110 5.6.1), lower case, empty ones dropped."""
    return [item for value in values for part in value.lower().split(b",") if (item := part.strip(b" \t"))]
