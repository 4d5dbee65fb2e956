"""The command's terminal: a pseudo-terminal of its own, relayed to the person's.

The person's terminal itself never enters the capsule: a process that holds it could read what is typed to other programs.
Two threads relay, so a slow or stopped terminal never holds up the planes, which share the main thread's loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import threading
import tty
from collections.abc import Callable
from typing import Any

DRAIN_SECONDS = 2.0
_CHUNK = 65_536


class Terminal:
    """A new pseudo-terminal. `slave` is the command's end; `start` begins to relay, `close` ends and restores the person's terminal.

    `source`: the descriptor of the person's keyboard, None where standard input is no terminal; `sink`: where output goes.
    `raw`: keys pass unprocessed (the command's own terminal interprets them).
    """

    def __init__(self, source: int | None, sink: int, *, raw: bool) -> None:
        self._source = source
        self._sink = sink
        self._raw = raw
        self._saved: list[Any] | None = None
        self._master, self.slave = os.openpty()
        os.set_inheritable(self.slave, False)
        self._stop_reader, self._stop_writer = os.pipe()
        self._threads: list[threading.Thread] = []
        with contextlib.suppress(termios.error):
            termios.tcsetattr(self.slave, termios.TCSANOW, termios.tcgetattr(sink if source is None else source))
        self.resize()

    def start(self) -> None:
        """Relay from now on. Call once the command holds its end; ours is closed here."""
        os.close(self.slave)
        self.slave = -1
        self.enter_raw()
        self._spawn(self._relay_output)
        if self._source is not None:
            self._spawn(self._relay_input)

    def resize(self) -> None:
        """Give the command's terminal the size of the person's; the kernel tells the command (SIGWINCH)."""
        with contextlib.suppress(OSError):
            size = fcntl.ioctl(self._sink, termios.TIOCGWINSZ, b"\0" * 8)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def enter_raw(self) -> None:
        """Stop the person's terminal from interpreting keys."""
        if self._raw and self._source is not None:
            with contextlib.suppress(termios.error):
                if self._saved is None:
                    self._saved = termios.tcgetattr(self._source)
                tty.setraw(self._source, termios.TCSADRAIN)

    def leave_raw(self) -> None:
        """Restore the person's terminal."""
        if self._saved is not None and self._source is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._source, termios.TCSADRAIN, self._saved)

    def close(self) -> None:
        """Pass on what the command still said, restore the person's terminal, end the relay."""
        if self.slave >= 0:
            os.close(self.slave)
            self.slave = -1
        os.write(self._stop_writer, b"x")
        for thread in self._threads:
            thread.join(DRAIN_SECONDS)
        self.leave_raw()
        for fd in (self._master, self._stop_reader, self._stop_writer):
            os.close(fd)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _relay_output(self) -> None:
        """Until every holder of the slave is gone: the kernel then gives EIO, after the last byte."""
        with contextlib.suppress(OSError):
            while data := os.read(self._master, _CHUNK):
                write_all(self._sink, data)

    def _relay_input(self) -> None:
        assert self._source is not None
        with contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([self._source, self._stop_reader], [], [])
                if self._stop_reader in ready:
                    return
                data = os.read(self._source, _CHUNK)
                if not data:
                    write_all(self._master, self._end_of_file())
                    return
                write_all(self._master, data)

    def _end_of_file(self) -> bytes:
        """The key that means end of file on the command's terminal (Ctrl-D, unless it chose another)."""
        key = termios.tcgetattr(self._master)[6][termios.VEOF]
        return key if isinstance(key, bytes) else b"\x04"


def write_all(fd: int, data: bytes) -> None:
    """Write everything; blocks. Raises `OSError`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
