"""`Host` and `Target`: made here, by one parser, and nowhere else; the only things that are matched, logged and dialled.

Sources: RFC 3986 3.2.2 (authority), RFC 1035 2.3.4 (sizes), RFC 5890/UTS 46 (IDNA), RFC 6761 (localhost), RFC 6874 (zone ids).
"""

from __future__ import annotations

import msgspec


class BadTarget(ValueError):
    """The text is not a host or authority we accept; the message says why, in words for a person."""


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
    raise BadTarget(f"not built yet: {text!r}")


def parse_authority(text: str, default_port: int | None = None) -> Target:
    """Make a `Target` of ``host:port`` or ``[v6]:port`` (port optional where `default_port` is given); raises `BadTarget`."""
    raise BadTarget(f"not built yet: {text!r} {default_port}")
