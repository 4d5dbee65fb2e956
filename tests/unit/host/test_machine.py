"""Looking at the machine; what a project chooses stays inside of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kap.errors import UsageError
from kap.host.machine import check_workspace, host_sockets, look, who
from kap.sandbox.filesystem import Found


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KAP_HOME", str(tmp_path / "state"))
    made = (tmp_path / "home" / "work").resolve()
    made.mkdir(parents=True)
    return made


def seen(
    work: Path, *, read_only: tuple[str, ...] = (), hide: tuple[str, ...] = (), extra: tuple[str, ...] = ()
) -> Found:
    return look(str(work), read_only=read_only, hide=hide, extra=extra)


def test_system_trees_and_links(work: Path) -> None:
    found = seen(work)
    assert "/usr" in found.trees
    for link in found.links:
        assert os.readlink(link.path) == link.to
    assert not {link.path for link in found.links} & set(found.trees) & set(found.etc)
    assert all(Path(path).exists() for path in (*found.trees, *found.etc))
    assert not [path for path in found.etc if "shadow" in path or "private" in path]


def test_governing_files_are_found(work: Path) -> None:
    (work / ".git" / "hooks").mkdir(parents=True)
    (work / ".envrc").write_text("")
    (work / "kap.toml").write_text("")
    assert set(seen(work).governs) == {f"{work}/.git/hooks", f"{work}/.envrc", f"{work}/kap.toml"}
    assert seen(work).unprotected == ()


def test_governing_links_are_told(work: Path) -> None:
    (work / "real").mkdir()
    (work / ".vscode").symlink_to("real")
    (work / ".devcontainer").symlink_to("/etc")
    (work / ".envrc").symlink_to("nowhere")
    found = seen(work)
    assert found.governs == (f"{work}/real",)
    assert set(found.unprotected) == {".vscode", ".devcontainer", ".envrc"}


def test_hidden_and_read_only(work: Path) -> None:
    (work / "keys").mkdir()
    (work / ".env").write_text("")
    (work / "docs").mkdir()
    found = seen(work, read_only=("docs", "not-there"), hide=("keys", ".env", "not-there"))
    assert f"{work}/docs" in found.governs
    assert found.hidden_directories == (f"{work}/keys",)
    assert found.hidden_files == (f"{work}/.env",)
    assert found.not_there == (f"{work}/not-there",)


@pytest.mark.parametrize("name", ["../secret", "/etc", "link", "link/deeper", ".", "sub/../.."])
def test_paths_of_a_project_do_not_lead_out(work: Path, name: str) -> None:
    (work / "link").symlink_to("/etc")
    for how in ({"read_only": (name,)}, {"hide": (name,)}):
        with pytest.raises(UsageError, match="not inside the project"):
            seen(work, **how)  # type: ignore[arg-type]


def test_extra_paths(work: Path, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.mkdir()
    (work / "vendor").mkdir()
    found = seen(work, extra=(str(tool), str(work / "vendor")))
    assert found.read_only == (str(tool.resolve()),)
    assert f"{work}/vendor" in found.governs
    with pytest.raises(UsageError, match="no such file"):
        seen(work, extra=(str(tmp_path / "missing"),))
    for wide in ("/", str(tmp_path / "home"), str(tmp_path), "/proc/self", "/dev"):
        with pytest.raises(UsageError, match="more than a tool needs"):
            seen(work, extra=(wide,))


def test_a_workspace_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(UsageError, match="not a directory"):
        check_workspace(str(tmp_path / "f"), ())


def test_a_home_that_is_everything_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/")
    person, homes = who()
    assert "/" not in homes
    assert person.home != "/"


def test_a_home_in_a_system_directory_is_not_used_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/usr/games")
    person, homes = who()
    assert "/usr/games" in homes, "it is covered"
    assert person.home != "/usr/games"


@pytest.mark.parametrize("place", ["/opt/shop", "/usr/src/app", "/srv/shop", "/work", "/var/www/shop", "/tmp/x"])
def test_usual_places_of_projects(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    monkeypatch.setenv("KAP_HOME", "/nowhere/state")
    check_workspace(place, ("/home/ann",))


@pytest.mark.parametrize(
    "place", ["/", "/usr", "/usr/bin", "/opt", "/usr/src", "/etc/x", "/home", "/home/ann", "/var", "/tmp", "/nix"]
)
def test_places_that_are_none(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_dir", lambda self: True)
    monkeypatch.setenv("KAP_HOME", "/nowhere/state")
    with pytest.raises(UsageError):
        check_workspace(place, ("/home/ann",))


def test_sockets_of_the_host_in_the_workspace(work: Path) -> None:
    """A live one is hidden; one that is left from a program that ended is not: the command may want to make it anew."""
    import socket

    live, dead = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    short = Path(os.path.realpath("/tmp")) / f"kap-test-{os.getpid()}"
    short.symlink_to(work)  # the path of a socket is short
    try:
        live.bind(f"{short}/live sock")
        dead.bind(f"{short}/dead")
        dead.close()
        assert host_sockets(str(work)) == [f"{work}/live sock"]
        assert seen(work).hidden_files == (f"{work}/live sock",)
    finally:
        live.close()
        short.unlink()


def test_a_table_of_garbage(tmp_path: Path) -> None:
    (tmp_path / "unix").write_bytes(b"x\n\xff\n1 2 3 4 5 6 7 \xff/relative\n")
    assert host_sockets("/w", tmp_path / "unix") == []
    assert host_sockets("/w", tmp_path / "missing") == []


def test_hooks_of_submodules_and_elsewhere(work: Path) -> None:
    for name in (
        ".git/modules/a/hooks/x",
        ".git/modules/a/modules/b/config",
        ".git/modules/a/config",
        ".githooks/pre-commit",
    ):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text("")
    (work / ".git/config").write_text("[core]\n\tHooksPath = .githooks\n\thooksPath = /etc\n\thooksPath = ../out\n")
    names = {path.removeprefix(f"{work}/") for path in seen(work).governs}
    assert names == {
        ".git/config",
        ".git/modules/a/config",
        ".git/modules/a/hooks",
        ".git/modules/a/modules/b/config",
        ".githooks",
    }


def test_a_maze_of_links_for_modules_is_not_walked(work: Path) -> None:
    maze = work / ".git/modules"
    maze.mkdir(parents=True)
    for name in "abcdef":
        (maze / name).symlink_to(".")
    (maze / "config").write_text("")
    assert seen(work).governs == (f"{maze}/config",)
