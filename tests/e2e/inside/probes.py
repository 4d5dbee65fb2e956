"""Runs inside the dev container as root, the strongest an agent can be there: tries every way out and prints what came of each.

Arguments: the sidecar's address, the network's first address, an address of the host. One JSON object: ``{probe: "closed: why" |
"OPEN: what"}``. Nothing here uses the proxy.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import sys
from collections.abc import Callable

SIDECAR, GATEWAY, HOST = sys.argv[1:4]
OUTSIDE = ("93.184.215.14", "1.1.1.1", "8.8.8.8")
results: dict[str, str] = {}


def closed(name: str, attempt: Callable[[], object]) -> None:
    try:
        results[name] = f"OPEN: {attempt()!r}"[:120]
    except OSError as error:
        results[name] = f"closed: {type(error).__name__} {error}"[:120]


def tcp(address: str, port: int, family: int = socket.AF_INET) -> str:
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(1.5)
        s.connect((address, port))
        return "connected"


def udp(address: str, port: int, data: bytes, family: int = socket.AF_INET) -> bytes:
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(1.5)
        s.sendto(data, (address, port))
        return s.recv(512)


def query(name: str) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + labels + b"\x00\x00\x01\x00\x01"


def resolved(server: str, name: str) -> bytes:
    """The answer, where it is a success: a refusal is what has to happen."""
    answer = udp(server, 53, query(name))
    if answer[3] & 15:
        raise OSError(f"RCODE {answer[3] & 15}")
    return answer


def ping(address: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as s:
        s.settimeout(1.5)
        s.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FE, 1, 0), (address, 0))
        return s.recv(256)


def raw(family: int, protocol: int) -> str:
    with socket.socket(family, socket.SOCK_RAW, protocol):
        return "a raw socket"


def add_route() -> str:
    """A default route by netlink (RTM_NEWROUTE), as `ip route add default via` does it."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as s:
        body = struct.pack("BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + struct.pack(
            "HH4s", 8, 5, socket.inet_aton(GATEWAY)
        )
        s.send(struct.pack("IHHII", 16 + len(body), 24, 0x605, 1, 0) + body)
        code = struct.unpack_from("i", s.recv(4096), 16)[0]
        if code:
            raise OSError(-code, os.strerror(-code))
        return "route added"


for address in OUTSIDE:
    for port in (80, 443, 22, 9999):
        closed(f"tcp {address}:{port}", lambda a=address, p=port: tcp(a, p))  # type: ignore[misc]
    closed(f"dns direct {address}", lambda a=address: resolved(a, "direct.exfil.example.org"))  # type: ignore[misc]
closed("udp 443 (QUIC)", lambda: udp(OUTSIDE[0], 443, b"quic"))
closed("udp 9999", lambda: udp(OUTSIDE[0], 9999, b"udp"))
closed("udp 123 (NTP)", lambda: udp(OUTSIDE[0], 123, b"ntp"))
closed("icmp outside", lambda: ping(OUTSIDE[0]))
closed("icmp host", lambda: ping(GATEWAY))
for port in (8099, 22, 80, 2375):
    closed(f"host by the network's first address, port {port}", lambda p=port: tcp(GATEWAY, p))  # type: ignore[misc]
    closed(f"host by its own address, port {port}", lambda p=port: tcp(HOST, p))  # type: ignore[misc]
closed("host by the default bridge", lambda: tcp("172.17.0.1", 8099))
closed("metadata service", lambda: tcp("169.254.169.254", 80))
closed("ipv6 outside", lambda: tcp("2606:4700:4700::1111", 443, socket.AF_INET6))
closed("ipv6 all nodes", lambda: udp("ff02::1%eth0", 9999, b"six", socket.AF_INET6))
closed("broadcast", lambda: udp("255.255.255.255", 9999, b"all"))
closed("multicast", lambda: udp("224.0.0.251", 5353, query("exfil.local")))
closed("raw ip", lambda: raw(socket.AF_INET, socket.IPPROTO_RAW))
closed("packet socket", lambda: raw(socket.AF_PACKET, socket.htons(3)))
closed("vsock to the hypervisor", lambda: tcp(2, 1024, socket.AF_VSOCK))  # type: ignore[arg-type]
closed("add a default route", add_route)
closed("engine's resolver", lambda: resolved("127.0.0.11", "embedded.exfil.example.org"))
closed("engine's resolver, a listed zone's denied name", lambda: resolved("127.0.0.11", "denied.example.com"))
closed("sidecar's name server", lambda: resolved(SIDECAR, "secret.exfil.example.org"))
print(json.dumps(results))
