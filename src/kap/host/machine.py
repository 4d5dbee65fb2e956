"""What this machine has, as the `Found` a capsule's file system is planned from. All the looking is here, all the deciding there.

Paths that a project chooses (``[run]``, what is in the workspace) are hostile: they are resolved here and must stay inside the workspace.
"""

from __future__ import annotations

import glob
import grp
import itertools
import os
import pwd
import re
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

from kap.errors import UsageError
from kap.host.state import kap_home
from kap.sandbox.etc import FROM_HOST, Person
from kap.sandbox.filesystem import GOVERNS, HIDDEN_PROC, OPEN, RESERVED, SHARED, TREES, Found, beneath
from kap.sandbox.plan import Link

ETC_LINKS = ("/etc/localtime", "/etc/os-release")
MAX_GOVERNING = 200
MAX_WALK = 1000
MAX_GIT_CONFIG = 65_536
_NO_HOME = "/home/user"


def look(workspace: str, *, read_only: Iterable[str], hide: Iterable[str], extra: Iterable[str]) -> Found:
    """Facts for a capsule of `workspace` (a real path). `read_only` and `hide`: workspace-relative, from kap.toml; `extra`: host
    paths a person named. Raises `UsageError`."""
    person, homes = who()
    check_workspace(workspace, homes)
    chosen = [path for path in _inside(workspace, read_only, "[run] read_only") if Path(path).exists()]
    acting = [*GOVERNS, *_submodules(workspace), *_hooks_path(workspace)]
    governs = [*_existing(workspace, acting), *chosen, *_own_code(workspace)]
    hidden = [*_inside(workspace, hide, "[run] hide"), *host_sockets(workspace)]
    links = [Link(tree, str(Path(tree).readlink())) for tree in TREES if Path(tree).is_symlink()]
    links += [
        Link(path, str(Path(path).readlink()))
        for path in ETC_LINKS
        if Path(path).is_symlink() and _leads_to(path, "/usr")
    ]
    taken = {link.path for link in links}
    outside, inside = _named(workspace, extra, homes)
    return Found(
        person=person,
        workspace=workspace,
        trees=tuple(tree for tree in TREES if tree not in taken and Path(tree).is_dir()),
        links=tuple(links),
        etc=tuple(path for path in _etc() if path not in taken),
        governs=tuple(dict.fromkeys([*governs, *inside])),
        unprotected=tuple(name for name in acting if _is_linked(workspace, name)),
        hidden_files=tuple(path for path in hidden if Path(path).exists() and not Path(path).is_dir()),
        hidden_directories=tuple(path for path in hidden if Path(path).is_dir()),
        not_there=tuple(path for path in hidden if not Path(path).exists()),
        read_only=outside,
        private=tuple(dict.fromkeys([*homes, os.path.realpath(kap_home())])),
        proc=tuple(name for name in HIDDEN_PROC if Path("/proc", name).exists()),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    )


def who() -> tuple[Person, tuple[str, ...]]:
    """The person running kap, and every directory that is their home (of the account, of ``HOME``), as real paths."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        account = pwd.getpwuid(uid)
        name, listed = account.pw_name, account.pw_dir
    except KeyError:
        name, listed = "user", ""
    try:
        group = grp.getgrgid(gid).gr_name
    except KeyError:
        group = "user"
    homes = [os.path.realpath(path) for path in (os.environ.get("HOME", ""), listed) if path.startswith("/")]
    homes = [path for path in dict.fromkeys(homes) if path != "/" and not any(beneath(tree, path) for tree in RESERVED)]
    usable = [path for path in homes if not any(beneath(path, place) for place in RESERVED)]
    return Person(uid, gid, name, group, usable[0] if usable else _NO_HOME), tuple(homes)


def check_workspace(workspace: str, homes: Iterable[str]) -> None:
    """Raises `UsageError` for a directory that must not be handed to a capsule as a whole."""
    hint = "make a directory for the project, with its kap.toml, and run kap there"
    if not Path(workspace).is_dir():
        raise UsageError(f"the project {workspace} is not a directory", "name an existing directory with --project")
    if workspace == "/":
        raise UsageError("the project is the whole file system; a capsule may write all of its project", hint)
    for home in homes:
        if beneath(home, workspace):
            raise UsageError(
                f"the project {workspace} is (or holds) the home directory; a capsule may write all of its project",
                hint,
            )
    if workspace in SHARED:
        raise UsageError(
            f"the project {workspace} belongs to the whole machine; a capsule may write all of its project", hint
        )
    is_open = any(beneath(workspace, place) and workspace != place for place in OPEN)
    for place in RESERVED:
        if (beneath(workspace, place) and not is_open) or beneath(place, workspace):
            raise UsageError(f"the project {workspace} lies in {place}, where a capsule has files of its own", hint)
    state = os.path.realpath(kap_home())
    if beneath(state, workspace) or beneath(workspace, state):
        raise UsageError(
            f"kap's own state ({state}) lies in the project, or the project in it",
            "set KAP_HOME to a directory outside",
        )


def _submodules(workspace: str) -> list[str]:
    """Configurations and hooks of the submodules' git directories, workspace-relative. Follows no links and looks at a bounded number
    of directories: what lies there a capsule may have made."""
    found: list[str] = []
    walk = os.walk(f"{workspace}/.git/modules", followlinks=False)
    for directory, below, files in itertools.islice(walk, MAX_WALK):
        here = os.path.relpath(directory, workspace)
        found += [f"{here}/{name}" for name in ("hooks", "config") if name in below or name in files]
        below[:] = [name for name in below if name not in ("objects", "refs", "logs", "hooks")]
    return found[:MAX_GOVERNING]


def _hooks_path(workspace: str) -> list[str]:
    """The directory that git runs hooks from instead of .git/hooks, where its configuration names one in the workspace."""
    try:
        # Whatever an earlier capsule left there: a pipe would be waited for.
        opened = os.open(f"{workspace}/.git/config", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                return []
            text = file.read(MAX_GIT_CONFIG).decode("utf-8", "replace")
    except OSError:
        return []
    named = re.findall(r"^\s*hooksPath\s*=\s*\"?([^\"\n]+)", text, re.IGNORECASE | re.MULTILINE)
    return [os.path.normpath(name.strip()) for name in named if not name.startswith(("/", "~")) and ".." not in name]


def _existing(workspace: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that exist. One that is a link, or below one, is protected where it leads to, if that is in the workspace."""
    paths = (os.path.realpath(f"{workspace}/{name}") for name in names if os.path.lexists(f"{workspace}/{name}"))
    return [path for path in paths if beneath(path, workspace) and path != workspace and Path(path).exists()]


