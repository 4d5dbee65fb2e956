"""The writing half of the audit log: stamps, rotation, a hostile disk, hostile text."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
from pathlib import Path

import pytest

from kap.audit import log as log_module
from kap.audit.event import Event
from kap.audit.log import MIN_BYTES, AuditLog, clip


def deny(host: str = "blocked.example.com", code: str = "egress.not-listed", **more: object) -> Event:
    return Event("decision", "egress", code, verdict="deny", host=host, port=443, **more)  # type: ignore[arg-type]


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


async def written(path: Path, count: int) -> None:
    """Wait until `path` holds `count` lines; a file has no event to wait for."""

    def there() -> bool:
        return path.exists() and path.read_bytes().count(b"\n") >= count

    async with asyncio.timeout(5):
        while not there():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_record_without_a_loop_writes_at_once_and_stamps(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "events.jsonl", capsule="web")
    log.record(deny())
    log.record(deny("other.example.com"))
    first, second = lines(tmp_path / "events.jsonl")
    assert (first["seq"], second["seq"]) == (1, 2)
    assert isinstance(first["ts"], float) and first["ts"] > 1_700_000_000
    assert first["capsule"] == "web"


def test_file_is_0600_in_folders_0700(tmp_path: Path) -> None:
    path = tmp_path / "state" / "project" / "events.jsonl"
    AuditLog(path).record(deny())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700


def test_existing_file_with_a_wide_mode_is_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.touch(0o644)
    AuditLog(path).record(deny())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_in_a_loop_lines_are_written_within_the_delay(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    log.record(deny())
    assert not path.exists()
    await written(path, 1)
    assert len(lines(path)) == 1


async def test_in_a_loop_a_full_chunk_is_written_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    for _ in range(2000):
        log.record(deny())
    assert path.stat().st_size > 65_536
    log.close()
    assert [line["seq"] for line in lines(path)] == list(range(1, 2001))


def test_a_loop_that_ended_does_not_keep_events_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)

    async def record() -> None:
        log.record(deny())

    asyncio.run(record())
    asyncio.run(record())
    log.record(deny())
    assert len(lines(path)) == 3


def test_rotation_keeps_no_more_than_keep_and_loses_nothing_in_between(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path, max_bytes=MIN_BYTES, keep=2)
    for _ in range(3000):
        log.record(deny())
    log.close()
    names = sorted(entry.name for entry in tmp_path.iterdir())
    assert names == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert all(entry.stat().st_size <= MIN_BYTES for entry in tmp_path.iterdir())
    sequence = [line["seq"] for name in reversed(names) for line in lines(tmp_path / name)]
    assert sequence == list(range(int(str(sequence[0])), 3001))


def test_rotation_removes_what_a_larger_keep_left(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for number in range(1, 7):
        (tmp_path / f"events.jsonl.{number}").write_text("{}\n")
    log = AuditLog(path, max_bytes=MIN_BYTES, keep=1)
    for _ in range(900):
        log.record(deny())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1"]


def test_keep_0_keeps_the_file_alone(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "events.jsonl", max_bytes=1, keep=0)
    for _ in range(900):
        log.record(deny())
    assert [entry.name for entry in tmp_path.iterdir()] == ["events.jsonl"]


def test_two_writers_share_a_log_through_rotation(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    one, two = (AuditLog(path, max_bytes=MIN_BYTES, keep=50, capsule=name) for name in ("one", "two"))
    for _ in range(1500):
        one.record(deny())
        two.record(deny())
    seen = [(line["capsule"], line["seq"]) for entry in tmp_path.iterdir() for line in lines(entry)]
    assert len(seen) == len(set(seen)) == 3000
    assert all(entry.stat().st_size <= MIN_BYTES for entry in tmp_path.iterdir())


@pytest.mark.parametrize("how", ["rename", "unlink", "folder"])
def test_others_may_rotate_or_delete_the_file(tmp_path: Path, how: str) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    log = AuditLog(path)
    log.record(deny())
    if how == "rename":
        path.rename(tmp_path / "logs" / "old")
    else:
        path.unlink()
    if how == "folder":
        path.parent.rmdir()
    log.record(deny("second.example.com"))
    assert [line["host"] for line in lines(path)] == ["second.example.com"]


def test_truncation_by_others_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    log.record(deny())
    os.truncate(path, 0)
    log.record(deny("second.example.com"))
    assert [line["host"] for line in lines(path)] == ["second.example.com"]


def test_nothing_raises_when_the_path_is_impossible(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    log = AuditLog(tmp_path / "file" / "events.jsonl")
    for _ in range(50):
        log.record(deny())
    assert sum("cannot write the audit log" in record.message for record in caplog.records) == 1
    log.close()
    assert "50 audit events were never written" in caplog.text
    log.record(deny())
    assert log.dropped == 51 - 50


@pytest.mark.parametrize("what", ["symlink", "fifo", "folder"])
def test_something_else_in_its_place_is_never_written_to(tmp_path: Path, what: str) -> None:
    path, elsewhere = tmp_path / "events.jsonl", tmp_path / "elsewhere"
    elsewhere.write_text("")
    if what == "symlink":
        path.symlink_to(elsewhere)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    log = AuditLog(path)
    log.record(deny())
    log.close()
    assert elsewhere.read_text() == ""


class FullDisk:
    """Stands in for `os.write` of a disk that takes `room` bytes more and then is full; tests move `room`."""

    def __init__(self) -> None:
        self.room = 0
        self.real = os.write

    def write(self, fd: int, data: bytes | bytearray | memoryview) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: self.room]
        self.room -= len(part)
        return self.real(fd, part)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FullDisk:
    disk = FullDisk()
    monkeypatch.setattr("kap.audit.logfile.os.write", disk.write)
    monkeypatch.setattr(log_module, "_RETRY", 0.0)
    return disk


def test_full_disk_keeps_events_and_writes_them_when_there_is_room(tmp_path: Path, disk: FullDisk) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    for _ in range(10):
        log.record(deny())
    disk.room = 10**9
    log.record(deny())
    assert [line["seq"] for line in lines(path)] == list(range(1, 12))


def test_full_disk_bounds_memory_and_reports_the_loss_once(
    tmp_path: Path, disk: FullDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "_BUFFER_LIMIT", 4096)
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    for _ in range(1000):
        log.record(deny())
    assert len(log._buffer) < 8192
    lost = log.dropped
    assert lost > 900
    disk.room = 10**9
    log.flush()
    log.record(deny())
    written = lines(path)
    notices = [line for line in written if line["code"] == "audit.dropped"]
    assert [line["detail"] for line in notices] == [f"{lost} events were not written"]
    assert len(written) == 1000 - lost + 2
    assert log.dropped == 0


def test_a_torn_line_costs_that_line_only(tmp_path: Path, disk: FullDisk) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    disk.room = 100  # less than a line
    log.record(deny())
    disk.room = 10**9
    log.record(deny("second.example.com"))
    good = []
    for line in path.read_bytes().splitlines():
        try:
            good.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    assert [line.get("host", line["code"]) for line in good] == ["audit.dropped", "second.example.com"]


async def test_full_disk_in_a_loop_is_tried_again_without_a_new_event(tmp_path: Path, disk: FullDisk) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    log.record(deny())
    log.flush()
    log.record(deny())
    disk.room = 10**9
    await written(path, 2)


def test_attribute_is_asked_for_denials_only(tmp_path: Path) -> None:
    asked: list[str] = []

    def attribute(event: Event) -> str:
        asked.append(event.host)
        return "curl[42]"

    path = tmp_path / "events.jsonl"
    log = AuditLog(path, attribute=attribute)
    log.record(deny("a.example.com"))
    log.record(Event("decision", "egress", "egress.allowed", verdict="allow", host="b.example.com", port=443))
    log.record(Event("notice", "sidecar", "sidecar.started"))
    log.record(deny("c.example.com", process="known[1]"))
    assert asked == ["a.example.com"]
    assert [line.get("process") for line in lines(path)] == ["curl[42]", None, None, "known[1]"]


def test_attribute_that_raises_leaves_the_process_empty(tmp_path: Path) -> None:
    def attribute(event: Event) -> str:
        raise RuntimeError(event.host)

    log = AuditLog(tmp_path / "events.jsonl", attribute=attribute)
    log.record(deny())
    assert "process" not in lines(tmp_path / "events.jsonl")[0]


def test_text_is_bounded_and_utf8_for_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    log.record(deny("h" * 5000))
    log.record(deny("\udcff\x00\n‮é", detail="x" * 300))
    first, second = lines(path)
    assert first["host"] == "h" * 255
    assert second["host"] == "\\udcff\x00\n‮é" and second["detail"] == "x" * 255
    assert path.read_bytes().count(b"\n") == 2


def test_clip_bounds_what_escaping_makes_longer() -> None:
    assert len(clip("\udcff" * 255)) == 255


def test_record_swallows_an_event_that_is_none(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "events.jsonl")
    log.record(None)  # type: ignore[arg-type]
    assert log.dropped == 1


def test_a_probe_that_went_as_it_should_is_left_out_and_its_neighbours_are_not(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "events.jsonl")
    for host in ("kap-probe.invalid", "kap-probe.invalid.example.com", "x.kap-probe.invalid", "kap-self.invalid"):
        for code in ("egress.not-listed", "egress.deny-rule", "dns.not-listed", "dns.deny-rule"):
            log.record(deny(host, code))
    log.record(Event("decision", "dns", "dns.allowed", verdict="allow", host="kap-self.invalid", method="A"))
    found = lines(tmp_path / "events.jsonl")
    hosts = ["kap-probe.invalid.example.com", "x.kap-probe.invalid", "kap-self.invalid"]
    assert [line["host"] for line in found] == [host for host in hosts for _ in range(4)]
    assert [line["seq"] for line in found] == list(range(1, 13))
    assert [line.get("subject") for line in found] == [None] * 8 + ["probe"] * 4


@pytest.mark.parametrize(
    "code", ["egress.allowed", "egress.no-policy", "egress.internal-error", "dns.allowed", "dns.limit"]
)
def test_a_probe_that_failed_is_recorded_and_marked(tmp_path: Path, code: str) -> None:
    log = AuditLog(tmp_path / "events.jsonl")
    log.record(deny("kap-probe.invalid", code))
    (line,) = lines(tmp_path / "events.jsonl")
    assert (line["code"], line["subject"]) == (code, "probe")


def test_resize_takes_effect_at_the_next_write(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "events.jsonl")
    for _ in range(1000):
        log.record(deny())
    assert len(list(tmp_path.iterdir())) == 1
    log.resize(max_bytes=MIN_BYTES, keep=1)
    for _ in range(2000):
        log.record(deny())
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1"]
