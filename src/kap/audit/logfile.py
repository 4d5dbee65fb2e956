"""An append-only file that rotates by size: the disk half of the audit log.

Rules: several processes may append to one path (each `write` is one ``O_APPEND`` call of whole lines); whoever finds the file too
large renames it away under a lock, everybody else notices by the inode and opens the new one. The same look at the inode before each
write survives a foreign logrotate and a deleted file. Never more than `keep` old files. Created 0600 in folders created 0700; a
symlink, FIFO or device in its place is an error, never written to.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class LogFile:
    """`max_bytes`: size at which the file is renamed to ``path.1`` (and so on up to ``path.<keep>``). Not thread-safe."""

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.keep = keep
        self._fd = -1
        self._torn = False

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Append `data` (whole lines); gives how many of its bytes were written. Less than all means the disk is full: the next
        write starts a new line, so a reader loses the torn line only. Raises `OSError` when nothing could be written."""
        size = self._ready()
        if size and size + len(data) > self.max_bytes:
            self._rotate()
        if self._torn:
            os.write(self._fd, b"\n")
            self._torn = False
        done = os.write(self._fd, data)
        self._torn = done < len(data)
        return done

    def close(self) -> None:
        """Close the file; a later `write` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _ready(self) -> int:
        """Have the file that stands at the path open now; gives its size in bytes."""
        if self._fd >= 0:
            try:
                there = os.lstat(self.path)
                mine = os.fstat(self._fd)
                if (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev):
                    return there.st_size
            except FileNotFoundError:
                pass
            self.close()
            self._torn = False
        return self._open()

    def _open(self) -> int:
        make_private_dir(self.path.parent)
        fd = os.open(self.path, _FLAGS, 0o600)
        info = os.fstat(fd)
        if not stat.S_ISREG(info.st_mode):
            os.close(fd)
            raise OSError(errno.EINVAL, "not a regular file", str(self.path))
        if info.st_mode & 0o077:
            with contextlib.suppress(OSError):  # another owner's file: still usable, its mode is theirs
                os.fchmod(fd, 0o600)
        self._fd = fd
        return info.st_size

    def _rotate(self) -> None:
        """Rename the file away and open a new one; does nothing where another process is doing that just now."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        there = os.lstat(self.path)
        if there.st_ino == os.fstat(self._fd).st_ino:
            self._shift()
        self.close()
        self._open()

    def _shift(self) -> None:
        for extra in range(self.keep + 1, self.keep + 1000):  # `keep` was larger once
            try:
                self._old(extra).unlink()
            except FileNotFoundError:
                break
        if self.keep == 0:
            self.path.unlink()
            return
        for number in range(self.keep, 1, -1):
            with contextlib.suppress(FileNotFoundError):
                self._old(number - 1).rename(self._old(number))
        self.path.rename(self._old(1))

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


def make_private_dir(path: Path) -> None:
    """Create `path` and the missing folders above it, each 0700; folders that exist keep their mode. Raises `OSError`."""
    missing: list[Path] = []
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for folder in reversed(missing):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