def _is_linked(workspace: str, name: str) -> bool:
    path = f"{workspace}/{name}"
    return os.path.lexists(path) and os.path.realpath(path) != path


def _inside(workspace: str, names: Iterable[str], where: str) -> list[str]:
    """The real paths of `names`, which a project chose; those that do not exist included. Raises `UsageError`."""
    found = []
    for name in names:
        path = os.path.realpath(f"{workspace}/{name}")
        if name.startswith("/") or not beneath(path, workspace) or path == workspace:
            raise UsageError(
                f"{where}: {name} is not inside the project (it leads to {path})", "name a path inside the project"
            )
        found.append(path)
    return found


def host_sockets(workspace: str, table: Path = Path("/proc/net/unix")) -> list[str]:
    """Unix sockets in the workspace that programs of the host have open: no network namespace would keep a capsule from them.

    Best effort: a program that bound one by a relative path, or in another network namespace, is not in the table (proc(5)).
    """
    try:
        lines = table.read_bytes().splitlines()[1:]
    except OSError:
        return []
    named = (os.fsdecode(fields[7]) for line in lines if len(fields := line.split(None, 7)) == 8)
    paths = (os.path.realpath(name) for name in named if name.startswith("/"))
    return list(dict.fromkeys(path for path in paths if beneath(path, workspace) and Path(path).is_socket()))


def _own_code(workspace: str) -> list[str]:
    """kap itself, where it runs from the workspace: what a capsule writes there would run on the host next time."""
    own = {os.path.realpath(path) for path in (Path(__file__).parents[1], sys.prefix, sys.base_prefix)}
    return [path for path in own if beneath(path, workspace) and path != workspace]


def _named(workspace: str, extra: Iterable[str], homes: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of ``--ro``: (outside the workspace, inside of it), real and existing."""
    outside: list[str] = []
    inside: list[str] = []
    for name in extra:
        path = os.path.realpath(name)
        if not Path(path).exists():
            raise UsageError(f"--ro {name}: there is no such file or directory", "name an existing path")
        too_wide = (
            path == "/"
            or any(beneath(home, path) for home in homes)
            or any(beneath(path, p) for p in ("/proc", "/sys", "/dev"))
        )
        if too_wide or beneath(os.path.realpath(kap_home()), path) or beneath(path, os.path.realpath(kap_home())):
            raise UsageError(
                f"--ro {name}: that would show more than a tool needs", "name the directory of the tool itself"
            )
        if path != workspace:
            (inside if beneath(path, workspace) else outside).append(path)
    return tuple(sorted(outside)), tuple(inside)


def _etc() -> list[str]:
    found: list[str] = []
    for name in FROM_HOST:
        paths = sorted(glob.glob(f"/etc/{name}")) if name.endswith("*") else [f"/etc/{name}"]  # noqa: PTH207 - text in, text out
        found += [path for path in paths if Path(path).exists()]
    return found


def _leads_to(path: str, place: str) -> bool:
    target = os.path.realpath(path)
    return beneath(target, place) and Path(target).exists()
