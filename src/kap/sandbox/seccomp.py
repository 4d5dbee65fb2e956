"""The system calls a capsule may not make.

Rules: what is listed is refused, the rest is allowed; calls newer than this table do not exist (ENOSYS), so a kernel update cannot
open a door nobody looked at; another architecture's calls kill. Why each group: see `DENIED` and the functions below. None of this is
the wall (that is namespaces without capabilities): it takes kernel surface away, and what namespaces do not cover, like vsock.
"""

from __future__ import annotations

from collections.abc import Callable

from kap.sandbox.bpf import (
    ALLOW,
    AND,
    ANY_BIT,
    ARCHITECTURE,
    AT_LEAST,
    EQUAL,
    GREATER,
    KILL,
    NUMBER,
    Instruction,
    assemble,
    give,
    load,
    load_argument,
    load_high,
    refuse,
    when,
)
from kap.sandbox.syscalls import ARCHITECTURES, NEWEST, NUMBERS, X32_BIT

EPERM, EAFNOSUPPORT, EPROTONOSUPPORT, ENOSYS = 1, 97, 93, 38

DENIED = {
    # A capsule has the mounts it was given.
    "mount": EPERM,
    "umount2": EPERM,
    "pivot_root": EPERM,
    "chroot": EPERM,
    "move_mount": EPERM,
    "open_tree": EPERM,
    "open_tree_attr": EPERM,
    "fsopen": EPERM,
    "fsconfig": EPERM,
    "fsmount": EPERM,
    "fspick": EPERM,
    "mount_setattr": EPERM,
    # No other namespaces. clone3 hides its flags behind a pointer; libraries fall back to clone, whose flags are looked at.
    "setns": EPERM,
    "clone3": ENOSYS,
    # Files by handle instead of by path reach outside of what is mounted.
    "open_by_handle_at": EPERM,
    "name_to_handle_at": EPERM,
    # Kernel surface with a history, none of it needed to build software. io_uring also does what this filter would refuse.
    "bpf": EPERM,
    "perf_event_open": EPERM,
    "userfaultfd": EPERM,
    "io_uring_setup": ENOSYS,
    "io_uring_enter": ENOSYS,
    "io_uring_register": ENOSYS,
    "fanotify_init": EPERM,
    # Key rings are the host user's, not the capsule's.
    "add_key": EPERM,
    "request_key": EPERM,
    "keyctl": EPERM,
    # The machine is not the capsule's.
    "kexec_load": EPERM,
    "kexec_file_load": EPERM,
    "init_module": EPERM,
    "finit_module": EPERM,
    "delete_module": EPERM,
    "swapon": EPERM,
    "swapoff": EPERM,
    "reboot": EPERM,
    "syslog": EPERM,
    "acct": EPERM,
    "quotactl": EPERM,
    "quotactl_fd": EPERM,
    "settimeofday": EPERM,
    "clock_settime": EPERM,
    "iopl": EPERM,
    "ioperm": EPERM,
    "lookup_dcookie": EPERM,
    "nfsservctl": EPERM,
    "vhangup": EPERM,
    "uselib": EPERM,
    "kcmp": EPERM,
    # The mode to create a file with is behind a pointer: see _set_uid. Libraries fall back to openat.
    "openat2": ENOSYS,
}

NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET
NEW_TIME = 0x80  # CLONE_NEWTIME; in clone these bits are the exit signal, so only unshare can mean it

TERMINAL_INJECTION = (0x5412, 0x541C, 0x5423)  # TIOCSTI, TIOCLINUX, TIOCSETD

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
SOCK_STREAM, SOCK_DGRAM, SOCK_TYPE_MASK = 1, 2, 0xF
PROTOCOLS = (0, 1, 6, 17, 58, 262)  # default, ICMP and ICMPv6 echo, TCP, UDP, MPTCP

RLIMIT_CORE = 4

CREATES = 0x400040  # O_CREAT | __O_TMPFILE
SET_UID = 0o4000
ALL_BITS = 0xFFFFFFFF


def program(machine: str) -> bytes:
    """The filter for `machine` (as in uname(2): ``x86_64``, ``aarch64``), ready for ``bwrap --seccomp``. Raises `KeyError`."""
    return assemble(instructions(machine))


