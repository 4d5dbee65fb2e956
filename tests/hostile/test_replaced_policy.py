"""What the host does to kap.toml while a capsule runs must not hand the policy to the capsule."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rig.capsule import SECONDS, START, Project

WRITE = "until [ -e go ]; do sleep 0.02; done; if echo '#evil' >> kap.toml; then echo wrote; else echo refused; fi"
DENIED = "exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT denied.example.com:443 HTTP/1.1\\r\\n\\r\\n' >&3; cat <&3 >/dev/null"


def while_it_runs(one: Project, change: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    """Run a capsule that appends to its policy as soon as `change` is done on the host."""
    running = one.start("bash", "-c", f"({DENIED}) & touch started; {WRITE}; wait")
    try:
        deadline = time.monotonic() + SECONDS
        while not (one.root / "started").exists():
            assert time.monotonic() < deadline
            assert running.poll() is None, running.communicate()
            time.sleep(0.02)
        change()
        (one.root / "go").touch()
        out, err = running.communicate(timeout=SECONDS)
    finally:
        running.kill()
        running.wait()
    return subprocess.CompletedProcess((), running.returncode, out, err)


def rename(one: Project) -> None:
    """As most editors save."""
    one.write("new", (one.root / "kap.toml").read_text())
    (one.root / "new").replace(one.root / "kap.toml")


def test_a_policy_replaced_by_renaming_is_not_believed_afterwards(project: Project) -> None:
    done = while_it_runs(project, lambda: (rename(project), project.own())[0])
    assert "was replaced while the command ran" in done.stderr
    if "wrote" not in done.stdout:  # a kernel that keeps the mount point: then there is nothing to refuse
        assert "refused" in done.stdout
        return
    again = project.run("touch", "believed")
    assert again.returncode == 2
    assert "was replaced while a capsule of the project ran" in again.stderr
    assert "--accept-policy" in again.stderr
    assert not (project.root / "believed").exists()
    assert project.run("true", options=("--accept-policy",)).returncode == 0
    assert project.run("true").returncode == 0


def test_a_run_that_is_killed_is_not_forgotten(one: Project) -> None:
    running = one.start("bash", "-c", "touch started; sleep 60")
    deadline = time.monotonic() + SECONDS
    while not (one.root / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    rename(one)
    one.write("kap.toml", '[proxy.network]\nallow = ["*.evil.example"]\n')
    running.kill()
    running.communicate(timeout=SECONDS)
    assert one.run("true").returncode == 2


def test_a_run_that_is_killed_and_changed_nothing_is_forgotten(one: Project) -> None:
    running = one.start("bash", "-c", "touch started; sleep 60")
    deadline = time.monotonic() + SECONDS
    while not (one.root / "started").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    running.kill()
    running.communicate(timeout=SECONDS)
    assert one.run("true").returncode == 0
    rename(one)
    one.write("kap.toml", '[proxy.network]\nallow = ["later.example.com"]\n')
    assert one.run("true").returncode == 0


def test_a_policy_written_in_place_stays_protected_and_believed(project: Project) -> None:
    text = '[proxy.network]\nallow = ["unused.example.com", "more.example.com"]\n'
    done = while_it_runs(project, lambda: (project.root / "kap.toml").write_text(text) and None)
    assert "refused" in done.stdout
    assert (project.root / "kap.toml").read_text() == text
    assert project.run("true").returncode == 0


def test_a_fix_does_not_open_the_policy_of_a_running_capsule(one: Project) -> None:
    def fix() -> None:
        deadline = time.monotonic() + SECONDS
        while not any(event.get("host") == "denied.example.com" for event in one.events()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        done = subprocess.run(
            [sys.executable, "-c", START, "why-denied", "--fix", "--yes"],
            env=one.environment(),
            cwd=one.root,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    done = while_it_runs(one, fix)
    assert "refused" in done.stdout
    text = (one.root / "kap.toml").read_text()
    assert "denied.example.com" in text
    assert "#evil" not in text
    assert one.run("true").returncode == 0


@pytest.mark.parametrize("what", ["pipe", "directory", "device"])
def test_a_git_configuration_that_is_no_file_is_not_waited_for(one: Project, what: str) -> None:
    (one.root / ".git").mkdir()
    place = one.root / ".git" / "config"
    match what:
        case "pipe":
            os.mkfifo(place)
        case "directory":
            place.mkdir()
        case _:
            place.symlink_to(Path("/dev/zero"))
    assert one.run("true").returncode == 0


def test_the_log_is_not_put_where_the_command_can_forge_it(one: Project) -> None:
    (one.base / "link").symlink_to(one.root)
    for place in (one.root / "events.jsonl", one.base / "link" / "new" / "events.jsonl"):
        done = one.run("touch", "started", options=("--events", str(place)))
        assert done.returncode == 2
        assert "the command could change it" in done.stderr
        assert not (one.root / "started").exists()
