"""Carry fixes out on a kap.toml: show the difference, ask, keep a copy, write.

Rules: what is written parses, checks without errors, and differs in exactly what was shown; the old text is kept beside the file before
the file is touched; a file that changed meanwhile is left alone.
"""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from io import FileIO
from pathlib import Path

import msgspec

from kap.audit.printable import printable
from kap.config import files
from kap.config.check import check
from kap.config.problem import Edit, Fix
from kap.document import edits
from kap.document.toml import parse
from kap.errors import KapError

_BACKUPS = 1000
_PREVIEW = 160
_PREVIEW_LINES = 3


class Change(msgspec.Struct, frozen=True):
    """`before` becomes `after` in `path`. `done`: the fixes in it; `impossible`: those that are not, each with why."""

    path: Path
    before: str
    after: str
    done: tuple[Fix, ...]
    impossible: tuple[tuple[Fix, str], ...] = ()

    def diff(self) -> str:
        """The unified diff, "" where nothing changes."""
        lines = difflib.unified_diff(
            self.before.splitlines(keepends=True), self.after.splitlines(keepends=True), str(self.path), str(self.path)
        )
        return "".join(line if line.endswith("\n") else line + "\n\\ No newline at end of file\n" for line in lines)


def plan(path: Path, fixes: Sequence[Fix]) -> Change:
    """What carrying out `fixes` makes of the file at `path`; nothing is written. Raises `KapError` where the file cannot be edited."""
    reading = files.read(path)
    if reading.text is None:
        reason = reading.problem.message if reading.problem else "it cannot be read"
        raise KapError(f"{path} cannot be edited: {reason}", "repair it first: kap check shows how")
    before = after = reading.text
    if check(parse(before), path=str(path)).file is None:
        raise KapError(f"{path} has errors, so it is not edited", f"repair it first: kap check {path}")
    done: list[Fix] = []
    impossible: list[tuple[Fix, str]] = []
    seen: set[Edit] = set()
    for fix in sorted(fixes, key=_order):
        fresh = [edit for edit in fix.edits if edit not in seen]
        seen.update(fresh)
        if not fresh:
            continue
        try:
            after = _valid(edits.apply(after, fresh), path)
            done.append(fix)
        except KapError as error:
            impossible.append((fix, error.message))
    return Change(path, before, after, tuple(done), tuple(impossible))


def preview(name: str, text: str, fix: Fix) -> tuple[str, ...]:
    """``kap.toml:3:  allow = ["a.example.com"]``: the lines that `fix` makes of `text`; () where that is not possible or too much."""
    try:
        after = edits.apply(text, fix.edits)
    except KapError:
        return ()
    old, new = text.splitlines(), after.splitlines()
    start = next(
        (at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), min(len(old), len(new))
    )
    end = len(new)
    while end > start and end - len(new) + len(old) > start and new[end - 1] == old[end - len(new) + len(old) - 1]:
        end -= 1
    made = [(at, new[at].strip()) for at in range(start, end) if new[at].strip()]
    if len(made) > _PREVIEW_LINES or any(len(line) > _PREVIEW for _, line in made):
        return ()
    return tuple(f"{name}:{at + 1}:  {printable(line, _PREVIEW, composed=True)}" for at, line in made)


def write(change: Change) -> Path:
    """Put the change in place; gives the copy of the old text. Raises `KapError`, and leaves the file as it is then.

    What is inside a capsule can write this folder: no link is followed, and every step is taken in the folder that was opened. The file
    is written where it is, not replaced by another: a capsule that runs has it as a read-only mount point, which goes when it is replaced.
    """
    path = change.path
    if path.is_symlink():
        raise KapError(f"{path} is a link, so it is not edited", f"edit {path.resolve()} by hand")
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(path.name, flags, dir_fd=folder), "r+b", buffering=0) as file:
                mode = _same(file, change)
                backup = _backup(folder, change, mode)
                _overwrite(file, change)
        finally:
            os.close(folder)
    except OSError as error:
        hint = "make the file and its folder writable for you"
        raise KapError(f"{path} cannot be written: {error.strerror}", hint) from error
    return path.with_name(backup)


def _same(file: FileIO, change: Change) -> int:
    """The mode of the file, which is still what it was. Raises `KapError` where it is not."""
    before, info = change.before.encode(), os.fstat(file.fileno())
    if not stat.S_ISREG(info.st_mode) or os.pread(file.fileno(), len(before) + 1, 0) != before:
        raise KapError(
            f"{change.path} was changed by somebody else meanwhile; nothing was written", "run the command again"
        )
    if info.st_nlink != 1:
        raise KapError(f"{change.path} has other names (hard links), so it is not edited", "edit it by hand")
    return stat.S_IMODE(info.st_mode)


def _overwrite(file: FileIO, change: Change) -> None:
    """The new text instead of the old one, on the disk; the old one again where that fails. Raises `OSError`."""
    try:
        _put(file, change.after.encode())
    except OSError:
        with suppress(OSError):
            _put(file, change.before.encode())
        raise


def _put(file: FileIO, data: bytes) -> None:
    os.posix_fallocate(file.fileno(), 0, max(len(data), 1))  # a full disk is noticed before anything is lost
    done = 0
    while done < len(data):
        done += os.pwrite(file.fileno(), data[done:], done)
    os.ftruncate(file.fileno(), len(data))
    os.fsync(file.fileno())


def _order(fix: Fix) -> tuple[int, tuple[int, ...]]:
    """Removals first and from the end, so that the routes of the others still hold."""
    last = [step for edit in fix.edits if edit.op == "remove" for step in edit.route if isinstance(step, int)]
    return (0, tuple(-number for number in last)) if last else (1, ())


def _valid(text: str, path: Path) -> str:
    checked = check(parse(text), path=str(path))
    if checked.file is None:
        worst = next(problem for problem in checked.problems if problem.severity == "error")
        raise KapError(worst.message)
    return text


def _backup(folder: int, change: Change, mode: int) -> str:
    """Write the old text to ``kap.toml.bak``, or the next free name after it; the name."""
    for number in range(_BACKUPS):
        name = f"{change.path.name}.bak{number or ''}"
        with suppress(FileExistsError):
            _create(folder, name, change.before, mode)
            return name
    raise KapError(f"there are {_BACKUPS} copies of {change.path} already", f"remove some of {change.path.name}.bak*")


def _create(folder: int, name: str, text: str, mode: int) -> None:
    """A new file of this text and mode, on the disk. Raises `OSError`, and leaves no part of one."""
    descriptor = os.open(
        name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
    except BaseException:
        os.unlink(name, dir_fd=folder)
        raise
