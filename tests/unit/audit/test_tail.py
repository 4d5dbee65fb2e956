"""Following the log through everything that happens to log files."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from kap.audit.event import Event
from kap.audit.log import MIN_BYTES, AuditLog
from kap.audit.reader import LINE_LIMIT
from kap.audit.tail import Tail, follow


def line(number: int) -> bytes:
    return msgspec.json.encode(Event("notice", "sidecar", "sidecar.x", seq=number)) + b"\n"


def numbers(tail: Tail) -> list[int]:
    """Everything that is there now."""
    found: list[int] = []
    while batch := tail.poll():
        found += [event.seq for event in batch]
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(1))
    return path


@pytest.fixture
def tail(path: Path) -> Tail:
    tail = Tail(path)
    tail.skip_to_end()
    return tail


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


def test_only_what_is_appended(path: Path, tail: Tail) -> None:
    assert numbers(tail) == []
    append(path, line(2) + line(3))
    assert numbers(tail) == [2, 3]
    assert numbers(tail) == []


def test_a_log_that_does_not_exist_yet_is_read_from_its_start(tmp_path: Path) -> None:
    tail = Tail(tmp_path / "later.jsonl")
    tail.skip_to_end()
    assert numbers(tail) == []
    append(tmp_path / "later.jsonl", line(1))
    assert numbers(tail) == [1]


def test_a_partial_line_waits_for_its_end(path: Path, tail: Tail) -> None:
    text = line(2)
    append(path, text[:10])
    assert numbers(tail) == []
    append(path, text[10:-1])
    assert numbers(tail) == []
    append(path, b"\n" + line(3))
    assert numbers(tail) == [2, 3]


def test_rotation_loses_nothing(path: Path, tail: Tail) -> None:
    append(path, line(2))
    path.rename(path.with_name("events.jsonl.1"))
    append(path.with_name("events.jsonl.1"), line(3))  # a writer that had not noticed
    append(path, line(4))
    assert numbers(tail) == [2, 3, 4]


def test_a_line_written_while_the_rotation_is_noticed_is_not_lost(
    path: Path, tail: Tail, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.rename(path.with_name("events.jsonl.1"))
    append(path, line(3))
    real = tail._find_newer

    def find_newer() -> bool:
        append(path.with_name("events.jsonl.1"), line(2))  # behind our last read of the old file
        monkeypatch.undo()
        return real()

    monkeypatch.setattr(tail, "_find_newer", find_newer)
    assert numbers(tail) == [2, 3]


def test_several_rotations_between_two_looks_lose_nothing(path: Path, tail: Tail) -> None:
    log = AuditLog(path, max_bytes=MIN_BYTES, keep=20)
    for _ in range(4000):
        log.record(Event("notice", "sidecar", "sidecar.x"))
    assert path.with_name("events.jsonl.3").exists()
    assert numbers(tail) == list(range(1, 4001))


def test_rotation_to_nothing_yet_waits(path: Path, tail: Tail) -> None:
    path.rename(path.with_name("events.jsonl.1"))
    assert numbers(tail) == []
    append(path, line(2))
    assert numbers(tail) == [2]


def test_deletion_waits_for_the_new_file_and_reads_no_old_one(path: Path, tail: Tail) -> None:
    path.with_name("events.jsonl.1").write_bytes(line(90))
    path.unlink()
    append(path, line(2))
    assert numbers(tail) == [2]


def test_truncation_starts_over(path: Path, tail: Tail) -> None:
    append(path, line(2)[:-5])
    assert numbers(tail) == []
    os.truncate(path, 0)
    append(path, line(3))
    assert numbers(tail) == [3]


def test_garbage_and_endless_lines_are_skipped(path: Path, tail: Tail) -> None:
    append(path, b"garbage\n" + b"x" * (3 * LINE_LIMIT))
    assert numbers(tail) == []
    assert len(tail._partial) <= LINE_LIMIT
    append(path, b"x" * (9 * LINE_LIMIT) + b"\n" + line(2))
    found = [event.seq for _ in range(6) for event in tail.poll()]
    assert found == [2]
    assert tail.skipped == 2


def test_follow_gives_batches_and_sleeps_only_when_idle(path: Path) -> None:
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        append(path, line(len(naps) + 1))

    batches = follow(path, interval=0.125, sleep=nap)
    assert [[event.seq for event in next(batches)] for _ in range(4)] == [[], [2], [], [3]]
    assert naps == [0.125, 0.125]
    batches.close()


def test_close_twice(tail: Tail) -> None:
    tail.close()
    tail.close()
