"""IP address literals as text: the one spelling of each that kap takes. Sources: RFC 3986 3.2.2, RFC 4291 2.2, RFC 5952."""

from __future__ import annotations

import ipaddress
import re

# Four decimal octets without leading zeros: inet_aton reads "010" as eight, other parsers as ten.
_DOTTED = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}\Z")
_V6 = re.compile(r"[0-9a-fA-F:.]{2,45}\Z")

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class BadTarget(ValueError):
    """The text is not a host or authority we accept; the message says why, in words for a person."""


def is_dotted_decimal(text: str) -> bool:
    """True for IPv4 in the one spelling we take: four decimal numbers without leading zeros."""
    return len(text) <= 15 and text.isascii() and _DOTTED.match(text) is not None


def parse_ip(address: str) -> IPAddress:
    """The address `address` writes; an IPv4-mapped one (RFC 4291 2.5.5.2) becomes IPv4. Zone ids are refused. Raises `BadTarget`."""
    if is_dotted_decimal(address):
        return ipaddress.IPv4Address(address)
    if ":" not in address or not _V6.match(address):
        raise BadTarget(f"{address[:80]!a} is not an IP address")
    try:
        ip = ipaddress.IPv6Address(address)
    except ValueError as error:
        raise BadTarget(f"{address!a} is not an IPv6 address") from error
    return ip.ipv4_mapped or ip
