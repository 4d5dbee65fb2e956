"""IPv4 addresses in every spelling that some parser takes, and the edges of every block that is not for the public internet."""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Iterator

TARGETS = ("127.0.0.1", "169.254.169.254", "10.99.1.2", "192.168.0.1", "0.0.0.0", "100.100.100.200", "8.8.8.8")


def _number(value: int) -> tuple[str, ...]:
    return (str(value), f"0{value:o}", f"{value:#x}", f"{value:#X}", f"{value:#010x}", f"000{value:o}")


def ipv4_numbers(address: str) -> Iterator[str]:
    """The forms of inet_aton: one to four numbers, each in any base; overflows that some parsers wrap."""
    octets = [int(octet) for octet in address.split(".")]
    a, b, c, d = octets
    value = int(ipaddress.IPv4Address(address))
    yield from _number(value)
    yield from (str(value + 2**32), f"{value + 2**32:#x}", str(value - 2**32), f"+{value}", f"{value}.", f"{value:_}")
    for parts in ((a, value & 0xFFFFFF), (a, b, value & 0xFFFF), (a, b, c, d)):
        for spelled in itertools.product(*(_number(part)[:3] for part in parts)):
            if spelled != tuple(map(str, octets)):
                yield ".".join(spelled)
    yield ".".join(str(octet + 256) for octet in octets)
    yield ".".join(f"{octet:03}" for octet in octets) + "."
    yield ".".join(f"{octet:04o}" for octet in octets)
    yield from (
        f"{address}.",
        f"{address}..",
        f".{address}",
        f"{address}.0",
        f"{a}.{b}.{c}",
        f"[{address}]",
        f"{address}/",
    )
    yield from (f"0o177.{b}.{c}.{d}", f"o177.{b}.{c}.{d}", f"q177.{b}.{c}.{d}", f"{a}..{c}.{d}", f"{a}.{b}.{c}.{d}%00")


def ipv4_disguised(address: str) -> Iterator[str]:
    """Dots and digits that only look like them, and percent-encoding."""
    for dot in ("%2e", "%2E", "%252e", "\u3002", "\uff0e", "\uff61", "\u2024", "\ufe52", ",", "_"):
        yield address.replace(".", dot)
    yield "".join(f"%{ord(char):02x}" for char in address)
    for zero in (0xFF10, 0x0660, 0x06F0, 0x0966, 0x0E50, 0x1D7CE, 0x1D7D8, 0x1D7F6, 0x2080):
        yield "".join(chr(zero + int(char)) if char.isdigit() else char for char in address)
    circled = {"0": "\u24ea"} | {str(n): chr(0x245F + n) for n in range(1, 10)}
    yield "".join(circled.get(char, char) for char in address)
    yield "".join({"0": "\u2070", "1": "\u00b9", "2": "\u00b2", "3": "\u00b3"}.get(char, char) for char in address)
    for hidden in ("\u00ad", "\u200b", "\u2060", "\ufeff"):
        yield address.replace(".", f".{hidden}", 1)


def ipv4_in_ipv6(address: str) -> Iterator[str]:
    """Every way to carry an IPv4 address inside IPv6, in several spellings, with and without brackets, with zones."""
    value = int(ipaddress.IPv4Address(address))
    high, low = value >> 16, value & 0xFFFF
    inner = [
        f"::ffff:{address}",
        f"::ffff:{high:x}:{low:x}",
        f"::FFFF:{high:X}:{low:X}",
        f"0:0:0:0:0:ffff:{address}",
        f"0000:0000:0000:0000:0000:ffff:{high:04x}:{low:04x}",
        f"::{address}" if value > 1 else "::1",
        f"::{high:x}:{low:x}",
        f"::ffff:0:{address}",
        f"::ffff:0:{high:x}:{low:x}",
        f"64:ff9b::{address}",
        f"64:ff9b::{high:x}:{low:x}",
        f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 255) << 8:x}::",
        f"64:ff9b:1::{high:x}:{low:x}",
        f"2002:{high:x}:{low:x}::",
        f"2002:{high:x}:{low:x}::1",
        f"2001::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
        f"fe80::5efe:{high:x}:{low:x}",
        f"2a00:1450::5efe:{high:x}:{low:x}",
        f"2a00:1450::200:5efe:{high:x}:{low:x}",
    ]
    for text in inner:
        yield from (
            f"[{text}]",
            text,
            f"[{text}%25eth0]",
            f"[{text}%eth0]",
            f"[{text}%25api.github.com]",
            f"[[{text}]]",
            f"[{text}",
        )
    yield from (
        f"[v1.{address}]",
        f"[::ffff:{address}:443]",
        f"[:::ffff:{address}]",
        f"[::ffff:0{address}]",
        f"[::ffff:{address}].",
    )


