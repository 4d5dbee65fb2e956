"""The system call filter, run in an interpreter of its own for both architectures: what a kernel would answer."""

from __future__ import annotations

import functools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kap.sandbox import bpf, seccomp
from kap.sandbox.syscalls import ARCHITECTURES, NEWEST, NUMBERS

MACHINES = sorted(NUMBERS)
ALLOW, KILL = "allow", "kill"
EPERM, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT = 1, 38, 97, 93


@functools.cache
def steps(machine: str) -> list[tuple[int, int, int, int]]:
    """The filter's bytes, taken apart again."""
    return list(struct.iter_unpack("<HBBI", seccomp.program(machine)))  # type: ignore[arg-type]


def judge(machine: str, number: int, *arguments: int, architecture: int | None = None) -> str | int:
    """Interpret the filter as the kernel does (linux/filter.h): ``allow``, ``kill`` or an errno."""
    arch = ARCHITECTURES[machine] if architecture is None else architecture
    padded = [*arguments, *[0] * (6 - len(arguments))]
    data = struct.pack("<IIQ6Q", number, arch, 0, *[a & 0xFFFF_FFFF_FFFF_FFFF for a in padded])
    program = steps(machine)
    accumulator, at = 0, 0
    while True:
        code, yes, no, value = program[at]
        at += 1
        match code:
            case bpf.LOAD:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case bpf.EQUAL:
                at += yes if accumulator == value else no
            case bpf.GREATER:
                at += yes if accumulator > value else no
            case bpf.AT_LEAST:
                at += yes if accumulator >= value else no
            case bpf.ANY_BIT:
                at += yes if accumulator & value else no
            case bpf.AND:
                accumulator &= value
            case bpf.RETURN:
                return {bpf.ALLOW: ALLOW, bpf.KILL: KILL}.get(value, value & 0xFFFF)
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", sorted(seccomp.DENIED))
def test_denied_calls(machine: str, name: str) -> None:
    if name in NUMBERS[machine]:
        assert judge(machine, NUMBERS[machine][name]) == seccomp.DENIED[name]


@pytest.mark.parametrize("machine", MACHINES)
def test_ordinary_calls_pass(machine: str) -> None:
    named = set(NUMBERS[machine].values())
    assert {judge(machine, number, *[0xFFFF_FFFF] * 6) for number in range(NEWEST + 1) if number not in named} == {
        ALLOW
    }


@pytest.mark.parametrize("machine", MACHINES)
def test_calls_nobody_looked_at_do_not_exist(machine: str) -> None:
    assert judge(machine, NEWEST + 1) == ENOSYS
    assert judge(machine, 0x3FFF_FFFF) == ENOSYS


def test_other_tables_kill() -> None:
    assert judge("x86_64", 20, architecture=0x40000003) == KILL  # AUDIT_ARCH_I386
    assert judge("x86_64", 0x40000000 | 39) == KILL  # x32
    assert judge("x86_64", 0xFFFFFFFF) == KILL
    assert judge("aarch64", 20, architecture=0x40000028) == KILL  # AUDIT_ARCH_ARM
    assert judge("aarch64", 20, architecture=ARCHITECTURES["x86_64"]) == KILL


NAMESPACES = {
    "NEWNS": 0x00020000,
    "NEWCGROUP": 0x02000000,
    "NEWUTS": 0x04000000,
    "NEWIPC": 0x08000000,
    "NEWUSER": 0x10000000,
    "NEWPID": 0x20000000,
    "NEWNET": 0x40000000,
}
FORK, THREAD = 0x01200011, 0x003D0F00  # what glibc's fork and pthread_create pass


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("name", sorted(NAMESPACES))
def test_new_namespaces(machine: str, name: str) -> None:
    numbers = NUMBERS[machine]
    assert judge(machine, numbers["clone"], NAMESPACES[name] | 17) == EPERM
    assert judge(machine, numbers["unshare"], NAMESPACES[name]) == EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_processes_and_threads_are_made(machine: str) -> None:
    assert judge(machine, NUMBERS[machine]["clone"], FORK) == ALLOW
    assert judge(machine, NUMBERS[machine]["clone"], THREAD) == ALLOW
    assert judge(machine, NUMBERS[machine]["unshare"], 0x600) == ALLOW  # CLONE_FS | CLONE_FILES
    assert judge(machine, NUMBERS[machine]["unshare"], 0x80) == EPERM  # CLONE_NEWTIME


