"""What a capsule sees of the file system, decided from what the host has (`Found`). Pure: nothing here looks at the disk.

Rules: nothing is visible unless it is listed. Programs of the system are, read-only; the workspace is, writable, except for what
governs the capsule or runs on the host without being asked (`GOVERNS`); the home directory is an empty one. What is covered by a later
mount is covered for good: the capsule can neither unmount nor rename a mount point.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

import msgspec

from kap.sandbox.etc import Person, files
from kap.sandbox.plan import Devices, Directory, File, Freeze, Link, Mount, Pin, Proc, ReadOnly, Tmpfs, Writable

TREES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store")
"""Where systems keep programs. Visible read-only where they exist (as links where the host has links)."""

GOVERNS = (
    "kap.toml",
    ".devcontainer",
    ".devcontainer.json",
    ".git/hooks",
    ".git/config",
    ".git/config.worktree",
    ".vscode",
    ".idea",
    ".envrc",
)
"""Workspace paths that are read-only where they exist: they govern capsules, or a tool on the host runs what they say. The hooks and
configurations of submodules are, too."""

HIDDEN_PROC = (
    "kcore",
    "keys",
    "key-users",
    "timer_list",
    "sched_debug",
    "latency_stats",
    "kpagecount",
    "kpageflags",
    "kpagecgroup",
)
"""Files below /proc that tell about the host, not the capsule."""

RESERVED = (*TREES, "/etc", "/proc", "/sys", "/dev", "/boot", "/run")
"""No workspace lies here, where the capsule has files of its own or programs of the host lie; except below `OPEN`."""

OPEN = ("/opt", "/usr/src", "/usr/local/src", "/run/media")
"""Places below which people keep projects all the same."""

SHARED = ("/tmp", "/var", "/var/tmp", "/var/lib", "/var/log", "/var/cache", "/var/spool", "/mnt", "/media")  # noqa: S108
"""Directories of the whole machine; a workspace is never one of them."""

SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the capsule's own
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - the capsule's own
_MIB = 1024 * 1024


class Found(msgspec.Struct, frozen=True):
    """What the host has. Paths are absolute and without symbolic links, except `links` and `etc`, which are as they stand."""

    person: Person
    workspace: str
    trees: tuple[str, ...]
    links: tuple[Link, ...]
    """Those of `TREES` that are links on the host, and links like /etc/localtime."""
    etc: tuple[str, ...]
    """Paths below /etc that `kap.sandbox.etc.FROM_HOST` names."""
    governs: tuple[str, ...]
    """Workspace paths to make read-only: `GOVERNS`, ``[run] read_only``, kap's own code where it lies in the workspace."""
    unprotected: tuple[str, ...] = ()
    """Those that are symbolic links: what they lead to is read-only, but the link itself can be replaced."""
    hidden_files: tuple[str, ...] = ()
    hidden_directories: tuple[str, ...] = ()
    """What ``[run] hide`` names, inside the workspace."""
    not_there: tuple[str, ...] = ()
    """What it names and the workspace does not have: nothing is hidden, also when it is made later."""
    read_only: tuple[str, ...] = ()
    """Host paths outside the workspace that the person asked for (``--ro``)."""
    private: tuple[str, ...] = ()
    """Directories never to be seen, even below a visible tree: homes, kap's state."""
    proc: tuple[str, ...] = ()
    """Those of `HIDDEN_PROC` the kernel has."""
    memory: int = 1024 * _MIB
    """Memory of the machine in bytes; bounds the file systems in memory."""


def mounts(found: Found, hostname: str, extra: tuple[File, ...] = ()) -> tuple[Mount, ...]:
    """The mounts of a capsule, in order. `extra`: more files made by kap."""
    return tuple(_with_parents(_mounts(found, hostname, extra)))


def beneath(path: str, parent: str) -> bool:
    """Whether `path` is `parent` or lies below it; both normal and absolute."""
    return path == parent or path.startswith(parent.rstrip("/") + "/")


def _mounts(found: Found, hostname: str, extra: tuple[File, ...]) -> Iterator[Mount]:
    room = max(found.memory // 5, 256 * _MIB)  # four of them are big: together they leave memory to the machine
    for tree in found.trees:
        yield ReadOnly(tree, tree)
    yield from found.links
    yield from (ReadOnly(path, path) for path in found.etc)
    yield from files(found.person, hostname)
    # All of /proc is read-only: user 0 without any capability may still write /proc/sys, which has no namespace (core_pattern).
    yield Proc()
    yield from (File(f"/proc/{name}", b"") for name in found.proc)
    yield from (Freeze("/proc"), Devices(), Tmpfs(SHARED_MEMORY, room, 0o1777), Freeze("/dev"))
    yield from (Tmpfs(place, room, 0o1777) for place in TEMPORARY)
    yield from (Tmpfs("/run", 64 * _MIB), Link("/var/run", "/run"))
    yield from _private(found, room)
    yield from (ReadOnly(path, path) for path in found.read_only)
    yield from extra
    yield Writable(found.workspace, found.workspace)
    yield from _pins(found)
    yield from (Tmpfs(path, _MIB) for path in found.hidden_directories)
    yield from (Freeze(path) for path in found.hidden_directories)
    yield from (File(path, b"") for path in found.hidden_files)
    yield Freeze("/")


def _with_parents(mounts: Iterable[Mount]) -> Iterator[Mount]:
    """Adds the directories above each mount point that no earlier mount brings, readable for all whatever the mount's own mode."""
    brought: set[str] = set()  # mount points with directories of their own
    made = {"/"}
    for mount in mounts:
        target = _target(mount)
        for parent in [str(path) for path in PurePosixPath(target).parents][-2::-1]:
            if parent not in made and not any(beneath(parent, place) for place in brought):
                made.add(parent)
                yield Directory(parent)
        if isinstance(mount, ReadOnly | Writable | Tmpfs | Proc | Devices):
            brought.add(target)
        yield mount


def _target(mount: Mount) -> str:
    match mount:
        case Proc():
            return "/proc"
        case Devices():
            return "/dev"
        case Link(path=path) | Pin(path=path):
            return path
        case _:
            return mount.target


def _private(found: Found, room: int) -> Iterator[Mount]:
    """An empty home, and cover for what else must not be seen."""
    yield Tmpfs(found.person.home, room, 0o700)
    for path in found.private:
        if path != found.person.home and any(beneath(path, tree) for tree in found.trees):
            yield Tmpfs(path, _MIB, 0o700)


def _pins(found: Found) -> Iterator[Mount]:
    """Read-only paths, each with the directories above it as mount points, lest ``mv .git x; cp -r x .git`` make a writable copy
    that the host then takes for the real one."""
    done: set[str] = set()
    for path in sorted(found.governs):
        for parent in _between(found.workspace, path):
            if parent not in done:
                done.add(parent)
                yield Pin(parent, writable=True)
    for path in sorted(found.governs):
        yield Pin(path, writable=False)


def _between(workspace: str, path: str) -> list[str]:
    """The directories strictly between `workspace` and `path`, from the top."""
    found: list[str] = []
    parent = posixpath.dirname(path)
    while parent != workspace and beneath(parent, workspace):
        found.append(parent)
        parent = posixpath.dirname(parent)
    return found[::-1]
