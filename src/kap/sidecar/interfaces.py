"""The addresses this machine (the sidecar's container) has, and which of them the capsule sees.

Rules: an interface that carries a default route leads out, so its address is not the one a capsule is on; where every interface does,
or none but loopback is there, all are taken. Sources: proc(5) net/route and net/if_inet6, netdevice(7) SIOCGIFADDR.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

import msgspec

_SIOCGIFADDR = 0x8915
_NO_FLAGS = "00000000"


class Addresses(msgspec.Struct, frozen=True):
    """`own`: every address of the machine, loopback too; never dialled. `capsule`: those the name server answers with."""

    own: tuple[str, ...]
    capsule: tuple[str, ...]


def find_addresses(proc: Path = Path("/proc")) -> Addresses:
    """The addresses of this machine, as found now; loopback alone where nothing else is known."""
    by_interface: dict[str, list[str]] = {}
    for _, name in socket.if_nameindex():
        four = _ipv4(name)
        if four:
            by_interface.setdefault(name, []).append(four)
    for name, six in _ipv6(proc):
        by_interface.setdefault(name, []).append(six)
    return choose(by_interface, _leading_out(proc))


def choose(by_interface: Mapping[str, list[str]], leading_out: set[str]) -> Addresses:
    """Split the addresses of the interfaces; `leading_out` names those with a default route. Link-local ones are own, not answered."""
    own = tuple(dict.fromkeys(("127.0.0.1", "::1", *(a for found in by_interface.values() for a in found))))
    usable = {
        name: [a for a in found if not ipaddress.ip_address(a).is_link_local]
        for name, found in by_interface.items()
        if not all(ipaddress.ip_address(a).is_loopback for a in found)
    }
    inner = [a for name, found in usable.items() if name not in leading_out for a in found]
    outer = [a for found in usable.values() for a in found]
    return Addresses(own, tuple(inner or outer or ("127.0.0.1",)))


def _ipv4(name: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
        except OSError:
            return ""
    return socket.inet_ntoa(answer[20:24])


def _ipv6(proc: Path) -> list[tuple[str, str]]:
    rows = [fields for fields in _table(proc / "net" / "if_inet6") if len(fields) == 6]
    return [(fields[5], str(ipaddress.IPv6Address(int(fields[0], 16)))) for fields in rows]


def _leading_out(proc: Path) -> set[str]:
    names = {f[0] for f in _table(proc / "net" / "route")[1:] if len(f) > 7 and f[1] == _NO_FLAGS and f[7] == _NO_FLAGS}
    for fields in _table(proc / "net" / "ipv6_route"):
        if len(fields) == 10 and set(fields[0]) == {"0"} and fields[1] == "00" and fields[9] != "lo":
            names.add(fields[9])
    return names


def _table(path: Path) -> list[list[str]]:
    try:
        return [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
