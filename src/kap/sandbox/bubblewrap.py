"""A `Plan` as the argument list of bubblewrap (bwrap 0.6 or newer). Data in, data out.

Rules: the floor (namespaces, no capabilities, death with kap, seccomp) is not optional; what a version lacks and the floor needs is
an error before start, in the backend. The environment is not in the arguments: they are readable in /proc by every user.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from kap.sandbox.plan import Devices, Directory, File, Freeze, Link, Mount, Pin, Plan, Proc, ReadOnly, Tmpfs, Writable

FLOOR = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-net",
    "--unshare-uts",
    "--unshare-cgroup-try",
    "--die-with-parent",
    "--cap-drop",
    "ALL",
)


class Descriptors(msgspec.Struct, frozen=True):
    """File descriptors bwrap finds open, for `sources` and `contents` by the mount's place in the plan (bwrap closes each after use)."""

    info: int
    seccomp: int
    sources: Mapping[int, int] = msgspec.field(default_factory=dict)
    contents: Mapping[int, int] = msgspec.field(default_factory=dict)


def arguments(plan: Plan, fds: Descriptors, *, options: frozenset[str], setsid: str = "") -> list[str]:
    """The arguments after ``bwrap``. `options` are the optional ones this bwrap has; `setsid` is the program (util-linux or busybox)
    that gives the command its controlling terminal, needed where the plan asks for one."""
    words = [*FLOOR, "--hostname", plan.hostname]
    if "--disable-userns" in options:
        words.append("--disable-userns")
    if not plan.terminal:
        words.append("--new-session")
    for index, mount in enumerate(plan.mounts):
        words += _mount(mount, fds.sources.get(index), fds.contents.get(index), options)
    words += ["--chdir", plan.directory, "--seccomp", str(fds.seccomp)]
    words += ["--info-fd", str(fds.info), "--"]
    if plan.terminal:
        words += [setsid, "-c"]
    return [*words, *plan.command]


def _mount(mount: Mount, source_fd: int | None, content_fd: int | None, options: frozenset[str]) -> list[str]:
    match mount:
        case ReadOnly(source=source, target=target):
            return _bind("--ro-bind", source, target, source_fd)
        case Writable(source=source, target=target):
            return _bind("--bind", source, target, source_fd)
        case Pin(path=path, writable=writable):
            return _bind("--bind" if writable else "--ro-bind", path, path, source_fd)
        case Tmpfs(target=target, size=size, mode=mode):
            sized = ["--size", str(size)] if "--size" in options else []
            return ["--perms", f"{mode:04o}", *sized, "--tmpfs", target]
        case Directory(target=target, mode=mode):
            return ["--perms", f"{mode:04o}", "--dir", target]
        case Link(path=path, to=to):
            return ["--symlink", to, path]
        case File(target=target, mode=mode):
            return ["--perms", f"{mode:04o}", "--ro-bind-data", str(content_fd), target]
        case Freeze(target=target):
            return ["--remount-ro", target]
        case Proc():
            return ["--proc", "/proc"]
        case Devices():
            return ["--dev", "/dev"]


def _bind(name: str, source: str, target: str, fd: int | None) -> list[str]:
    return [name, source, target] if fd is None else [f"{name}-fd", str(fd), target]
