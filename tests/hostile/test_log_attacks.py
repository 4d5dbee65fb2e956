"""What a hostile capsule may try with the audit log: forge lines, fill the disk, hide in a flood, fool the terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

from kap.audit.event import Event
from kap.audit.fold import Fold
from kap.audit.log import MIN_BYTES, AuditLog
from kap.audit.printable import printable
from kap.audit.reader import LogReader


def deny(host: str, **more: object) -> Event:
    return Event("decision", "egress", "egress.not-listed", verdict="deny", host=host, port=443, **more)  # type: ignore[arg-type]


def test_a_host_with_line_ends_cannot_forge_an_event(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    forged = '{"kind":"decision","plane":"egress","code":"egress.allowed","verdict":"allow","host":"good.example.com","ts":1}'
    log = AuditLog(path)
    for host in (f"x\n{forged}\n", f'x"}}\r\n{forged}', f"x\u2028{forged}\u0085"):
        log.record(deny(host))
    events = list(LogReader(path).read())
    assert len(events) == 3
    assert {event.code for event in events} == {"egress.not-listed"}


def test_a_flood_stays_within_max_bytes_times_files(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "events.jsonl"
    log = AuditLog(path, max_bytes=MIN_BYTES, keep=2)
    for number in range(5000):
        log.record(deny("\x00" * 255, detail="\x01" * 255, method="\x02" * 255, client=str(number)))
    sizes = [entry.stat().st_size for entry in path.parent.iterdir()]
    assert len(sizes) == 3 and max(sizes) <= MIN_BYTES


def test_a_flood_of_names_does_not_grow_the_fold_or_hide_the_newest() -> None:
    folded = Fold(limit=100)
    for number in range(10_000):
        folded.add(deny(f"{number}.example.com", ts=float(number)))
    folded.add(deny("real.example.com", ts=10_001.0))
    assert len(folded.denials()) == 100
    assert folded.denials()[-1].host == "real.example.com"


def test_terminal_escapes_are_shown_not_obeyed() -> None:
    attacks = [
        "\x1b]0;owned\x07",
        "\x1b[2J\x1b[H",
        "\x9b1m",
        "\x1bP+q\x1b\\",
        "\r\x1b[Kallowed",
        "\u202eallowed",
        "\x08\x08\x08ok",
    ]
    for text in attacks:
        assert re.fullmatch(r"[ -~]*", printable(text))


def test_a_deep_or_huge_line_in_the_file_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    log.record(deny("a.example.com"))
    with path.open("ab") as file:
        file.write(b'{"a":' * 10_000 + b"\n" + b"[" * 60_000 + b"\n" + b'{"kind":"notice","ts":' + b"9" * 5000 + b"}\n")
    log.record(deny("b.example.com"))
    reader = LogReader(path)
    assert [event.host for event in reader.read()] == ["a.example.com", "b.example.com"]
    assert reader.skipped == 3


def test_lines_are_json_for_every_single_character(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = AuditLog(path)
    characters = [*range(0x300), 0x2028, 0x2029, 0xD800, 0xDFFF, 0xFEFF, 0xFFFF, 0x10FFFF]
    for code in characters:
        log.record(deny(chr(code)))
    lines = path.read_bytes().split(b"\n")[:-1]
    assert len(lines) == len(characters)
    for code, line in zip(characters, lines, strict=True):
        host = json.loads(line.decode("utf-8"))["host"]
        assert host == (chr(code) if not 0xD800 <= code <= 0xDFFF else f"\\u{code:04x}")
