"""Run a Python program as uid 65534, started by root: ``unshare -m python as_nobody.py ARGUMENTS...`` is ``python ARGUMENTS...``.

Where the interpreter or the checkout lies in a directory closed to others (root's home), the mount namespace gets an open directory in
its place, with only those in it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

NOBODY = 65534
REPO = Path(__file__).resolve().parents[2]


def closed_ancestor(path: Path) -> Path | None:
    """The outermost directory above `path` that others may not enter."""
    return next((each for each in reversed(path.parents) if not each.stat().st_mode & 0o001), None)


def mount(*arguments: object) -> None:
    """mount(8)."""
    subprocess.run(["mount", *map(str, arguments)], check=True)


def open_up(paths: list[Path]) -> None:
    """Make `paths` reachable for everybody in this mount namespace."""
    closed: dict[Path, list[Path]] = {}
    for path in paths:
        ancestor = closed_ancestor(path)
        if ancestor is not None:
            closed.setdefault(ancestor, []).append(path)
    for ancestor, needed in closed.items():
        kept = []
        for path in needed:
            place = tempfile.mkdtemp(prefix="kap-test-open-")
            mount("--bind", path, place)
            kept.append((place, path))
        mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", ancestor)
        for place, path in kept:
            path.mkdir(parents=True, exist_ok=True)
            mount("--move", place, path)
            os.rmdir(place)


mount("--make-rprivate", "/")
open_up(sorted({Path(os.path.realpath(place)) for place in (sys.base_prefix, sys.prefix, REPO)}))
os.setgroups([])
os.setresgid(NOBODY, NOBODY, NOBODY)
os.setresuid(NOBODY, NOBODY, NOBODY)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
