"""The child that makes a capsule's listening sockets inside the capsule's network namespace, and passes them back.

It enters the user namespace that owns the network namespace (NS_GET_USERNS, ioctl_ns(2); bwrap nests two): there it may bind ports
below 1024, with no privilege outside. It is a process of its own because a process with threads cannot change its user namespace, and
because the namespaces are left by ending; it ends before anything of the capsule runs.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import time
from pathlib import Path

NS_GET_USERNS = 0xB701
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFADDR, IFF_UP = 0x8913, 0x8916, 0x1
SECOND_ADDRESS = "127.0.0.2"
TCP_PORTS = {"proxy": 3128, "http": 80, "tls": 443, "dns-tcp": 53}
UDP_PORTS = {"dns-udp": 53}
BACKLOG = 1024
LOOPBACK_SECONDS = 5.0


def enter(pid: int) -> None:
    """Join the network namespace of `pid` and the user namespace that owns it. Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    net = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    if os.fstat(net).st_ino == Path("/proc/self/ns/net").stat().st_ino:
        raise OSError(errno.EINVAL, "the capsule has no network namespace of its own")
    user = fcntl.ioctl(net, NS_GET_USERNS)
    for fd, kind in ((user, CLONE_NEWUSER), (net, CLONE_NEWNET)):
        if libc.setns(fd, kind):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def wait_for_loopback() -> None:
    """bwrap brings ``lo`` up a moment after the namespace exists. Raises `TimeoutError`."""
    deadline = time.monotonic() + LOOPBACK_SECONDS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        while time.monotonic() < deadline:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFFLAGS, struct.pack("16sH14x", b"lo", 0))
            if struct.unpack("16xH14x", answer)[0] & IFF_UP:
                return
            time.sleep(0.001)
    raise TimeoutError(f"the capsule's loopback device did not come up within {LOOPBACK_SECONDS:g} s")


def add_second_address() -> None:
    """Give ``lo`` another address. A C library that sees 127.0.0.1 alone takes the machine for one without IPv4, and does not even ask
    for names where a program says AI_ADDRCONFIG (getaddrinfo(3)). Raises `OSError`."""
    address = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(SECOND_ADDRESS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control.fileno(), SIOCSIFADDR, struct.pack("16s16s8x", b"lo:kap", address))


def listen(family: socket.AddressFamily, kind: socket.SocketKind, port: int) -> socket.socket | None:
    """A bound (TCP: listening) socket on the loopback address of `family`; None where the machine has no IPv6."""
    try:
        sock = socket.socket(family, kind)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))
    except OSError as error:
        if family == socket.AF_INET6 and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return None
        raise
    if kind == socket.SOCK_STREAM:
        sock.listen(BACKLOG)
    return sock


def pass_sockets(channel: socket.socket, pid: int) -> None:
    """Make the sockets in the namespace of `pid` and send them: the JSON list of their names, with the descriptors in that order.

    Changes the namespaces of the calling process for good. Raises `OSError`, `TimeoutError`.
    """
    enter(pid)
    wait_for_loopback()
    add_second_address()
    made: list[tuple[str, socket.socket]] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for kind, ports in ((socket.SOCK_STREAM, TCP_PORTS), (socket.SOCK_DGRAM, UDP_PORTS)):
            for name, port in ports.items():
                sock = listen(family, kind, port)
                if sock is not None:
                    made.append((name, sock))
    names = json.dumps([name for name, _ in made]).encode()
    socket.send_fds(channel, [names], [sock.fileno() for _, sock in made])
