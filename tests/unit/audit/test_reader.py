"""Reading the log back: rotated files, times, the last few, and lines that are no events."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kap.audit import reader as reader_module
from kap.audit.event import Event
from kap.audit.fold import is_denial
from kap.audit.log import MIN_BYTES, AuditLog
from kap.audit.reader import LINE_LIMIT, LogReader, read


def line(ts: float, host: str = "a.example.com", verdict: str = "deny") -> bytes:
    return (
        msgspec.json.encode(Event("decision", "egress", "egress.x", ts=ts, seq=1, verdict=verdict, host=host)) + b"\n"
    )


def hosts(path: Path, **more: float) -> list[str]:
    return [event.host for event in LogReader(path).read(**more)]  # type: ignore[arg-type]


def test_rotated_files_come_first_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for name, ts in (("events.jsonl.10", 1), ("events.jsonl.2", 2), ("events.jsonl.1", 3), ("events.jsonl", 4)):
        (tmp_path / name).write_bytes(line(ts, f"{ts}.example.com"))
    (tmp_path / "events.jsonl.bak").write_bytes(line(9, "no.example.com"))
    (tmp_path / "events.jsonl.²").write_bytes(line(9, "no.example.com"))
    assert hosts(path) == [f"{ts}.example.com" for ts in (1, 2, 3, 4)]


def test_missing_log_reads_as_nothing(tmp_path: Path) -> None:
    assert hosts(tmp_path / "none" / "events.jsonl") == []
    assert LogReader(tmp_path / "none").last(5) == []


def test_what_the_log_writes_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path, max_bytes=MIN_BYTES, keep=9)
    for number in range(2000):
        log.record(Event("decision", "egress", "egress.x", verdict="deny", host=f"h{number}.example.com"))
    assert [event.seq for event in read(path)] == list(range(1, 2001))
    assert [event.seq for event in LogReader(path).last(1500)] == list(range(501, 2001))


def test_since_and_until_are_inclusive(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(line(float(ts), str(ts)) for ts in range(1000, 1100)))
    assert [event.host for event in read(path, 1010.0, 1013.0)] == ["1010", "1011", "1012", "1013"]


@pytest.mark.parametrize("since", [0.0, 4999.0, 5000.0, 31_234.5, 54_999.0, 60_000.0])
def test_since_finds_its_place_in_a_large_log_by_bisection(
    tmp_path: Path, since: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_module, "_BLOCK", 2000)
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(line(float(ts), str(ts)) for ts in range(5000, 55_000)))
    reader = LogReader(path)
    parsed = 0
    real = reader.parse

    def counting(text: bytes) -> Event | None:
        nonlocal parsed
        parsed += 1
        return real(text)

    monkeypatch.setattr(reader, "parse", counting)
    got = [int(event.host) for event in reader.read(since=since)]
    assert got == [ts for ts in range(5000, 55_000) if ts >= since]
    assert parsed < len(got) + 200


def test_garbage_is_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    bad = [
        b"not json",
        b'{"kind":"decision"}',
        b'{"kind":"other","plane":"egress","code":"x"}',
        b"\xff\xfe",
        b"[]",
        b"\x00" * 50,
    ]
    bad += [
        b'{"kind":"notice","plane":"p","code":"c","host":"\xff"}',
        b"[" * 5000,
        b'{"kind":"notice","plane":"p","code":"c","ts":"x"}',
    ]
    path.write_bytes(line(1.0) + b"\n".join(bad) + b"\n\n" + line(2.0))
    reader = LogReader(path)
    assert [event.ts for event in reader.read()] == [1.0, 2.0]
    assert reader.skipped == len(bad)
    backwards = LogReader(path)
    assert [event.ts for event in backwards.last(10)] == [1.0, 2.0]
    assert backwards.skipped == len(bad)


def test_a_newer_field_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"kind":"notice","plane":"mcp","code":"mcp.x","ts":3.5,"colour":"red"}\n')
    assert [event.ts for event in read(path)] == [3.5]


@pytest.mark.parametrize("length", [LINE_LIMIT - 1, LINE_LIMIT, LINE_LIMIT + 1, 3 * LINE_LIMIT, 5 * LINE_LIMIT + 7])
def test_an_endless_line_is_one_skip(tmp_path: Path, length: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(1.0) + b"x" * length + b"\n" + line(2.0))
    for reader in (forwards := LogReader(path), backwards := LogReader(path)):
        events = list(reader.read()) if reader is forwards else backwards.last(10)
        assert [event.ts for event in events] == [1.0, 2.0]
        assert reader.skipped == 1


@pytest.mark.parametrize("padding", [LINE_LIMIT, 3 * LINE_LIMIT])
def test_a_valid_event_that_is_too_long_is_not_read_either(tmp_path: Path, padding: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(1.0) + line(9.0)[:-2] + b',"pad":"' + b"x" * padding + b'"}\n' + line(2.0))
    forwards, backwards = LogReader(path), LogReader(path)
    assert [event.ts for event in forwards.read()] == [event.ts for event in backwards.last(10)] == [1.0, 2.0]
    assert forwards.skipped == backwards.skipped == 1


@pytest.mark.parametrize("length", [10, LINE_LIMIT, 3 * LINE_LIMIT])
def test_an_unfinished_last_line_is_left_out(tmp_path: Path, length: int) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(line(1.0) + line(2.0) + b"x" * length)
    assert [event.ts for event in LogReader(path).read()] == [1.0, 2.0]
    assert [event.ts for event in LogReader(path).last(10)] == [1.0, 2.0]


@pytest.mark.parametrize("count", [1, 7, 700, 3000, 5000])
def test_last_reads_backwards_across_blocks_and_files(tmp_path: Path, count: int) -> None:
    path = tmp_path / "events.jsonl"
    (tmp_path / "events.jsonl.1").write_bytes(b"".join(line(float(ts)) for ts in range(2000)))
    path.write_bytes(b"".join(line(float(ts)) for ts in range(2000, 4000)))
    assert [event.ts for event in LogReader(path).last(count)] == [
        float(ts) for ts in range(max(0, 4000 - count), 4000)
    ]


def test_last_takes_only_what_is_wanted(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"".join(line(float(ts), verdict="deny" if ts % 10 == 0 else "allow") for ts in range(100)))
    assert [event.ts for event in LogReader(path).last(3, wanted=is_denial)] == [70.0, 80.0, 90.0]


def test_denials_only_leaves_the_rest_unparsed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    cut = msgspec.json.encode(Event("closed", "egress", "egress.revoked", ts=7.0)) + b"\n"
    path.write_bytes(line(1.0, verdict="allow") + line(2.0) + b"garbage\n" + cut)
    reader = LogReader(path)
    assert [event.ts for event in reader.read(denials_only=True)] == [2.0, 7.0]
    assert reader.skipped == 0


@pytest.mark.parametrize("length", [0, 100, LINE_LIMIT + 5, 5 * LINE_LIMIT, 11 * LINE_LIMIT])
def test_denials_only_finds_the_same_denials_among_anything(tmp_path: Path, length: int) -> None:
    path = tmp_path / "events.jsonl"
    noise = line(1.0, verdict="allow") * 3000 + b"x" * length + b"\n"
    path.write_bytes(b"".join(noise + line(float(ts)) for ts in range(2, 9)) + line(99.0)[:-1])
    reader = LogReader(path)
    assert [event.ts for event in reader.read(denials_only=True)] == [float(ts) for ts in range(2, 9)]
    assert reader.skipped <= (7 if length > LINE_LIMIT else 0)
    everything = [event.ts for event in LogReader(path).read() if is_denial(event)]
    assert everything == [float(ts) for ts in range(2, 9)]


def test_host_text_cannot_pass_for_a_denial(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    log.record(Event("decision", "egress", "egress.allowed", verdict="allow", host='x","verdict":"deny'))
    assert list(LogReader(path).read(denials_only=True)) == []
