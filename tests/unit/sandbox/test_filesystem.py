"""What a capsule sees, decided from what a host has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kap.sandbox.etc import Person
from kap.sandbox.filesystem import Found, beneath, mounts
from kap.sandbox.plan import Directory, File, Freeze, Link, Mount, Pin, ReadOnly, Tmpfs, Writable

PERSON = Person(1000, 1000, "ann", "ann", "/home/ann")
FOUND = Found(
    person=PERSON,
    workspace="/home/ann/work/shop",
    trees=("/usr", "/opt"),
    links=(Link("/bin", "usr/bin"),),
    etc=("/etc/ssl/certs",),
    governs=(),
)


def made(**changes: Any) -> list[Mount]:
    return list(mounts(msgspec.structs.replace(FOUND, **changes), "kap"))


def target(mount: Mount) -> str:
    return mount.path if isinstance(mount, Pin | Link) else getattr(mount, "target", "")


def test_only_the_workspace_is_writable_on_disk() -> None:
    for mount in made(governs=("/home/ann/work/shop/.git/hooks",)):
        if isinstance(mount, Writable) or (isinstance(mount, Pin) and mount.writable):
            assert beneath(target(mount), "/home/ann/work/shop")


def test_the_home_is_empty_and_under_the_workspace() -> None:
    order = [target(mount) for mount in made()]
    assert Tmpfs("/home/ann", mode=0o700, size=made()[order.index("/home/ann")].size) in made()  # type: ignore[union-attr]
    assert order.index("/home/ann") < order.index("/home/ann/work/shop")
    assert not any(isinstance(mount, ReadOnly) and beneath(mount.target, "/home") for mount in made())


def test_directories_above_a_mount_are_open_whatever_the_mounts_mode() -> None:
    made_here = made()
    assert Directory("/home") in made_here
    assert Directory("/etc") in made_here
    assert Directory("/etc/ssl") in made_here
    assert not [m for m in made_here if isinstance(m, Directory) and m.target in ("/", "/usr", "/tmp", "/proc", "/dev")]


def test_a_workspace_elsewhere() -> None:
    order = made(workspace="/srv/shop")
    assert Directory("/srv") in order
    assert Writable("/srv/shop", "/srv/shop") in order


def test_read_only_paths_have_pinned_parents_above_and_lie_over_them() -> None:
    work = "/home/ann/work/shop"
    pins = [
        m
        for m in made(governs=(f"{work}/.git/hooks", f"{work}/.git/config", f"{work}/.envrc", f"{work}/a/b/c"))
        if isinstance(m, Pin)
    ]
    assert pins == [
        Pin(f"{work}/.git", writable=True),
        Pin(f"{work}/a", writable=True),
        Pin(f"{work}/a/b", writable=True),
        Pin(f"{work}/.envrc", writable=False),
        Pin(f"{work}/.git/config", writable=False),
        Pin(f"{work}/.git/hooks", writable=False),
        Pin(f"{work}/a/b/c", writable=False),
    ]


def test_hidden_paths_come_after_the_workspace() -> None:
    work = "/home/ann/work/shop"
    order = made(hidden_files=(f"{work}/.env",), hidden_directories=(f"{work}/keys",))
    at = order.index(Writable(work, work))
    assert order.index(File(f"{work}/.env", b"")) > at
    assert order.index(Freeze(f"{work}/keys")) > [target(m) for m in order].index(f"{work}/keys") > at


def test_private_places_below_visible_trees_are_covered() -> None:
    covered = [m.target for m in made(private=("/opt/ann", "/home/ann", "/srv/x")) if isinstance(m, Tmpfs)]
    assert "/opt/ann" in covered
    assert "/srv/x" not in covered, "it is not visible anyway"


def test_the_root_and_proc_are_frozen() -> None:
    order = made(proc=("keys",))
    assert order[-1] == Freeze("/")
    assert order.index(File("/proc/keys", b"")) < order.index(Freeze("/proc"))


def test_memory_is_left_to_the_machine() -> None:
    gib = 1024**3
    sizes = [m.size for m in made(memory=16 * gib) if isinstance(m, Tmpfs)]
    assert sum(sizes) < 16 * gib


def test_generated_files() -> None:
    texts = {m.target: m.content.decode() for m in made() if isinstance(m, File)}
    assert "ann:x:1000:1000::/home/ann:/bin/sh" in texts["/etc/passwd"]
    assert texts["/etc/resolv.conf"].splitlines()[1] == "nameserver 127.0.0.1"
    assert "hosts: files dns" in texts["/etc/nsswitch.conf"]
    assert "::1 localhost" in texts["/etc/hosts"]


def test_root_is_listed_once() -> None:
    root = Person(0, 0, "root", "root", "/root")
    texts = {m.target: m.content.decode() for m in made(person=root) if isinstance(m, File)}
    assert [line.split(":")[0] for line in texts["/etc/passwd"].splitlines()] == ["root", "nobody"]


@pytest.mark.parametrize(
    ("path", "parent", "answer"),
    [("/a", "/a", True), ("/a/b", "/a", True), ("/ab", "/a", False), ("/a", "/a/b", False), ("/a", "/", True)],
)
def test_beneath(path: str, parent: str, answer: bool) -> None:
    assert beneath(path, parent) is answer
