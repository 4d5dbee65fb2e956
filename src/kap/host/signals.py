"""Signals sent to kap are the command's: handed on to it, while kap itself stays until the command ends.

Interrupt, quit and hang-up go to the command's whole process group, as from a terminal; terminate and the user signals to the command
alone, as from kill(1). Stopping kap stops the command with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable
from pathlib import Path

from kap.host.streams import Streams

TO_GROUP = (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
TO_COMMAND = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
RETRY_SECONDS = 0.01
RETRIES = 300


class Signals:
    """Catches from `install` on; `first` is the first signal that would have ended kap and came before `forward_to`."""

    def __init__(self, streams: Streams) -> None:
        self.first: int | None = None
        self._streams = streams
        self._init: int | None = None
        self._loop = asyncio.get_running_loop()
        self._caught: list[int] = []

    def install(self) -> None:
        """Take over the signals of this process, except those it was started to ignore (nohup): the command ignores them, too."""
        for number in (*TO_GROUP, *TO_COMMAND):
            self._catch(number, self._hand_on, number)
        self._catch(signal.SIGWINCH, self._streams.resize)
        self._catch(signal.SIGTSTP, self._stop)

    def remove(self) -> None:
        """Give them back."""
        for number in self._caught:
            self._loop.remove_signal_handler(number)

    def forward_to(self, init: int) -> None:
        """From now on signals go to the command below `init`, the capsule's first process."""
        self._init = init

    def _catch(self, number: int, work: Callable[..., None], *arguments: int) -> None:
        if signal.getsignal(number) is not signal.SIG_IGN:
            self._loop.add_signal_handler(number, work, *arguments)
            self._caught.append(number)

    def _hand_on(self, number: int, tries: int = RETRIES) -> None:
        if self._init is None:
            self.first = self.first or number
            return
        pid = command_pid(self._init)
        if pid is None:
            if tries:  # bwrap has been told to start it, and has not yet
                self._loop.call_later(RETRY_SECONDS, self._hand_on, number, tries - 1)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if number in TO_GROUP and os.getpgid(pid) == pid:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)

    def _stop(self) -> None:
        pid = None if self._init is None else command_pid(self._init)
        self._streams.suspend()
        if pid is not None:
            _signal_group(pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)  # returns when continued
        if pid is not None:
            _signal_group(pid, signal.SIGCONT)
        self._streams.resume()


def command_pid(init: int, proc: Path = Path("/proc")) -> int | None:
    """The command, seen from the host: process 2 of the capsule, a child of `init`. None before it starts and after it ended."""
    try:
        children = (proc / str(init) / "task" / str(init) / "children").read_text().split()
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN: look at all that may be
        children = [entry.name for entry in proc.iterdir() if entry.name.isdigit()]
    for child in children:
        with contextlib.suppress(OSError):
            status = (proc / child / "status").read_text(errors="replace")
            fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            if fields.get("PPid", "").strip() == str(init) and fields.get("NSpid", "").split()[-1:] == ["2"]:
                return int(child)
    return None


def _signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(os.getpgid(pid), number)
