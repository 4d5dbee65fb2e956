"""Follow the audit log as it grows.

Rules: looks again a few times a second, since bind mounts deliver no change events. Survives rotation (what was written to the old file
until the last moment is read first, files rotated in between too), truncation (starts over), deletion (waits for a new file), a last
line that is still being written, and garbage (skipped and counted). Holds at most one block and one line.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from kap.audit.event import Event
from kap.audit.reader import LINE_LIMIT, LogReader

_BLOCK = 262_144


class Tail:
    """Gives what is appended to the log at `path` after the first `poll` or `skip_to_end`; the log need not exist yet."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._reader = LogReader(path)
        self._path = Path(path)
        self._file: BinaryIO | None = None
        self._waiting: deque[BinaryIO] = deque()
        """Newer files to read once the open one is at its end; the last one is the log itself."""
        self._partial = b""
        self._discard = False

    @property
    def skipped(self) -> int:
        """How many lines were not events."""
        return self._reader.skipped

    def skip_to_end(self) -> None:
        """Pass over what the log holds now."""
        self._advance()
        if self._file is not None:
            self._file.seek(0, os.SEEK_END)

    def poll(self) -> list[Event]:
        """Events that came since; at most one block of them, empty where nothing came. Raises `OSError` where reading is refused."""
        if self._file is None and not self._advance():
            return []
        file = self._file
        assert file is not None
        data = file.read(_BLOCK)
        if not data:
            if file.tell() > os.fstat(file.fileno()).st_size:  # truncated in place
                file.seek(0)
                self._partial, self._discard = b"", False
                data = file.read(_BLOCK)
            elif self._advance():
                return self.poll()
        return self._events(data)

    def close(self) -> None:
        """Close what is open."""
        for file in (self._file, *self._waiting):
            if file is not None:
                file.close()
        self._file = None
        self._waiting.clear()

    def _events(self, data: bytes) -> list[Event]:
        *lines, rest = data.split(b"\n")
        events: list[Event] = []
        for number, line in enumerate(lines):
            if number == 0:
                line, discard = self._partial + line, self._discard
                self._partial, self._discard = b"", False
                if discard or len(line) > LINE_LIMIT:
                    self._reader.skipped += 1
                    continue
            event = self._reader.parse(line)
            if event is not None:
                events.append(event)
        self._partial += rest
        if len(self._partial) > LINE_LIMIT:
            self._partial, self._discard = b"", True
        return events

    def _advance(self) -> bool:
        """At the end of the open file: go on to a newer one, if there is one. True when there is."""
        if not self._waiting and not self._find_newer():
            return False
        if self._file is not None:
            # Lines written between our last read and the rotation are still in the old file: it stays open until it is read out.
            more = self._file.read(1)
            if more:
                self._file.seek(-1, os.SEEK_CUR)
                return True
            self._file.close()
        self._file = self._waiting.popleft()
        self._partial, self._discard = b"", False
        return True

    def _find_newer(self) -> bool:
        """Open the files written after the open one: rotated ones in order, then the log itself."""
        mine = os.fstat(self._file.fileno()).st_ino if self._file is not None else -1
        newer: list[BinaryIO] = []
        found = False
        for path in reversed(self._reader.files()):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            found = os.fstat(file.fileno()).st_ino == mine
            if found:
                file.close()
                break
            newer.append(file)
        if not found:  # nothing was open, or it was deleted: what is rotated is older than that
            for old in newer[1:]:
                old.close()
            del newer[1:]
        self._waiting.extend(reversed(newer))
        return bool(self._waiting)


def follow(
    path: str | os.PathLike[str], *, interval: float = 0.25, sleep: Callable[[float], object] = time.sleep
) -> Iterator[list[Event]]:
    """Events appended to the log from now on, in batches as they come; an empty batch each `interval` seconds where nothing came.

    Never ends: the caller stops iterating.
    """
    tail = Tail(path)
    tail.skip_to_end()
    try:
        while True:
            batch = tail.poll()
            yield batch
            if not batch:
                sleep(interval)
    finally:
        tail.close()
