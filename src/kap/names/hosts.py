"""`Host` and `Target`: made here, by one parser, and nowhere else; the only things that are matched, logged and dialled.

Rules of this module: nothing is trimmed, decoded or guessed. What a second parser could read in another way is refused here.
Sources: RFC 3986 3.2.2 (authority), RFC 1035 2.3.4 (sizes), RFC 5890/UTS 46 (IDNA), RFC 6761 (localhost), RFC 6874 (zone ids).
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from kap.names.literals import BadTarget, is_dotted_decimal, parse_ip

__all__ = [
    "BadTarget",
    "Host",
    "Target",
    "is_loopback_name",
    "parse_authority",
    "parse_host",
    "parse_port",
    "parse_target",
    "parse_url",
]

_LABEL = r"[a-z0-9_-]{1,63}"  # a hyphen at either end is no LDH label (RFC 1123 2.1), but such names are in use, and mean one thing
_LAST = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# The last label may not be a number, in any base: inet_aton would read the whole as an address (WHATWG "ends in a number").
_NAME = re.compile(rf"(?:{_LABEL}\.)*+(?!(?:[0-9]+|0x[0-9a-f]*)\Z){_LAST}\Z")
_NUMBER_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z", re.IGNORECASE)
_PORT = re.compile(r"[1-9][0-9]{0,4}\Z")
_MAX_NAME = 253  # RFC 1035 2.3.4 allows 255 octets on the wire: 253 characters of text
_MAX_TEXT = 300  # longer than any spelling we accept; keeps what the cache holds small
_URL_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_LOOPBACK_NAMES = frozenset({"localhost", "ip6-localhost", "ip6-loopback", "localhost.localdomain", "localhost6"})


class Host(msgspec.Struct, frozen=True):
    """A canonical host: an A-label name in lower case without trailing dot, or the canonical text of an IP address."""

    text: str
    is_ip: bool = False

    def __str__(self) -> str:
        return self.text


class Target(msgspec.Struct, frozen=True):
    """A host and a TCP port (1..65535)."""

    host: Host
    port: int

    def __str__(self) -> str:
        return f"[{self.host.text}]:{self.port}" if ":" in self.host.text else f"{self.host.text}:{self.port}"


def parse_host(text: str) -> Host:
    """Make a `Host` of what a user or a client wrote; raises `BadTarget`.

    Accepts names (IDNA/UTS-46 mapped, one trailing dot dropped, underscores allowed), IPv4 in dotted decimal and IPv6 (bare or
    in brackets). Every other spelling of an address (decimal, octal, hex, short forms, zone ids) is refused by name.
    """
    if len(text) > _MAX_TEXT:
        raise BadTarget(f"the host is {len(text)} characters long; a name has at most {_MAX_NAME}")
    return _parse_host(text)


@lru_cache(maxsize=8192)
def _parse_host(text: str) -> Host:
    lower = text.lower() if text.isascii() else text
    name = lower[:-1] if lower.endswith(".") else lower
    if len(name) <= _MAX_NAME and _NAME.match(name) and "xn--" not in name:
        return Host(name)
    if ":" in text or "[" in text or "]" in text:
        return _parse_v6(text)
    if "%" in text:
        raise BadTarget(f"{_show(text)} contains a percent sign; a host is written plainly, not percent-encoded")
    _refuse_characters(text)
    if text.isascii():
        return _parse_ascii(text, lower, name)
    return Host(_to_ascii(text))


def _parse_ascii(text: str, lower: str, name: str) -> Host:
    if not name:
        raise BadTarget("the host is empty")
    if _NUMBER_LABEL.match(name.rpartition(".")[2]):
        if is_dotted_decimal(lower):
            return Host(lower, is_ip=True)
        raise BadTarget(
            f"{_show(text)} looks like an IP address spelled oddly; write it as four decimal numbers, like 192.0.2.7"
        )
    _check_labels(name, text)
    for label in name.split("."):
        if label.startswith("xn--"):
            _check_a_label(label)
    return Host(name)


def _parse_v6(text: str) -> Host:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "[" in inner or "]" in inner:
        raise BadTarget(f"{_show(text)} has stray brackets; only an IPv6 address stands in one pair of [ ]")
    if "%" in inner:
        raise BadTarget(f"{_show(text)} has a zone id (%...); a zone means something on one machine only, leave it out")
    if ":" not in inner:
        raise BadTarget(f"{_show(text)}: only an IPv6 address stands in brackets")
    return Host(str(parse_ip(inner)), is_ip=True)


def _refuse_characters(text: str) -> None:
    """One clear message for the characters attackers and typos bring; what is left is a question of labels."""
    for char in text:
        if char in "@":
            raise BadTarget(f"{_show(text)} contains user information (@); a host is written alone")
        if char in "\\/?#":
            raise BadTarget(f"{_show(text)} contains {char!r}; a host has no path, query or fragment")
        if char.isspace() or ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0:
            raise BadTarget(f"{_show(text)} contains white space or a control character")


def _check_labels(name: str, text: str) -> None:
    """Raise for what the fast expression refuses, with the reason (RFC 1035 2.3.4; LDH of RFC 1123 2.1, underscores too)."""
    if len(name) > _MAX_NAME:
        raise BadTarget(f"{_show(text)} is {len(name)} characters long; a name has at most {_MAX_NAME}")
    for label in name.split("."):
        if not label:
            raise BadTarget(f"{_show(text)} has an empty label (two dots together, or a dot in front)")
        if len(label) > 63:
            raise BadTarget(f"a label of {_show(text)} is {len(label)} characters long; at most 63 are allowed")
        bad = re.search(r"[^a-z0-9_-]", label)
        if bad:
            raise BadTarget(
                f"{_show(text)} contains {_show(bad[0])}; names have letters, digits, hyphens and underscores"
            )
    last = name.rpartition(".")[2]
    if last.startswith("-") or last.endswith("-"):
        raise BadTarget(f"the last label of {_show(text)} begins or ends with a hyphen")


def _to_ascii(text: str) -> str:
    """UTS 46 ToASCII, non-transitional, STD3 rules. A label that maps to plain ASCII is refused: it is a look-alike of another.

    Clients send A-labels; look-alikes such as full-width letters come from people who test the wall.
    """
    if any(dot in text for dot in "\u3002\uff0e\uff61"):
        raise BadTarget(f"{_show(text)} uses a dot that is not '.'")
    labels = (text[:-1] if text.endswith(".") else text).split(".")
    name = ".".join(label.lower() if label.isascii() else _label_to_ascii(label, text) for label in labels)
    return parse_host(name).text  # every rule for ASCII names holds for the result too


def _label_to_ascii(label: str, text: str) -> str:
    import idna

    try:
        mapped = idna.uts46_remap(label, std3_rules=True, transitional=False)
    except (idna.IDNAError, UnicodeError) as error:
        raise BadTarget(f"{_show(text)} contains characters that no name may have (UTS 46)") from error
    if mapped.isascii() or "." in mapped:
        raise BadTarget(f"{_show(text)} is a look-alike spelling of {_show(mapped)}; write that if it is meant")
    _check_u_label(mapped)
    return "xn--" + mapped.encode("punycode").decode("ascii")


def _check_u_label(label: str) -> None:
    """UTS 46 4.1 validity of one U-label: stable under mapping, hyphens, combining marks, joiners, direction."""
    import idna
    from idna import core

    try:
        if idna.uts46_remap(label, std3_rules=True, transitional=False) != label:
            raise BadTarget(f"the label {_show(label)} is not in its canonical form")
        core.check_nfc(label)
        core.check_hyphen_ok(label)
        core.check_initial_combiner(label)
        core.check_bidi(label)
        for position, char in enumerate(label):
            if char in "\u200c\u200d" and not core.valid_contextj(label, position):
                raise BadTarget(f"the label {_show(label)} has an invisible joiner where none may stand")
    except (idna.IDNAError, UnicodeError, ValueError) as error:
        raise (
            error if isinstance(error, BadTarget) else BadTarget(f"the label {_show(label)} is not valid (UTS 46)")
        ) from error


def _check_a_label(label: str) -> None:
    """An ``xn--`` label must decode to a valid U-label and encode back to itself (RFC 5891 5.4)."""
    try:
        decoded = label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, IndexError, ValueError, OverflowError) as error:
        raise BadTarget(f"{_show(label)} is not a valid A-label (punycode)") from error
    if not decoded or decoded.isascii():
        raise BadTarget(f"{_show(label)} is not a valid A-label: it encodes nothing that needs encoding")
    try:
        _check_u_label(decoded)
    except BadTarget as error:
        raise BadTarget(f"{_show(label)} is not a valid A-label: {error}") from error
    if "xn--" + decoded.encode("punycode").decode("ascii") != label:
        raise BadTarget(f"{_show(label)} is not a valid A-label: it does not encode back to itself")


def parse_port(text: str) -> int:
    """A TCP port, 1..65535, in decimal digits without sign or leading zero; raises `BadTarget`."""
    if not text.isascii() or not _PORT.match(text) or int(text) > 65535:
        raise BadTarget(f"the port {_show(text)} is not a number from 1 to 65535")
    return int(text)


def parse_authority(text: str, default_port: int | None = None) -> Target:
    """Make a `Target` of ``host:port`` or ``[v6]:port`` (port optional where `default_port` is given); raises `BadTarget`."""
    if "@" in text:
        raise BadTarget(f"{_show(text)} contains user information (@); a host is written alone")
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        host += bracket
        if rest and not rest.startswith(":"):
            raise BadTarget(f"{_show(text)}: after the ] only :port may follow")
        colon, port = rest[:1], rest[1:]
    else:
        host, colon, port = text.partition(":")
        if ":" in port:
            raise BadTarget(f"{_show(text)} has more than one colon; an IPv6 address is written [like:this]:443")
    if colon:
        return Target(parse_host(host), parse_port(port))
    if default_port is None:
        raise BadTarget(f"{_show(text)} has no port; write host:port")
    return Target(parse_host(host), default_port)


def parse_url(text: str) -> tuple[str, Target]:
    """Scheme and `Target` of an ``http``, ``https``, ``ws`` or ``wss`` URL (RFC 3986 3); raises `BadTarget`.

    The scheme gives the port where none is written. User information, back-slashes, white space and control characters are refused.
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _URL_PORTS:
        raise BadTarget(f"{_show(text)} is not a URL that kap knows; use http://, https://, ws:// or wss://")
    if "\\" in rest or any(char.isspace() or ord(char) < 0x20 or ord(char) == 0x7F for char in rest):
        raise BadTarget(f"{_show(text)} contains a back-slash, white space or a control character")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise BadTarget(f"{_show(text)} contains user information before the @; leave it out")
    return scheme, parse_authority(authority, _URL_PORTS[scheme])


def parse_target(text: str, default_port: int = 443) -> tuple[str, Target]:
    """What a person names: host, ``host:port``, an address, bare IPv6, ``[v6]:port`` or a URL, with its scheme ("" for none).

    Raises `BadTarget`.
    """
    if "://" in text:
        return parse_url(text)
    if text.count(":") >= 2 and not text.startswith("["):
        return "", Target(parse_host(text), default_port)
    return "", parse_authority(text, default_port)


def is_loopback_name(name: str) -> bool:
    """True where a canonical name means the machine itself (RFC 6761 6.3, and the names of common hosts files)."""
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def _show(text: str) -> str:
    """`text` for a message: shortened, what is not plain visible ASCII escaped, and without what may be a secret: messages reach logs,
    and user information, paths and queries do not belong there."""
    scheme, separator, rest = text.partition("://")
    if not separator or re.search(r"[/?#@]", scheme):
        scheme, separator, rest = "", "", text
    if "@" in rest:
        rest = "...@" + rest.rpartition("@")[2]
    end = re.search(r"[/?#]", rest)
    if end is not None:
        rest = rest[: end.end()] + "..."
    shown = f"{scheme}{separator}{rest}"
    return ascii(shown if len(shown) <= 80 else shown[:77] + "...")
