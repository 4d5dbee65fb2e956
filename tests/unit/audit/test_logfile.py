"""Rotation by several writers: whoever finds the file already rotated by another does not rotate the new one away."""

from __future__ import annotations

import fcntl
from pathlib import Path

from kap.audit.logfile import LogFile, make_private_dir


def test_a_writer_that_comes_late_to_a_rotation_leaves_the_new_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    early, late = (LogFile(path, max_bytes=100, keep=3) for _ in range(2))
    early.write(b"a" * 59 + b"\n")
    late.write(b"b" * 9 + b"\n")
    early.write(b"c" * 59 + b"\n")  # rotates
    late._rotate()  # as if it had looked at the size just before
    assert path.read_bytes() == b"c" * 59 + b"\n"
    assert not (tmp_path / "log.2").exists()
    late.write(b"d\n")
    assert path.read_bytes().endswith(b"d\n")


def test_a_rotation_under_way_elsewhere_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    file = LogFile(path, max_bytes=100, keep=3)
    file.write(b"a" * 99 + b"\n")
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert file.write(b"b\n") == 2  # over the size for once, rather than lost or late
    assert not (tmp_path / "log.1").exists()
    file.write(b"c\n")
    assert (tmp_path / "log.1").read_bytes() == b"a" * 99 + b"\nb\n"


def test_folders_that_exist_keep_their_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(0o755)
    make_private_dir(tmp_path / "a" / "b")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
