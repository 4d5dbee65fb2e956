"""``kap run`` on a terminal: keys, job control, window size, and what is not a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time

from rig.capsule import Project
from rig.waiting import PATIENCE


class Screen:
    """A program on a pseudo-terminal: what it shows, and a keyboard."""

    def __init__(self, argv: list[str], project: Project) -> None:
        self.shown = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(project.root)
            os.execvpe(argv[0], argv, project.environment(TERM="xterm"))
        self.resize(33, 101)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.fd, keys.encode())

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert time.monotonic() < deadline, f"never shown: {text!r}; shown: {self.shown!r}"
            assert self._read(), f"ended without {text!r}: {self.shown!r}"

    def end(self) -> int:
        """Read to the end; the exit status as a shell shows it."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, f"does not end; shown: {self.shown!r}"
        _, status = os.waitpid(self.pid, 0)
        os.close(self.fd)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def _read(self) -> bool:
        ready, _, _ = select.select([self.fd], [], [], 0.2)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65_536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def screen(project: Project, *command: str, options: tuple[str, ...] = ()) -> Screen:
    return Screen(project.argv("run", *options, "--", *command), project)


def shell(project: Project, line: str) -> Screen:
    """``kap`` is the command line of kap in `line`, which a shell on the terminal runs."""
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in project.argv("run"))
    return Screen(["/bin/sh", "-c", line.replace("kap", quoted)], project)


def test_it_is_a_terminal_of_its_own(project: Project) -> None:
    shown = screen(
        project, "sh", "-c", "test -t 0 && test -t 1 && test -t 2 && stty size && tty; echo hi > /dev/tty; exit 9"
    )
    assert shown.end() == 9
    assert "33 101" in shown.shown
    assert "hi" in shown.shown


def test_interrupt_is_the_commands(project: Project) -> None:
    shown = screen(project, "sh", "-c", 'trap "echo got; exit 3" INT; echo ready; while :; do sleep 0.05; done')
    shown.wait_for("ready")
    shown.type("\x03")
    shown.wait_for("got")
    assert shown.end() == 3


def test_interrupt_ends_a_command_that_does_not_care(one: Project) -> None:
    shown = screen(one, "sh", "-c", "echo ready; exec sleep 1000")
    shown.wait_for("ready")
    shown.type("\x03")
    assert shown.end() == 128 + signal.SIGINT


def test_job_control_of_a_shell(project: Project) -> None:
    shown = screen(project, "bash", "--norc", "-i")
    shown.type("PS1='%'; echo on''e\n")
    shown.wait_for("one")
    shown.type("sh -c \"echo run''ning; exec sleep 1000\"\n")
    shown.wait_for("running")
    shown.type("\x1a")
    shown.wait_for("Stopped")
    # bash waits only for a job it knows to be running: of one that is stopped, `wait` may come back at once.
    shown.type("bg; kill -9 %1; wait; echo tw''o\n")
    shown.wait_for("two")
    shown.type("exit 4\n")
    assert shown.end() == 4
    assert "cannot set terminal process group" not in shown.shown


def test_the_window_grows(one: Project) -> None:
    shown = screen(one, "bash", "-c", 'trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.05; done')
    shown.wait_for("ready")
    shown.resize(20, 50)
    shown.wait_for("20 50")
    assert shown.end() == 0


def test_end_of_file_on_the_keyboard(one: Project) -> None:
    shown = screen(one, "cat")
    shown.type("hello\n")
    shown.wait_for("hello\r\nhello")
    shown.type("\x04")
    assert shown.end() == 0


def test_the_terminal_is_as_before_afterwards(one: Project) -> None:
    shown = shell(
        one, "stty -a > before; kap -- sh -c 'stty raw -echo; exit 0'; stty -a > after; cmp before after && echo sa''me"
    )
    shown.wait_for("same")
    shown.end()


def test_the_terminal_is_as_before_after_a_failure(one: Project) -> None:
    shown = shell(one, "stty -a > before; kap -- no-such-command; stty -a > after; cmp before after && echo sa''me")
    shown.wait_for("same")
    shown.end()


def test_the_persons_terminal_never_enters(one: Project) -> None:
    """A capsule in the background that held it could read what is typed to the shell."""
    name = "sh -c 'readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 > fds; ls -l /proc/self/fd >> fds'"
    for line in (
        f"kap -- {name}",
        f"kap -- {name} | cat",
        f"kap -- {name} > out",
        f"kap -- {name} < /dev/null",
        f"kap -- {name} 2> err",
    ):
        (one.root / "fds").unlink(missing_ok=True)
        shown = shell(one, "tty > mine; " + line)
        shown.end()
        mine = (one.root / "mine").read_text().strip()
        assert mine.startswith("/dev/pts/")
        assert os.stat(one.root / "fds").st_size
        links = (one.root / "fds").read_text().splitlines()[:3]
        assert all(link != mine or link == "/dev/console" for link in links), (line, links)


def test_pipes_stay_pipes(one: Project) -> None:
    test = "sh -c 'for n in 0 1 2; do test -t $n && echo tty$n >&2; done; cat; exit 6'"
    shown = shell(one, f"echo piped | kap -q -- {test} | cat; echo done")
    shown.wait_for("done")
    shown.end()
    assert "piped" in shown.shown
    assert ("tty0" in shown.shown, "tty1" in shown.shown, "tty2" in shown.shown) == (False, False, True)


def test_a_pipeline_leaves_the_keyboard_to_its_last_command(one: Project) -> None:
    shown = shell(one, "kap -q -- sh -c 'echo from inside; cat' | sh -c 'cat; read x < /dev/tty; echo \"read: $x\"'")
    shown.wait_for("from inside")
    shown.type("typed\n")
    shown.wait_for("read: typed")
    shown.end()


def test_typed_lines_reach_a_command_whose_output_is_a_file(one: Project) -> None:
    shown = shell(one, "kap -q -- sh -c 'echo ask >&2; read x; echo got $x' > out; echo sta''tus $?")
    shown.wait_for("ask")
    shown.type("typed\n")
    shown.wait_for("status 0")
    shown.end()
    assert (one.root / "out").read_text() == "got typed\n"


def test_much_output_arrives_whole(one: Project) -> None:
    shown = screen(one, "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x; echo end; exit 4")
    assert shown.end() == 4
    assert shown.shown.count("x") >= 300_000
    assert shown.shown.endswith("end\r\n")
