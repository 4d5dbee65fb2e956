"""Read the audit log back: from the start, from a time on, or the last few. To follow it as it grows: `kap.audit.tail`.

Rules: lines are input, not trusted: what is not a whole event is skipped and counted, a line longer than 64 KiB is never held. Memory
is bounded by one block whatever the size of the log. Rotated files (``path.4`` ... ``path.1``) are read before the file itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from kap.audit.event import Event

LINE_LIMIT = 65_536
"""Bytes of the longest line that is read; the log itself writes at most about 20,000."""

_BLOCK = 262_144
_SLACK = 5.0
"""Seconds by which lines may be out of order: a full disk or a second writer delays some."""
_DENIAL_MARKS = (b'"verdict":"deny"', b'"egress.revoked"')
_decoder = msgspec.json.Decoder(Event)


class LogReader:
    """Reads the log at `path`. `skipped` counts lines that were not events."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.skipped = 0

    def files(self) -> list[Path]:
        """The files of the log that exist, oldest first."""
        found: list[tuple[int, Path]] = []
        try:
            for entry in self.path.parent.iterdir():
                number = entry.name[len(self.path.name) + 1 :]
                if entry.name.startswith(self.path.name + ".") and number.isascii() and number.isdigit():
                    found.append((int(number), entry))
        except OSError:
            return []
        old = [path for _, path in sorted(found, reverse=True)]
        return [*old, self.path] if self.path.is_file() else old

    def read(
        self, *, since: float | None = None, until: float | None = None, denials_only: bool = False
    ) -> Iterator[Event]:
        """Events in the order they were written, with ``since <= ts <= until`` (seconds since the epoch).

        `denials_only` leaves out lines that hold no denial before they are parsed, which makes a large log quick to search. Raises
        `OSError` where a file cannot be read; a file that vanishes meanwhile is passed over.
        """
        for path in self.files():
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                if since is not None:
                    if os.fstat(file.fileno()).st_mtime < since - _SLACK:
                        continue
                    self._seek_time(file, since - _SLACK)
                for line in self._denials(file) if denials_only else self._lines(file):
                    event = self.parse(line)
                    if (
                        event is None
                        or (since is not None and event.ts < since)
                        or (until is not None and event.ts > until)
                    ):
                        continue
                    yield event

    def last(self, count: int, *, wanted: Callable[[Event], bool] = lambda event: True) -> list[Event]:
        """The newest `count` events that are `wanted`, oldest first; reads backwards and stops as soon as it has them."""
        found: list[Event] = []
        for path in reversed(self.files()):
            try:
                file = path.open("rb")
            except FileNotFoundError:
                continue
            with file:
                for line in self._lines_backwards(file):
                    event = self.parse(line)
                    if event is not None and wanted(event):
                        found.append(event)
                        if len(found) >= count:
                            return found[::-1]
        return found[::-1]

    def parse(self, line: bytes) -> Event | None:
        """One line as an event; None (and one more `skipped`) where it is not one."""
        if not line.strip():
            return None
        try:
            return _decoder.decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            self.skipped += 1
            return None

    def _denials(self, file: BinaryIO) -> Iterator[bytes]:
        """Of the whole lines from the current position on, those that may hold a denial; blocks without any are passed over unsplit."""
        while block := file.read(_BLOCK):
            end = b"" if block.endswith(b"\n") else file.readline(LINE_LIMIT)
            block += end
            if not block.endswith(b"\n"):  # a line that is endless, or still being written
                block = block[: block.rfind(b"\n") + 1]
                if len(end) == LINE_LIMIT:
                    self._skip_line(file)
            if not any(mark in block for mark in _DENIAL_MARKS):
                continue
            for line in block.split(b"\n"):
                if len(line) > LINE_LIMIT:
                    self.skipped += 1
                elif any(mark in line for mark in _DENIAL_MARKS):
                    yield line

    def _lines(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole lines from the current position on; a last line without its end is left out (it is still being written)."""
        while line := file.readline(LINE_LIMIT):
            if line.endswith(b"\n"):
                yield line
            elif len(line) == LINE_LIMIT:
                self._skip_line(file)

    def _skip_line(self, file: BinaryIO) -> None:
        """Pass over the rest of a line that is too long."""
        while (rest := file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
            pass
        self.skipped += 1

    def _lines_backwards(self, file: BinaryIO) -> Iterator[bytes]:
        """Whole lines from the end to the start; what stands behind the last line end is left out."""
        position = file.seek(0, os.SEEK_END)
        carry = b""  # what is known of the line whose start lies in an earlier block
        too_long = False
        ended = False  # a line end was seen behind the carry
        while position > 0:
            size = min(LINE_LIMIT, position)
            position -= size
            file.seek(position)
            pieces = file.read(size).split(b"\n")
            pieces[-1] += carry
            for line in pieces[:0:-1]:
                if ended and not too_long and len(line) <= LINE_LIMIT:
                    yield line
                elif ended:
                    self.skipped += 1
                ended, too_long = True, False
            too_long = too_long or len(pieces[0]) > LINE_LIMIT
            carry = b"" if too_long else pieces[0]
        if ended and not too_long:
            yield carry

    def _seek_time(self, file: BinaryIO, moment: float) -> None:
        """Move to a line start before which every line is older than `moment`, by bisection (lines are in order of time)."""
        low, high = 0, os.fstat(file.fileno()).st_size
        while high - low > _BLOCK:
            middle = (low + high) // 2
            file.seek(middle)
            file.readline(LINE_LIMIT)
            stamp = self._next_stamp(file)
            if stamp is None or stamp >= moment:
                high = middle
            else:
                low = middle
        file.seek(low)
        if low:
            file.readline(LINE_LIMIT)

    @staticmethod
    def _next_stamp(file: BinaryIO) -> float | None:
        for _ in range(64):
            line = file.readline(LINE_LIMIT)
            if not line:
                return None
            try:
                return _decoder.decode(line).ts
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                continue
        return None


def read(path: str | os.PathLike[str], since: float | None = None, until: float | None = None) -> Iterator[Event]:
    """Events of the log at `path` between two times; see `LogReader.read`."""
    return LogReader(path).read(since=since, until=until)
