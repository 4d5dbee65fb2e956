"""The command of a capsule: found on the PATH as the capsule sees it, before anything starts.

A command (or the interpreter its first line names) that the capsule would not see is an error here, with the ``--ro`` that cures it,
instead of "not found" from inside.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from kap.errors import UsageError
from kap.sandbox.environment import STANDARD_PATH
from kap.sandbox.filesystem import Found, beneath

EXIT_NOT_FOUND = 127  # as shells have it
EXIT_NOT_EXECUTABLE = 126


def visible_path(found: Found, host_path: str) -> tuple[str, ...]:
    """The directories of the host's PATH that the capsule sees, in order."""
    return tuple(
        name
        for name in host_path.split(":")
        if name.startswith("/") and _is_visible(found, name) and Path(name).is_dir()
    )


def locate(command: str, found: Found, path: Iterable[str], directory: str) -> str:
    """The absolute path of `command` in the capsule. Raises `UsageError` (exit code 127, or 126 where it cannot be executed)."""
    if "/" in command:
        candidates = [os.path.normpath(os.path.join(directory, command))]  # noqa: PTH118 - text only
    else:
        candidates = [f"{place}/{command}" for place in dict.fromkeys((*path, *STANDARD_PATH))]
    present = [name for name in candidates if _is_program(name)]
    for name in present:
        if _hidden_part(name, found) is None:
            return name
    if present:
        raise _invisible(command, _hidden_part(present[0], found) or present[0])
    if "/" in command and Path(candidates[0]).exists():
        raise UsageError(f"{command} cannot be executed", f"chmod +x {command}", EXIT_NOT_EXECUTABLE)
    elsewhere = [
        f"{place}/{command}"
        for place in os.environ.get("PATH", "").split(":")
        if "/" not in command and place.startswith("/")
    ]
    for name in elsewhere:
        if _is_program(name):
            real = os.path.realpath(name)
            hidden = _hidden_part(real, found)
            if hidden is None:  # a link the capsule does not see, to a program it does see
                return real
            raise _invisible(command, hidden)
    raise UsageError(
        f"{command}: command not found", "check the spelling, or install it on this machine", EXIT_NOT_FOUND
    )


def _is_program(path: str) -> bool:
    return os.access(path, os.X_OK) and stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - text only


def _is_visible(found: Found, path: str) -> bool:
    """Whether the capsule sees the host's `path` at the same place, links followed."""
    return _hidden_part(path, found, shebang=False) is None


def _hidden_part(path: str, found: Found, *, shebang: bool = True) -> str | None:
    """What the capsule does not see of `path`: a link on the way to it, its file, or its interpreter. None where it sees all."""
    shown = (found.workspace, *found.read_only)
    for _ in range(40):  # MAXSYMLINKS
        if any(beneath(path, place) for place in shown):
            pass
        elif any(beneath(path, place) for place in found.private) or not any(
            beneath(path, tree) for tree in _trees(found)
        ):
            return path
        if not Path(path).is_symlink():
            real = os.path.realpath(path)
            if real == path:
                return _hidden_interpreter(path, found) if shebang else None
            path = real
        else:
            path = os.path.normpath(os.path.join(os.path.dirname(path), str(Path(path).readlink())))  # noqa: PTH118, PTH120 - text only
    return path


def _trees(found: Found) -> tuple[str, ...]:
    return (*found.trees, *(link.path for link in found.links), *found.etc)


def _hidden_interpreter(path: str, found: Found) -> str | None:
    try:
        with Path(path).open("rb") as file:
            first = file.readline(256)
    except OSError:
        return None
    if not first.startswith(b"#!"):
        return None
    words = os.fsdecode(first[2:]).split()
    if not words or not words[0].startswith("/") or not Path(words[0]).exists():
        return None
    return _hidden_part(words[0], found, shebang=False)


def _invisible(command: str, hidden: str) -> UsageError:
    return UsageError(
        f"{command} needs {hidden}, and a capsule does not see that",
        f"show it to the capsule, read-only: kap run --ro {_prefix(hidden)} -- {command}",
        EXIT_NOT_FOUND,
    )


def _prefix(hidden: str) -> str:
    """The directory to show for a program at `hidden`: its installation, else the file itself."""
    real = Path(os.path.realpath(hidden))
    above = real.parent.parent
    if real.parent.name in ("bin", "sbin", "libexec", "shims") and above not in (
        Path.home(),
        Path.home() / ".local",
        Path("/"),
    ):
        return str(above)
    return str(real)
