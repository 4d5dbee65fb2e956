"""Whether a changed kap.toml is the person's own, or could be a capsule's.

A capsule cannot write its kap.toml: that is a read-only mount point in there. But when a program of the host puts another file in its
place (an editor that saves by renaming, ``git checkout``), the kernel takes the mount point away, and the capsule can write the new
one. So each run notes what it started with. While the same file still stands there, only the host can have written it. Another file
with another text is refused by the next run until a person says that it is theirs.

Source: rename(2) and unlink(2) since Linux 3.18: a mount point in another mount namespace is detached.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
from pathlib import Path

import msgspec

from kap.errors import ConfigError, KapError

_MAX_NOTE = 4096
_PREFIX = "run-"


class Note(msgspec.Struct, frozen=True):
    """What a run started with: device and inode of what is mounted read-only, and the SHA-256 of the policy's text."""

    device: int
    inode: int
    text: str


class Hold:
    """The policy file of one run: held open, so that its inode number is given to no other file meanwhile."""

    def __init__(self, file: Path, text: str, directory: Path) -> None:
        self._anchor = _anchor(file)
        self._directory = directory
        self._digest = hashlib.sha256(text.encode()).hexdigest()
        self._path = directory / f"{_PREFIX}{secrets.token_hex(8)}.json"
        self._note = -1
        try:
            self._fd = os.open(self._anchor, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigError(f"{self._anchor} is gone: {error.strerror}", "run again") from error

    def check(self, *, accept: bool) -> None:
        """See that no capsule can have written the file; with `accept` a person says so. Raises `ConfigError`."""
        info = os.fstat(self._fd)
        for path in sorted(self._directory.glob(f"{_PREFIX}*.json")):
            note, over = _read(path)
            if note is None:
                continue
            same = note.text == self._digest or (note.device, note.inode) == (info.st_dev, info.st_ino)
            if not same and not accept:
                raise ConfigError(
                    f"{self._anchor} was replaced while a capsule of the project ran, which could write it from then on",
                    f"read it; if it is as you want it: kap run --accept-policy ... (kap check {self._anchor} shows problems)",
                )
            if accept or over:
                path.unlink(missing_ok=True)

    def start(self) -> None:
        """Note that a run starts. The note is locked as long as the run goes on. Raises `KapError`."""
        info = os.fstat(self._fd)
        fresh = self._path.with_suffix(".new")
        try:
            self._note = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._note, fcntl.LOCK_EX)
            os.write(self._note, msgspec.json.encode(Note(info.st_dev, info.st_ino, self._digest)))
            fresh.rename(self._path)
        except OSError as error:
            raise KapError(f"{fresh} cannot be written: {error.strerror}", "make room, or correct its owner") from error

    def end(self) -> bool:
        """The run ended: True where the file still stands, and the note is forgotten; False where it was replaced."""
        try:
            there, held = self._anchor.lstat(), os.fstat(self._fd)
            stands = (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
        except OSError:
            stands = False
        if stands:
            with contextlib.suppress(OSError):
                self._path.unlink()
        for fd in (self._fd, self._note):
            if fd >= 0:
                os.close(fd)
        return stands


def _anchor(file: Path) -> Path:
    """What is mounted read-only: the file, or the directory .devcontainer with all that is in it."""
    return file.parent if file.parent.name == ".devcontainer" else file


def _read(path: Path) -> tuple[Note | None, bool]:
    """The note, and whether its run is over. None: it is over this moment, and all was well."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                over = True
            except BlockingIOError:
                over = False
            return msgspec.json.decode(file.read(_MAX_NOTE), type=Note), over
    except FileNotFoundError:
        return None, True
    except (OSError, msgspec.MsgspecError):  # a note that says nothing speaks for nothing
        return Note(0, 0, ""), True
