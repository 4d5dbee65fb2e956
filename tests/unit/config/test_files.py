"""Whatever stands where a kap.toml should: a text, or a Problem of its own code; never an exception, never a wait."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from kap.config import files
from kap.config.files import MAX_BYTES, Reading, read


def code(path: Path) -> str:
    reading = read(path)
    assert reading.text is None and reading.problem is not None
    assert reading.problem.severity == "error"
    assert reading.problem.path == str(path)
    return reading.problem.code


def test_a_plain_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "kap.toml"
    file.write_bytes("# ż\r\na = 1\n".encode())
    assert read(file) == Reading("# ż\r\na = 1\n")
    file.write_bytes(b"")
    assert read(file) == Reading("")


def test_what_is_not_there(tmp_path: Path) -> None:
    assert code(tmp_path / "kap.toml") == "config.missing"
    (tmp_path / "file").write_text("")
    assert code(tmp_path / "file" / "kap.toml") == "config.missing"
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert code(tmp_path / "dangling") == "config.missing"
    assert code(tmp_path / ("x" * 5000)) == "config.missing"


def test_what_is_not_a_file(tmp_path: Path) -> None:
    (tmp_path / "kap.toml").mkdir()
    assert code(tmp_path / "kap.toml") == "config.not-a-file"
    os.mkfifo(tmp_path / "pipe")
    assert code(tmp_path / "pipe") == "config.not-a-file"  # opening a pipe nobody writes to would wait for ever
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(tmp_path / "s"))
        assert code(tmp_path / "s") == "config.not-a-file"
    finally:
        listener.close()
    assert code(Path("/dev/zero")) == "config.not-a-file"
    assert code(Path("/dev/null")) == "config.not-a-file"


def test_a_directory_says_what_to_do_with_it(tmp_path: Path) -> None:
    for name, remedy in (("kap.toml", "remove the directory"), ("project", "kap check DIRECTORY/kap.toml")):
        (tmp_path / name).mkdir()
        problem = read(tmp_path / name).problem
        assert problem is not None
        assert remedy in problem.hint


def test_a_link_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "kap.toml").symlink_to(tmp_path / "kap.toml")
    assert code(tmp_path / "kap.toml") == "config.unreadable"


def test_a_name_with_a_nul(tmp_path: Path) -> None:
    assert code(tmp_path / "a\0b") == "config.unreadable"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_without_permission(tmp_path: Path) -> None:
    file = tmp_path / "kap.toml"
    file.write_text("a = 1")
    file.chmod(0)
    assert code(file) == "config.unreadable"


def test_permission_denied_by_a_mocked_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "no")

    monkeypatch.setattr(files.os, "open", refuse)
    assert code(tmp_path / "kap.toml") == "config.unreadable"


def test_size_is_judged_before_reading(tmp_path: Path) -> None:
    file = tmp_path / "kap.toml"
    with file.open("wb") as sparse:
        sparse.truncate(100 * 1024 * 1024)
    reading = read(file)
    assert reading.problem is not None
    assert (reading.problem.code, reading.problem.message) == (
        "config.too-large",
        "the file is 100.0 MiB; a kap.toml has at most 1 MiB",
    )
    file.write_bytes(b"#" * MAX_BYTES)
    assert read(file).problem is None
    file.write_bytes(b"#" * (MAX_BYTES + 1))
    assert code(file) == "config.too-large"


@pytest.mark.parametrize(
    ("data", "line", "column", "words"),
    [
        ("# caf\xe9\n".encode("latin-1"), 0, 5, "looks like Latin-1"),
        ("# ż\n# é\n".encode() + b"\xff", 2, 0, "byte 10 (0xff) is not UTF-8"),
        (b"a = \xc0\xaf", 0, 4, "byte 4 (0xc0) is not UTF-8"),
        (b"a = \xed\xa0\x80", 0, 4, "0xed"),
        ("a = 1".encode("utf-16"), 0, 0, "the file is UTF-16; kap.toml is UTF-8"),
    ],
)
def test_bytes_that_are_not_utf8_have_a_place(tmp_path: Path, data: bytes, line: int, column: int, words: str) -> None:
    file = tmp_path / "kap.toml"
    file.write_bytes(data)
    problem = read(file).problem
    assert problem is not None and problem.span is not None
    assert problem.code == "config.not-utf8"
    assert words in problem.message
    assert (problem.span.line, problem.span.column) == (line, column)
