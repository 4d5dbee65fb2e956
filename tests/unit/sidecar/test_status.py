"""The status file: whole or not there, private, and honest about what it cannot read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from kap.sidecar.status import ListenerStatus, PolicyStatus, Status, read, write


def test_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "log" / "status.json"
    status = Status(
        "0.1.0",
        7,
        1.0,
        problems=["x"],
        policy=PolicyStatus(source="p", digest="d"),
        listeners=[ListenerStatus("proxy", "127.0.0.1", 3128)],
    )
    write(path, status)
    assert read(path) == status
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["status.json"]


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version":1}', b"\xff", b"{}"])
def test_what_is_not_a_status_reads_as_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "status.json"
    path.write_bytes(data)
    assert read(path) is None


def test_missing_and_a_folder_read_as_none(tmp_path: Path) -> None:
    assert read(tmp_path / "none") is None
    assert read(tmp_path) is None


def test_a_newer_member_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    path.write_text('{"version":"9","pid":1,"started":1,"colour":"red"}')
    found = read(path)
    assert found is not None and found.version == "9"


def test_a_failed_write_leaves_the_old_one_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "status.json"
    write(path, Status("1", 1, 1.0))

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError):
        write(path, Status("2", 1, 1.0))
    monkeypatch.undo()
    found = read(path)
    assert found is not None and found.version == "1"
    assert len(list(tmp_path.iterdir())) == 1
