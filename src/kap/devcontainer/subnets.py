"""Where a capsule's network lies: a private range that overlaps nothing the engine or its host already uses.

The sidecar needs a fixed address, because the engine's resolver takes addresses and not names; a fixed address needs a fixed range.
The choice starts at a place made from the capsule's id, so a project gets the same range everywhere until something is in its way.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable

from kap.errors import KapError

Network = ipaddress.IPv4Network

POOLS = (Network("10.213.0.0/16"), Network("192.168.224.0/19"), Network("172.29.0.0/16"))
"""Tried in order: parts of the private ranges (RFC 1918) that engines, VPN products and home routers seldom take by default."""

PREFIX = 26
"""62 addresses: the lower half for the sidecar, the upper half for services."""

MAX_SERVICES = 30
"""What fits the upper half of a range of `PREFIX`; a project with more gets a /24."""


def choose(capsule: str, taken: Iterable[Network], *, services: int = 1, current: Network | None = None) -> Network:
    """A range for `capsule` that overlaps none of `taken`; `current` is kept where it still fits. Raises `KapError` where all are taken."""
    prefix = PREFIX if services <= MAX_SERVICES else 24
    busy = list(taken)
    if current is not None and current.prefixlen <= prefix and _in_pools(current) and _free(current, busy):
        return current
    seed = int.from_bytes(hashlib.sha256(capsule.encode()).digest()[:8], "big")
    for pool in POOLS:
        count = 1 << (prefix - pool.prefixlen)
        for step in range(count):
            start = int(pool.network_address) + ((seed + step) % count << (32 - prefix))
            candidate = Network((start, prefix))
            if _free(candidate, busy):
                return candidate
    raise KapError(
        f"no free range for the network of {capsule}: every /{prefix} of {', '.join(map(str, POOLS))} is in use",
        "remove networks the engine no longer needs: docker network prune",
    )


def sidecar_address(network: Network) -> str:
    """The sidecar's address: the second of the range. The engine keeps the first for the host, which does not get it."""
    return str(network.network_address + 2)


def service_range(network: Network) -> Network:
    """Where the engine may put services: the upper half, so that none is ever given the sidecar's address."""
    return list(network.subnets(prefixlen_diff=1))[1]


def parse(text: str) -> Network | None:
    """`text` as an IPv4 network, None where it is none (an IPv6 range, or nothing we wrote)."""
    try:
        return Network(text)
    except ValueError:
        return None


def around(address: str, prefix: int) -> Network | None:
    """The range of `prefix` that `address` lies in; None where it is no IPv4 address."""
    try:
        return Network((address, prefix), strict=False)
    except ValueError:
        return None


def host_routes(table: str) -> list[Network]:
    """The destinations of a Linux routing table (the text of ``/proc/net/route``), without the default route."""
    found = []
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 8:
            continue
        destination, mask = (int.from_bytes(bytes.fromhex(fields[i]), "little") for i in (1, 7))
        if mask:
            found.append(Network((destination & mask, mask.bit_count())))
    return found


def _in_pools(network: Network) -> bool:
    return any(network.subnet_of(pool) for pool in POOLS)


def _free(candidate: Network, busy: list[Network]) -> bool:
    return not any(candidate.overlaps(other) for other in busy)