SOCKETS = [
    ((1, 1, 0), ALLOW, "unix stream"),
    ((1, 0x80805, 0), ALLOW, "unix seqpacket, close on exec, non-blocking"),
    ((2, 1, 0), ALLOW, "TCP"),
    ((2, 0x80801, 6), ALLOW, "TCP by number, with flags"),
    ((10, 2, 17), ALLOW, "UDP over IPv6"),
    ((2, 2, 1), ALLOW, "ping"),
    ((2, 1, 262), ALLOW, "MPTCP"),
    ((16, 0x80003, 0), ALLOW, "netlink route, as getaddrinfo opens it"),
    ((2, 3, 1), EPERM, "raw"),
    ((2, 0x80803, 255), EPERM, "raw with flags"),
    ((10, 3, 58), EPERM, "raw over IPv6"),
    ((2, 10, 768), EPERM, "SOCK_PACKET"),
    ((2, 5, 132), EPERM, "SCTP seqpacket"),
    ((2, 1, 132), EPROTONOSUPPORT, "SCTP stream"),
    ((2, 2, 136), EPROTONOSUPPORT, "UDP-Lite"),
    ((16, 3, 15), EPROTONOSUPPORT, "netlink uevent"),
    ((16, 3, 9), EPROTONOSUPPORT, "netlink audit"),
    ((17, 3, 768), EAFNOSUPPORT, "packet"),
    ((40, 1, 0), EAFNOSUPPORT, "vsock"),
    ((38, 5, 0), EAFNOSUPPORT, "AF_ALG"),
    ((31, 3, 1), EAFNOSUPPORT, "bluetooth"),
    ((44, 3, 0), EAFNOSUPPORT, "XDP"),
    ((0, 1, 0), EAFNOSUPPORT, "AF_UNSPEC"),
]


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("arguments", "verdict", "what"), SOCKETS, ids=[row[2] for row in SOCKETS])
def test_sockets(machine: str, arguments: tuple[int, ...], verdict: str | int, what: str) -> None:
    number = NUMBERS[machine]["socket"]
    assert judge(machine, number, *arguments) == verdict
    hidden = tuple(argument | 0xABCD << 32 for argument in arguments)
    assert judge(machine, number, *hidden) == verdict, "the high halves are not looked at: the kernel takes ints"


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("request_", [0x5412, 0x541C, 0x5423])
def test_terminal_injection(machine: str, request_: int) -> None:
    number = NUMBERS[machine]["ioctl"]
    assert judge(machine, number, 0, request_) == EPERM
    assert judge(machine, number, 0, request_ | 1 << 32) == EPERM
    assert judge(machine, number, 0, 0x540E) == ALLOW  # TIOCSCTTY: a terminal of one's own


CREATE, TMPFILE, WRITE = 0x40, 0x410000, 0x1


@pytest.mark.parametrize("machine", MACHINES)
def test_set_uid_files(machine: str) -> None:
    numbers = NUMBERS[machine]
    at = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2, "creat": 1, "mknod": 1, "mknodat": 2}
    for name, index in at.items():
        if name in numbers:
            assert judge(machine, numbers[name], *[0] * index, 0o4755) == EPERM, name
            assert judge(machine, numbers[name], *[0] * index, 0o2755) == ALLOW, name
            assert judge(machine, numbers[name], *[0] * index, 0o755) == ALLOW, name
    for name, index in {"open": 1, "openat": 2}.items():
        if name in numbers:
            before = [0] * index
            assert judge(machine, numbers[name], *before, CREATE | WRITE, 0o4644) == EPERM
            assert judge(machine, numbers[name], *before, TMPFILE | WRITE, 0o4644) == EPERM
            assert judge(machine, numbers[name], *before, CREATE | WRITE, 0o644) == ALLOW
            assert judge(machine, numbers[name], *before, WRITE, 0o4644) == ALLOW, "no mode is read without O_CREAT"


@given(
    st.sampled_from(MACHINES), st.integers(0, 2**32 - 1), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6)
)
def test_every_call_gets_a_verdict(machine: str, number: int, arguments: list[int]) -> None:
    verdict = judge(machine, number, *arguments)
    assert verdict in (ALLOW, KILL, 0, EPERM, ENOSYS, EAFNOSUPPORT, EPROTONOSUPPORT)


def test_the_numbers_are_the_kernels() -> None:
    """Against the headers of this machine, where they are installed."""
    import re
    from pathlib import Path

    headers = {
        "x86_64": ["/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h"],
        "aarch64": ["/usr/include/asm-generic/unistd.h"],
    }
    seen = 0
    for machine, places in headers.items():
        text = next((Path(place).read_text() for place in places if Path(place).exists()), "")
        known = {name: int(value) for name, value in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
        for name, value in NUMBERS[machine].items():
            assert known.get(name, value) == value, (machine, name)
        seen += len(known)
    if not seen:
        pytest.skip("no kernel headers on this machine")


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.program("riscv64")
