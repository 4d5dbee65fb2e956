"""The assembler."""

from __future__ import annotations

import struct

import pytest

from kap.sandbox.bpf import ALLOW, EQUAL, RETURN, Instruction, assemble, give, refuse, when


def test_an_instruction_is_a_sock_filter() -> None:
    assert assemble([Instruction(EQUAL, 0x01020304, 5, 6)]) == struct.pack("=HBBI", EQUAL, 5, 6, 0x01020304)


def test_when_jumps_over_its_block() -> None:
    steps = when(EQUAL, 9, [refuse(1), give(ALLOW)])
    assert steps[0] == Instruction(EQUAL, 9, 0, 2)
    assert steps[1] == Instruction(RETURN, 0x00050001)


def test_limits() -> None:
    assert len(when(EQUAL, 0, [give(ALLOW)] * 255)) == 256
    with pytest.raises(ValueError, match="255"):
        when(EQUAL, 0, [give(ALLOW)] * 256)
    with pytest.raises(ValueError, match="4096"):
        assemble([give(ALLOW)] * 4097)
    with pytest.raises(ValueError, match="4096"):
        assemble([])
