"""``kap run``: how it starts, fails, is told to stop, and what is left afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from rig.capsule import START, Project, processes_with
from rig.waiting import PATIENCE, eventually


def start_trap(project: Project, names: str) -> subprocess.Popen[str]:
    """A command that tells which of the signals `names` came, and exits 5."""
    traps = "; ".join(f"trap 'echo {name}; exit 5' {name}" for name in names.split())
    running = project.start("sh", "-c", f"{traps}; echo ready; while :; do sleep 0.05; done")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    return running


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_are_the_commands(project: Project, name: str) -> None:
    running = start_trap(project, name)
    running.send_signal(getattr(signal, f"SIG{name}"))
    out, _ = running.communicate(timeout=PATIENCE)
    assert (out, running.returncode) == (f"{name}\n", 5)


def test_a_command_that_dies_of_a_signal(one: Project) -> None:
    running = one.start("sh", "-c", "echo ready; exec sleep 1000")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.terminate()
    running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + signal.SIGTERM


def test_nohup(one: Project) -> None:
    go = one.root / "go"
    os.mkfifo(go)
    command = "echo ready; read line < go; echo still here"
    running = one.start("sh", "-c", command, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGHUP)
    with go.open("w") as file:
        file.write("\n")
    out, _ = running.communicate(timeout=PATIENCE)
    assert (out, running.returncode) == ("still here\n", 0)


def test_stopping_kap_stops_the_command(one: Project) -> None:
    count = one.root / "count"
    mark = f"7{os.getpid()}.5"
    running = one.start("sh", "-c", f"while :; do echo x >> count; sleep 0.02; done; : {mark}")
    try:
        eventually(count.exists, "the command runs")
        running.send_signal(signal.SIGTSTP)
        eventually(lambda: _state(running.pid) == "T", "kap stops")
        shells = [pid for pid in processes_with(mark) if _name(pid) == "sh"]
        assert shells
        eventually(
            lambda: {_state(pid) for pid in shells} == {"T"}, "the command stops: a signal takes its time to arrive"
        )
        before = count.stat().st_size
        time.sleep(0.3)  # Not for synchronisation: in this time a command that was not stopped would write.
        assert count.stat().st_size == before
        running.send_signal(signal.SIGCONT)
        eventually(lambda: count.stat().st_size > before, "the command goes on")
    finally:
        running.kill()
        running.communicate(timeout=PATIENCE)


def test_killing_kap_kills_the_capsule(project: Project) -> None:
    mark = f"8{os.getpid()}.25"
    running = project.start("sh", "-c", f"echo ready; setsid sleep {mark} & exec sleep {mark}")
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.kill()
    running.wait(timeout=PATIENCE)
    eventually(lambda: processes_with(mark) == [], "everything of the capsule is gone")


def broken(project: Project, prelude: str, mark: str) -> subprocess.CompletedProcess[str]:
    """kap run of a command that leaves a file, with something of kap replaced before."""
    code = f"{prelude}\n{START}"
    return subprocess.run(
        [sys.executable, "-c", code, "run", "--", "sh", "-c", f"touch started; sleep {mark}"],
        env=project.environment(),
        cwd=project.root,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FAULTS = {
    "no sockets": (
        "import kap.host.capsule as c\nfrom kap.errors import BackendError\n"
        "def fail(pid): raise BackendError('no sockets', 'a hint')\nc.open_sockets = fail",
        69,
    ),
    "a plane does not serve": (
        "import kap.egress.plane as p\nasync def fail(*a, **k): raise OSError('no plane')\np.Plane.serve = fail",
        70,
    ),
    "the name server does not serve": (
        "import kap.dns.server as s\nasync def fail(*a, **k): raise OSError('no dns')\ns.NameServer.serve_udp = fail",
        70,
    ),
    "kap is killed while it sets up": (
        "import os, kap.host.capsule as c\nreal = c.open_sockets\n"
        "c.open_sockets = lambda pid: (real(pid), os.kill(os.getpid(), 9))",
        -signal.SIGKILL,
    ),
    "kap is terminated while it sets up": (
        "import os, kap.host.capsule as c\nreal = c.open_sockets\n"
        "def stopped(pid):\n    os.kill(os.getpid(), 15)\n    return real(pid)\nc.open_sockets = stopped",
        143,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_first_nothing_of_the_command_runs(one: Project, fault: str) -> None:
    prelude, status = FAULTS[fault]
    mark = f"9{os.getpid()}.75"
    done = broken(one, prelude, mark)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    eventually(lambda: processes_with(mark) == [], "nothing is left")
    assert not (one.root / "started").exists()


def test_no_bubblewrap(one: Project) -> None:
    empty = one.base / "empty"
    empty.mkdir()
    done = one.run("true", env={"PATH": str(empty)})
    assert done.returncode == 69
    assert "needs bubblewrap" in done.stderr
    assert "apt-get install bubblewrap" in done.stderr


def test_a_bubblewrap_that_cannot_make_namespaces(one: Project) -> None:
    """As where user namespaces are off: bwrap says so and exits."""
    fake = one.base / "bin" / "bwrap"
    fake.parent.mkdir()
    words = "--perms --ro-bind-data --seccomp --info-fd --remount-ro --cap-drop"
    fake.write_text(
        f'#!/bin/sh\n[ "$1" = --help ] && {{ echo "{words}"; exit 0; }}\necho "bwrap: No permissions" >&2; exit 1\n'
    )
    fake.chmod(0o755)
    done = one.run("touch", "started", env={"PATH": f"{fake.parent}:/usr/bin:/bin"})
    assert done.returncode == 69
    assert "could not make the capsule" in done.stderr
    assert "fix:" in done.stderr
    assert not (one.root / "started").exists()


def test_a_bubblewrap_that_is_too_old(one: Project) -> None:
    fake = one.base / "bin" / "bwrap"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho --bind --ro-bind\n")
    fake.chmod(0o755)
    done = one.run("true", env={"PATH": f"{fake.parent}:/usr/bin:/bin"})
    assert done.returncode == 69
    assert "too old" in done.stderr


def test_a_capsule_in_a_capsule(one: Project) -> None:
    done = one.run("true", env={"KAP_CAPSULE": "1", "PATH": f"{_failing(one)}:/usr/bin:/bin"})
    assert done.returncode == 69
    assert "runs in a capsule already" in done.stderr


def test_many_runs_at_once_do_not_disturb_each_other(one: Project) -> None:
    running = [one.start("sh", "-c", f"echo {number}; exit {number}") for number in range(6)]
    for number, each in enumerate(running):
        out, err = each.communicate(timeout=60)
        assert (out, each.returncode) == (f"{number}\n", number), err


def _failing(project: Project) -> str:
    fake = project.base / "bin" / "bwrap"
    fake.parent.mkdir()
    words = "--perms --ro-bind-data --seccomp --info-fd --remount-ro --cap-drop"
    fake.write_text(f'#!/bin/sh\n[ "$1" = --help ] && echo "{words}"\nexit 1\n')
    fake.chmod(0o755)
    return str(fake.parent)


def _name(pid: int) -> str:
    with open(f"/proc/{pid}/comm") as file:
        return file.read().strip()


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


NO_MOUNT = (
    "import os, kap.host.capsule as c\nimport kap.backend.bubblewrap as b\nfrom kap.sandbox.plan import ReadOnly\nreal = c.mounts\n"
    "c.mounts = lambda *a: (*real(*a)[:-1], ReadOnly('/nonexistent', '/x'))\n"
)
LATE = {
    "as it comes": "",
    # kap is slow: bwrap has given up, and is gone, before kap looks at what it said
    "before the capsule's first process is known": (
        "read = b._read_info\n"
        "def late(info, process):\n    init = read(info, process)\n    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)\n"
        "    return init\n"
        "b._read_info = late"
    ),
    "before the sockets are made": (
        "sockets = c.open_sockets\n"
        "def late(init):\n    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n    return sockets(init)\n"
        "c.open_sockets = late"
    ),
    # bwrap's own process is slower than the capsule's: nobody has told yet that it gave up
    "before bwrap itself has ended": (
        "poll = b.Box.poll\nasked = []\n"
        "b.Box.poll = lambda box: asked.append(1) if not asked else poll(box)\n"
        "sockets = c.open_sockets\n"
        "def late(init):\n    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n    return sockets(init)\n"
        "c.open_sockets = late"
    ),
}


@pytest.mark.parametrize("when", LATE)
def test_a_mount_that_fails_is_no_exit_code_of_the_command(one: Project, when: str) -> None:
    """bwrap gives up in the middle of its set-up, when the namespaces and even the sockets are there."""
    mark = f"6{os.getpid()}.125"
    done = broken(one, NO_MOUNT + LATE[when], mark)
    assert done.returncode == 69, done.stderr
    assert "could not make the capsule" in done.stderr
    assert "Can't find source path /nonexistent" in done.stderr
    eventually(lambda: processes_with(mark) == [], "nothing is left")
    assert not (one.root / "started").exists()
