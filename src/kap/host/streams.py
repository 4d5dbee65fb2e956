"""The command's standard input, output and error, by what the person's are.

- Input and output both a terminal: the command gets a terminal of its own and everything is relayed raw; Ctrl-C is its key, too.
- Otherwise pipes and files are inherited as they are. What is a terminal is not: output goes to a terminal of the command's own that
  is copied to the person's; input is read line by line and passed through a pipe, except in a pipeline (output is a pipe), where the
  keyboard belongs to the last command (``kap run -- git log | less``).
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import threading

from kap.backend.bubblewrap import Stdio
from kap.host.terminal import Terminal, write_all


class Streams:
    """Opened streams. `stdio` goes to the command; `interactive`: it has a terminal as its controlling terminal."""

    def __init__(self) -> None:
        _open_closed()
        tty = [os.isatty(fd) for fd in range(3)]
        self.interactive = tty[0] and tty[1]
        self._terminal: Terminal | None = None
        self._feed: _Feed | None = None
        self._null = -1
        given = [0, 1, 2]
        if self.interactive:
            self._terminal = Terminal(0, 1, raw=True)
        elif tty[1] or tty[2]:
            self._terminal = Terminal(None, 1 if tty[1] else 2, raw=False)
        if self._terminal is not None:
            given = [self._terminal.slave if tty[fd] else fd for fd in range(3)]
        if tty[0] and not self.interactive:
            given[0] = self._without_keyboard() if stat.S_ISFIFO(os.fstat(1).st_mode) else self._with_keyboard()
        self.stdio = Stdio(*given)

    def started(self) -> None:
        """Begin to relay: the command holds its ends now."""
        if self._terminal is not None:
            self._terminal.start()
        if self._feed is not None:
            self._feed.start()

    def resize(self) -> None:
        """The person's window changed its size."""
        if self._terminal is not None:
            self._terminal.resize()

    def suspend(self) -> None:
        """Give the person's terminal back, for as long as kap is stopped."""
        if self._terminal is not None:
            self._terminal.leave_raw()

    def resume(self) -> None:
        """Take it again."""
        if self._terminal is not None:
            self._terminal.enter_raw()
            self._terminal.resize()

    def close(self) -> None:
        """Pass on what is left, and restore the person's terminal."""
        if self._feed is not None:
            self._feed.close()
        if self._terminal is not None:
            self._terminal.close()
        if self._null >= 0:
            os.close(self._null)

    def _with_keyboard(self) -> int:
        self._feed = _Feed()
        return self._feed.reader

    def _without_keyboard(self) -> int:
        self._null = os.open(os.devnull, os.O_RDONLY)
        return self._null


class _Feed:
    """Lines typed at the person's terminal, through a pipe. Reads as a job of the person's shell, so in the background it stops."""

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        self._stop_reader, self._stop_writer = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        os.close(self.reader)
        self.reader = -1
        self._thread.start()

    def close(self) -> None:
        os.write(self._stop_writer, b"x")
        if self._thread.ident is not None:
            self._thread.join(1.0)
        for fd in (self.reader, self._writer, self._stop_reader, self._stop_writer):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([0, self._stop_reader], [], [])
                if self._stop_reader in ready:
                    return
                data = os.read(0, 65_536)
                if not data:
                    break
                write_all(self._writer, data)
        writer, self._writer = self._writer, -1
        os.close(writer)


def _open_closed() -> None:
    """A standard descriptor that is closed becomes /dev/null, lest the next thing opened is taken for it."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one
