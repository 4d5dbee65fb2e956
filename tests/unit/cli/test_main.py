"""How ``kap`` ends when its surroundings are hostile: no reader, no room, no standard streams, no colour wanted."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

KAP = [sys.executable, "-m", "kap.cli.main"]
POLICY = 'presets = ["python"]\n'
EVENT = (
    '{"kind":"decision","plane":"egress","code":"egress.not-listed","ts":1795511664.7,"seq":1,"policy":"84ad62c0d9f0",'
    '"verdict":"deny","host":"nobody.example.com","port":443,"method":"CONNECT"}\n'
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAP_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KAP_DEBUG", raising=False)
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "kap.toml").write_text(POLICY)
    return directory


def _shell(line: str, project: Path) -> subprocess.CompletedProcess[str]:
    """`line` in a shell where $kap is the command."""
    return subprocess.run(
        ["bash", "-c", line, "bash", *KAP], cwd=project, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("arguments", ["presets", "schema", "check", "explain nobody.example.com", "--help"])
class TestOutput:
    def test_a_reader_that_has_gone_is_neither_yes_nor_no(self, arguments: str, project: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        try:
            got = subprocess.run(
                [*KAP, *arguments.split()], cwd=project, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False
            )
        finally:
            os.close(writer)
        assert (got.returncode, got.stderr) == (141, b"")

    def test_no_room_for_the_output(self, arguments: str, project: Path) -> None:
        got = _shell(f'"$@" {arguments} >/dev/full', project)
        assert got.returncode == 69
        assert got.stderr.splitlines() == [
            "kap: No space left on device: while writing the output",
            "  fix: make room on that disk, and run this again",
        ]

    @pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_closed_streams_do_not_change_the_answer(self, arguments: str, closed: str, project: Path) -> None:
        got = _shell(f'"$@" {arguments} {closed}', project)
        assert (got.returncode, got.stderr) == (1 if arguments.startswith("explain") else 0, "")

    def test_nor_does_an_error_stream_that_is_full(self, arguments: str, project: Path) -> None:
        assert _shell(f'"$@" {arguments} >/dev/full 2>&1', project).returncode == 69


def test_targets_from_a_closed_standard_input_are_none(project: Path) -> None:
    got = _shell('"$@" explain --json - <&-', project)
    assert (got.returncode, got.stdout, got.stderr) == (0, "", "")


@pytest.mark.parametrize("command", [["check"], ["explain", "nobody.example.com"]])
def test_a_directory_that_is_none_is_named(command: list[str], project: Path) -> None:
    got = subprocess.run([*KAP, *command, "-C", "nowhere"], cwd=project, capture_output=True, text=True, timeout=60)
    assert got.returncode == 2
    assert got.stderr == "kap: nowhere is not a directory\n  fix: name the project's directory: -C DIR\n"


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_colour_only_where_it_is_wanted(variables: dict[str, str], coloured: bool, project: Path) -> None:
    log = project / "events.jsonl"
    log.write_text(EVENT)
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm"} | variables
    leader, follower = pty.openpty()
    try:
        subprocess.run(
            [*KAP, "why-denied", "--log", str(log)], cwd=project, stdout=follower, env=environment, timeout=60
        )
        shown = os.read(leader, 65_536)
    finally:
        os.close(leader)
        os.close(follower)
    assert b"nobody.example.com" in shown
    assert (b"\x1b[" in shown) == coloured