def instructions(machine: str) -> list[Instruction]:
    """The filter as instructions. Raises `KeyError` for a machine it does not know."""
    numbers = NUMBERS[machine]
    steps = [load(ARCHITECTURE), Instruction(EQUAL, ARCHITECTURES[machine], 1, 0), give(KILL), load(NUMBER)]
    if machine == "x86_64":
        steps += when(AT_LEAST, X32_BIT, [give(KILL)])
    steps += when(GREATER, NEWEST, [refuse(ENOSYS)])
    for name, errno in DENIED.items():
        if name in numbers:
            steps += when(EQUAL, numbers[name], [refuse(errno)])
    for name, build in _INSPECTED.items():
        if name in numbers:
            steps += when(EQUAL, numbers[name], build())
    return [*steps, give(ALLOW)]


def _flags(mask: int) -> list[Instruction]:
    return [load_argument(0), *when(ANY_BIT, mask, [refuse(EPERM)]), give(ALLOW)]


def _ioctl() -> list[Instruction]:
    steps = [load_argument(1)]
    for request in TERMINAL_INJECTION:
        steps += when(EQUAL, request, [refuse(EPERM)])
    return [*steps, give(ALLOW)]


def _core_limit() -> list[Instruction]:
    """prlimit64: what sets the core limit does as if it had. The limit stays at 1, the one value at which the kernel does not start the
    host's core dump handler (core(5), core_pattern with a pipe), which would read what a capsule's process chose, as root."""
    sets = [*when(ANY_BIT, ALL_BITS, [refuse(0)]), load_high(2), *when(ANY_BIT, ALL_BITS, [refuse(0)])]
    return [load_argument(1), *when(EQUAL, RLIMIT_CORE, [load_argument(2), *sets]), give(ALLOW)]


def _core_limit_old() -> list[Instruction]:
    """setrlimit: the same."""
    return [load_argument(0), *when(EQUAL, RLIMIT_CORE, [refuse(0)]), give(ALLOW)]


def _socket() -> list[Instruction]:
    """Unix sockets; IP stream and datagram sockets of the usual protocols; netlink for reading addresses and routes (getaddrinfo).

    No raw or packet sockets, no vsock (which reaches the hypervisor past every network namespace), no AF_ALG, no others.
    """
    internet = [load_argument(1), Instruction(AND, SOCK_TYPE_MASK)]
    internet += [Instruction(EQUAL, SOCK_STREAM, 2, 0), Instruction(EQUAL, SOCK_DGRAM, 1, 0), refuse(EPERM)]
    internet += [load_argument(2)]
    for protocol in PROTOCOLS:
        internet += when(EQUAL, protocol, [give(ALLOW)])
    internet.append(refuse(EPROTONOSUPPORT))
    netlink = [load_argument(2), *when(EQUAL, 0, [give(ALLOW)]), refuse(EPROTONOSUPPORT)]
    steps = [load_argument(0), *when(EQUAL, AF_UNIX, [give(ALLOW)])]
    for family, block in ((AF_INET, internet), (AF_INET6, internet), (AF_NETLINK, netlink)):
        steps += when(EQUAL, family, block)
    return [*steps, refuse(EAFNOSUPPORT)]


def _set_uid(mode: int, flags: int | None = None) -> Callable[[], list[Instruction]]:
    """Refuse a set-uid bit in argument `mode` (where argument `flags` creates a file, if given).

    A set-uid file in the workspace would run as the host user for whoever starts it on the host: as root, where kap runs as root.
    """

    def build() -> list[Instruction]:
        check = [load_argument(mode), *when(ANY_BIT, SET_UID, [refuse(EPERM)])]
        if flags is None:
            return [*check, give(ALLOW)]
        return [load_argument(flags), *when(ANY_BIT, CREATES, check), give(ALLOW)]

    return build


_INSPECTED: dict[str, Callable[[], list[Instruction]]] = {
    "clone": lambda: _flags(NEW_NAMESPACES),
    "unshare": lambda: _flags(NEW_NAMESPACES | NEW_TIME),
    "prlimit64": _core_limit,
    "setrlimit": _core_limit_old,
    "socket": _socket,
    "ioctl": _ioctl,
    "open": _set_uid(mode=2, flags=1),
    "openat": _set_uid(mode=3, flags=2),
    "creat": _set_uid(mode=1),
    "mknod": _set_uid(mode=1),
    "mknodat": _set_uid(mode=2),
    "chmod": _set_uid(mode=1),
    "fchmod": _set_uid(mode=1),
    "fchmodat": _set_uid(mode=2),
    "fchmodat2": _set_uid(mode=2),
}
