"""A few words of classic BPF, enough to write seccomp filters with (seccomp(2), linux/filter.h, linux/seccomp.h).

A program is a list of `Instruction`; jumps are relative and forward. `assemble` gives the bytes a kernel (and bwrap) takes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import msgspec

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K

ALLOW = 0x7FFF0000
KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
ERRNO = 0x00050000

NUMBER, ARCHITECTURE, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS


class Instruction(msgspec.Struct, frozen=True):
    """One ``struct sock_filter``: `yes` and `no` are how many instructions to skip."""

    code: int
    value: int
    yes: int = 0
    no: int = 0


def load(offset: int) -> Instruction:
    """Load 32 bits of seccomp_data."""
    return Instruction(LOAD, offset)


def load_argument(index: int) -> Instruction:
    """Load the low 32 bits of an argument. Both architectures are little-endian, and what is compared (flags, families, modes,
    ioctl numbers) is an int in the kernel too: looking at the high half would let a caller hide behind it (CVE-2019-10063)."""
    return Instruction(LOAD, ARGUMENTS + 8 * index)


def load_high(index: int) -> Instruction:
    """Load the high 32 bits of an argument, for the few that are pointers."""
    return Instruction(LOAD, ARGUMENTS + 8 * index + 4)


def give(verdict: int) -> Instruction:
    """End with `verdict`."""
    return Instruction(RETURN, verdict)


def refuse(errno: int) -> Instruction:
    """End: the call is not made, and the caller sees `errno`."""
    return Instruction(RETURN, ERRNO | errno)


def when(code: int, value: int, block: Sequence[Instruction]) -> list[Instruction]:
    """`block` where the comparison holds, else what comes after it. A block has at most 255 instructions."""
    if len(block) > 255:
        raise ValueError("a block of more than 255 instructions cannot be jumped over")
    return [Instruction(code, value, 0, len(block)), *block]


def assemble(program: Sequence[Instruction]) -> bytes:
    """The bytes of `program`: 8 for each instruction, in the machine's own byte order."""
    if not 0 < len(program) <= MAX_INSTRUCTIONS:
        raise ValueError(f"a program has 1 to {MAX_INSTRUCTIONS} instructions, not {len(program)}")
    return b"".join(struct.pack("=HBBI", step.code, step.yes, step.no, step.value) for step in program)
