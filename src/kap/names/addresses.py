"""What kind of address this is, by the IANA special-purpose registries; anything not plainly on the public internet says so.

Rules: an IPv4-mapped address *is* the IPv4 address; every other way to carry an IPv4 address inside IPv6 is never global, whatever
it carries, since the gateway that unwraps it is not ours. The table is ours, not the standard library's, so that a Python upgrade
does not move the wall. Sources: IANA IPv4/IPv6 Special-Purpose Address Registries (RFC 6890 and the RFC named in each row).
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

import msgspec

from kap.names.literals import BadTarget, IPAddress, IPNetwork, parse_ip

__all__ = ["AddressClass", "BadTarget", "canonical", "classify", "special_range"]


class AddressClass(msgspec.Struct, frozen=True):
    """`name`: what it is (``global``, ``loopback``, ``private``, ...). `network`, `source`: the row of the table that says so.

    `embedded`: the IPv4 address inside an IPv6 one ("" where there is none). `value`, `version`: the address as a number.
    """

    name: str
    is_global: bool
    network: str
    source: str
    version: int
    value: int
    embedded: str = ""


# Cloud metadata and control services: reachable from inside a machine, they hand out credentials. Vendor documentation of each.
_METADATA = {
    "169.254.169.254": "AWS, Google Cloud, Azure, Oracle and most others",
    "169.254.169.253": "AWS resolver",
    "169.254.169.123": "AWS time service",
    "169.254.170.2": "AWS ECS task credentials",
    "169.254.170.23": "AWS EKS pod identity",
    "169.254.42.42": "Scaleway",
    "169.254.0.23": "Tencent Cloud",
    "168.63.129.16": "Azure wire server",
    "100.100.100.200": "Alibaba Cloud",
    "192.0.0.192": "Oracle Cloud Classic",
    "fd00:ec2::254": "AWS over IPv6",
    "fd00:ec2::253": "AWS resolver over IPv6",
    "fd00:ec2::123": "AWS time service over IPv6",
    "fd00:ec2::23": "AWS EKS pod identity over IPv6",
    "fd20:ce::254": "Google Cloud over IPv6",
    "fd00:42::42": "Scaleway over IPv6",
    "fe80::a9fe:a9fe": "OpenStack over IPv6",
}

# First match wins, so narrower rows stand before wider ones.
_SPECIAL = (
    ("0.0.0.0/8", "this-network", "RFC 791"),
    ("10.0.0.0/8", "private", "RFC 1918"),
    ("100.64.0.0/10", "shared", "RFC 6598"),
    ("127.0.0.0/8", "loopback", "RFC 1122"),
    ("169.254.0.0/16", "link-local", "RFC 3927"),
    ("172.16.0.0/12", "private", "RFC 1918"),
    ("192.0.0.0/24", "ietf-protocol", "RFC 6890"),
    ("192.0.2.0/24", "documentation", "RFC 5737"),
    ("192.88.99.0/24", "6to4-relay", "RFC 7526"),
    ("192.168.0.0/16", "private", "RFC 1918"),
    ("198.18.0.0/15", "benchmarking", "RFC 2544"),
    ("198.51.100.0/24", "documentation", "RFC 5737"),
    ("203.0.113.0/24", "documentation", "RFC 5737"),
    ("224.0.0.0/4", "multicast", "RFC 5771"),
    ("255.255.255.255/32", "broadcast", "RFC 919"),
    ("240.0.0.0/4", "reserved", "RFC 1112"),
    ("::/128", "unspecified", "RFC 4291"),
    ("::1/128", "loopback", "RFC 4291"),
    ("::/96", "ipv4-compatible", "RFC 4291"),
    ("::ffff:0:0:0/96", "ipv4-translated", "RFC 2765"),
    ("64:ff9b::/96", "nat64", "RFC 6052"),
    ("64:ff9b:1::/48", "nat64", "RFC 8215"),
    ("100::/64", "discard", "RFC 6666"),
    ("100:0:0:1::/64", "dummy", "RFC 9780"),
    ("2001::/32", "teredo", "RFC 4380"),
    ("2001:2::/48", "benchmarking", "RFC 5180"),
    ("2001:10::/28", "orchid", "RFC 4843"),
    ("2001:20::/28", "orchid", "RFC 7343"),
    ("2001:30::/28", "drone-id", "RFC 9374"),
    ("2001::/23", "ietf-protocol", "RFC 2928"),
    ("2001:db8::/32", "documentation", "RFC 3849"),
    ("2002::/16", "6to4", "RFC 3056"),
    ("3fff::/20", "documentation", "RFC 9637"),
    ("5f00::/16", "segment-routing", "RFC 9602"),
    ("fc00::/7", "unique-local", "RFC 4193"),
    ("fe80::/10", "link-local", "RFC 4291"),
    ("fec0::/10", "site-local", "RFC 3879"),
    ("ff00::/8", "multicast", "RFC 4291"),
)
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # RFC 4291 2.4: all that is allocated so far

_ROWS = tuple((ipaddress.ip_network(net), name, source) for net, name, source in _SPECIAL)
_METADATA_VALUES = {ipaddress.ip_address(text) for text in _METADATA}


def canonical(address: str) -> str:
    """The canonical text of an IP address (RFC 5952; an IPv4-mapped one becomes IPv4); raises `BadTarget`."""
    return str(parse_ip(address))


@lru_cache(maxsize=8192)
def classify(address: str) -> AddressClass:
    """The class of one address (text, any spelling `canonical` takes); raises `BadTarget`."""
    ip = parse_ip(address)
    embedded = str(_embedded(ip) or "")
    value = int(ip)
    if ip in _METADATA_VALUES:
        return AddressClass("metadata", False, str(ip), _METADATA[str(ip)], ip.version, value, embedded)
    for network, name, source in _ROWS:
        if ip.version == network.version and ip in network:
            return AddressClass(name, False, str(network), source, ip.version, value, embedded)
    if embedded:
        return AddressClass("isatap", False, "", "RFC 5214", ip.version, value, embedded)
    if ip.version == 6 and ip not in _GLOBAL_UNICAST:
        return AddressClass("unallocated", False, "", "RFC 4291", ip.version, value)
    return AddressClass("global", True, "", "", ip.version, value)


def special_range(network: IPNetwork) -> str:
    """The name of the one special-purpose block that `network` lies wholly inside, else "" (it holds public addresses too)."""
    first = int(network.network_address)
    for row, name, _ in _ROWS:
        shift = row.max_prefixlen - row.prefixlen
        inside = row.version == network.version and row.prefixlen <= network.prefixlen
        if inside and first >> shift == int(row.network_address) >> shift:
            return name
    if network.prefixlen == network.max_prefixlen:
        found = classify(str(network.network_address))
        return "" if found.is_global else found.name
    return ""


def _embedded(ip: IPAddress) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside an IPv6 one: compatible, translated, NAT64 (RFC 6052 2.2), 6to4, Teredo, ISATAP (RFC 5214 6.1)."""
    if isinstance(ip, ipaddress.IPv4Address):
        return None
    value = int(ip)
    low = value & 0xFFFFFFFF
    if ip.teredo:
        return ip.teredo[1]
    if ip.sixtofour:
        return ip.sixtofour
    if value >> 32 in (0x0064FF9B << 64, 0xFFFF << 16) or (value >> 32 == 0 and value > 1):
        return ipaddress.IPv4Address(low)
    if value >> 80 == 0x0064FF9B0001:  # a /48 prefix: the address stands around the zero octet at bits 64..71
        return ipaddress.IPv4Address(((value >> 64) & 0xFFFF) << 16 | (value >> 40) & 0xFFFF)
    if (value >> 32) & 0xFDFFFFFF == 0x00005EFE:
        return ipaddress.IPv4Address(low)
    return None
