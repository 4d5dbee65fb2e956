"""Put the files of one ``kap init`` in place all together, and remember what they were: in the host's state, not in the project.

Rules: what will be written is remembered before anything is; a run that was interrupted is undone by the next one; a file is replaced
whole, with its mode; a file that changed since it was shown is left alone, and everything else with it; no link leads out of the project.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from kap.audit.printable import printable
from kap.errors import KapError

RECORD = "init.json"


class Change(msgspec.Struct, frozen=True):
    """`path` (real, inside the project) holds `before` and will hold `after`; None: there is no such file."""

    path: str
    before: bytes | None
    after: bytes | None

    def diff(self, project: Path) -> str:
        """The unified diff, fit for a terminal: control characters of the files are shown, not obeyed."""
        name = os.path.relpath(self.path, project)
        old, new = (_lines(side) for side in (self.before, self.after))
        sides = (
            f"a/{name}" if self.before is not None else "/dev/null",
            f"b/{name}" if self.after is not None else "/dev/null",
        )
        lines = difflib.unified_diff(old, new, *sides, lineterm="")
        return "".join(_shown(line) + "\n" for line in lines)


class Record(msgspec.Struct):
    """What init did in a project. `done`: false while it is at it. `made`: directories it made. `accepted`: it accepted the policy."""

    files: list[Change] = []
    made: list[str] = []
    done: bool = False
    accepted: bool = False
    version: int = 1


def load(state: Path) -> Record:
    """The record in the project's `state`; an empty one where there is none. Raises `KapError` for one that cannot be read."""
    path = state / RECORD
    try:
        return msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return Record(done=True)
    except (OSError, msgspec.DecodeError) as error:
        raise KapError(
            f"{path} cannot be read: {error}", "move it away: kap can then only take out what it knows as its own"
        ) from error


def read(path: Path, project: Path) -> bytes | None:
    """The content of a file of the `project`, None where there is none. Raises `KapError` for what cannot be edited safely."""
    real = target(path, project)
    try:
        found = real.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KapError(
            f"{path} cannot be read: {error.strerror}", "make it and its directory readable for you"
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise KapError(f"{path} is no plain file", "replace it by one")
    if found.st_size > 1_048_576:
        raise KapError(f"{path} is larger than 1 MiB", "is this really a file for kap to edit?")
    try:
        return real.read_bytes()
    except OSError as error:
        raise KapError(f"{path} cannot be read: {error.strerror}", "make it readable for you") from error


def target(path: Path, project: Path) -> Path:
    """Where `path` really is. Raises `KapError` where a link leads out of the `project`."""
    real = Path(os.path.realpath(path))
    if not real.is_relative_to(project):
        raise KapError(f"{path} leads out of the project, to {real}", "replace the link by what it leads to")
    return real


def apply(
    changes: Sequence[Change], state: Path, *, accepted: bool = False, last: Callable[[], None] = lambda: None
) -> Record:
    """Carry `changes` out, then `last`, and remember them. Raises `KapError` with every file as it was."""
    old = load(state)
    record = Record(_together(old, changes), sorted({*old.made, *_missing(changes)}), False, accepted or old.accepted)
    for change in changes:
        writable(Path(change.path))
        if _now(Path(change.path)) != change.before:
            raise KapError(f"{change.path} was changed meanwhile", "look at the difference again: run it once more")
    save(record, state)
    try:
        for change in changes:
            put(Path(change.path), change.after)
        last()
    except (OSError, KapError) as error:
        undo(changes)
        save(old, state) if old.files else (state / RECORD).unlink(missing_ok=True)
        _remove_empty(record.made)
        if isinstance(error, KapError):
            raise
        raise KapError(
            f"{error.filename}: {error.strerror}", "nothing was changed; make it writable for you"
        ) from error
    record.done = True
    save(record, state)
    return record


def heal(state: Path) -> list[str]:
    """Undo what an interrupted run left; gives the files that were put back."""
    record = load(state)
    if record.done:
        return []
    healed = undo(record.files)
    _remove_empty(record.made)
    (state / RECORD).unlink(missing_ok=True)
    return healed


def undo(changes: Sequence[Change]) -> list[str]:
    """Put back what `changes` wrote, where it still stands as written."""
    back = []
    for change in reversed(changes):
        path = Path(change.path)
        _temporary(path).unlink(missing_ok=True)
        if change.after != change.before and _now(path) == change.after:
            put(path, change.before)
            back.append(change.path)
    return back


def put(path: Path, content: bytes | None) -> None:
    """Replace the file at `path` whole, mode and owner kept; None removes it. Raises `OSError`."""
    if content is None:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = _temporary(path)
    new.unlink(missing_ok=True)
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            with contextlib.suppress(FileNotFoundError):
                about = path.stat()
                os.fchmod(handle, stat.S_IMODE(about.st_mode))
                if (about.st_uid, about.st_gid) != (os.geteuid(), os.getegid()):
                    with contextlib.suppress(PermissionError):
                        os.fchown(handle, about.st_uid, about.st_gid)
            file.write(content)
            file.flush()
            os.fsync(handle)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def save(record: Record, state: Path) -> None:
    """Write the record. Raises `KapError`."""
    try:
        put(state / RECORD, msgspec.json.encode(record))
    except OSError as error:
        raise KapError(
            f"{state / RECORD} cannot be written: {error.strerror}", "make kap's state writable for you"
        ) from error


def forget(record: Record, state: Path) -> None:
    """Remove the record, and the directories init made, where they are empty."""
    _remove_empty(record.made)
    (state / RECORD).unlink(missing_ok=True)


def writable(path: Path) -> None:
    """Raise `KapError` where `path` must not or cannot be replaced."""
    there = os.path.lexists(path)
    folder = next(p for p in path.parents if os.path.lexists(p))
    for place in (path, folder) if there else (folder,):
        if not os.access(place, os.W_OK):
            raise KapError(f"{place} is read-only for you", "make it writable: chmod u+w, or run kap as its owner")


def _together(old: Record, changes: Sequence[Change]) -> list[Change]:
    """What is remembered after `changes`: the first `before`, the last `after`."""
    files = {one.path: one for one in old.files}
    for change in changes:
        earlier = files.get(change.path)
        first = earlier.before if earlier is not None and earlier.after == change.before else change.before
        files[change.path] = Change(change.path, first, change.after)
    return list(files.values())


def _missing(changes: Sequence[Change]) -> Iterator[str]:
    for change in changes:
        yield from (str(p) for p in Path(change.path).parents if not p.exists())


def _remove_empty(made: Sequence[str]) -> None:
    for place in sorted(made, key=len, reverse=True):
        with contextlib.suppress(OSError):
            Path(place).rmdir()


def _now(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise KapError(f"{path} cannot be read: {error.strerror}", "make it readable for you") from error


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.kap-new")


def _lines(content: bytes | None) -> list[str]:
    return (content or b"").decode("utf-8", "replace").splitlines(keepends=True)


def _shown(line: str) -> str:
    """A line of a diff as a terminal may have it: tabs stay."""
    parts = line.rstrip("\r\n").split("\t")
    return "\t".join(printable(part, len(part), composed=True) for part in parts)