SPECIAL = (  # written from the IANA registries: first and last address of every block that is not for the public internet
    ("0.0.0.0", "0.255.255.255"),
    ("10.0.0.0", "10.255.255.255"),
    ("100.64.0.0", "100.127.255.255"),
    ("127.0.0.0", "127.255.255.255"),
    ("169.254.0.0", "169.254.255.255"),
    ("172.16.0.0", "172.31.255.255"),
    ("192.0.0.0", "192.0.0.255"),
    ("192.0.2.0", "192.0.2.255"),
    ("192.88.99.0", "192.88.99.255"),
    ("192.168.0.0", "192.168.255.255"),
    ("198.18.0.0", "198.19.255.255"),
    ("198.51.100.0", "198.51.100.255"),
    ("203.0.113.0", "203.0.113.255"),
    ("224.0.0.0", "239.255.255.255"),
    ("240.0.0.0", "255.255.255.255"),
    ("::", "::ffff:ffff"),
    ("::ffff:0:0:0", "::ffff:0:ffff:ffff"),
    ("64:ff9b::", "64:ff9b::ffff:ffff"),
    ("64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"),
    ("100::", "100::ffff:ffff:ffff:ffff"),
    ("100:0:0:1::", "100:0:0:1:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff"),
    ("2001:10::", "2001:1f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:20::", "2001:2f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:30::", "2001:3f:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
)
METADATA = ("168.63.129.16",)  # public by the registries, and still not: the control service of a cloud


def special(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """By `SPECIAL` alone; of IPv6 only 2000::/3 is given out at all (RFC 4291 2.4)."""
    if address.version == 6 and int(address) >> 125 != 1:
        return True
    return any(
        address.version == first.version and int(first) <= int(address) <= int(last)
        for first, last in ((ipaddress.ip_address(a), ipaddress.ip_address(b)) for a, b in SPECIAL)
    )


def edges() -> Iterator[tuple[str, bool]]:
    """Every block's first, second, middle and last address, and the ones before and behind it; True where it is public."""
    for first, last in SPECIAL:
        low, high = ipaddress.ip_address(first), ipaddress.ip_address(last)
        kind = type(low)
        top = 2**low.max_prefixlen
        near = (
            int(low) - 1,
            int(low),
            int(low) + 1,
            (int(low) + int(high)) // 2,
            int(high) - 1,
            int(high),
            int(high) + 1,
        )
        for value in near:
            if 0 <= value < top:
                address = kind(value)
                mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
                yield str(address), not special(mapped or address)
    for address in TARGETS[:-1] + METADATA:
        yield address, False
    for address in ("1.1.1.1", "8.8.8.8", "9.9.9.9", "128.0.0.1", "191.255.255.255", "223.255.255.255", "192.0.1.0"):
        yield from ((address, True), (f"::ffff:{address}", True))
    for address in ("2606:4700:4700::1111", "2001:4860:4860::8888", "2620:fe::fe", "2a00:1450:4001:80b::200e"):
        yield from ((address, True), (ipaddress.ip_address(address).exploded.upper(), True))


def spellings(address: str) -> Iterator[str]:
    """Every spelling but the plain one."""
    for family in (ipv4_numbers, ipv4_disguised, ipv4_in_ipv6):
        yield from family(address)
