"""A capsule as data: what is mounted where, which environment, which command. Backends lower it; nothing here touches the machine.

Mounts are applied in order, so a later one lies over an earlier one.
"""

from __future__ import annotations

import msgspec


class ReadOnly(msgspec.Struct, frozen=True, tag=True):
    """The host's `source` at `target`, read-only, without set-uid and device files."""

    source: str
    target: str


class Writable(msgspec.Struct, frozen=True, tag=True):
    """The host's `source` at `target`, writable, without set-uid and device files."""

    source: str
    target: str


class Pin(msgspec.Struct, frozen=True, tag=True):
    """A workspace path mounted on itself: a mount point cannot be renamed or removed by the capsule, so what lies below it stays
    where it is. `writable` says whether its content may change."""

    path: str
    writable: bool


class Tmpfs(msgspec.Struct, frozen=True, tag=True):
    """An empty file system in memory; `size` in bytes, `mode` the permission bits of its root."""

    target: str
    size: int
    mode: int = 0o755


class Directory(msgspec.Struct, frozen=True, tag=True):
    """An empty directory, where nothing is yet."""

    target: str
    mode: int = 0o755


class Link(msgspec.Struct, frozen=True, tag=True):
    """A symbolic link at `path` to `to`."""

    path: str
    to: str


class File(msgspec.Struct, frozen=True, tag=True):
    """A read-only file made by kap."""

    target: str
    content: bytes
    mode: int = 0o444


class Freeze(msgspec.Struct, frozen=True, tag=True):
    """Makes the mount at `target` read-only once everything in it is in place."""

    target: str


class Proc(msgspec.Struct, frozen=True, tag=True):
    """A /proc of the capsule's own processes."""


class Devices(msgspec.Struct, frozen=True, tag=True):
    """A minimal /dev: null, zero, full, random, urandom, tty, pts, shm."""


Mount = ReadOnly | Writable | Pin | Tmpfs | Directory | Link | File | Freeze | Proc | Devices


class Plan(msgspec.Struct, frozen=True):
    """One capsule. `command` is argv with an absolute path first; `environment` is complete: nothing is inherited.

    `limits` are (name of the resource as in getrlimit(2), soft, hard).
    """

    command: tuple[str, ...]
    directory: str
    mounts: tuple[Mount, ...]
    environment: tuple[tuple[str, str], ...]
    hostname: str = "kap"
    terminal: bool = False
    """The command gets a terminal of its own as controlling terminal."""
    limits: tuple[tuple[str, int, int], ...] = ()
