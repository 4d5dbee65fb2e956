"""Where kap keeps what it knows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kap.errors import KapError
from kap.host.state import kap_home, project_id, project_state


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KAP_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_directories_are_for_the_user_alone(home: Path, tmp_path: Path) -> None:
    home.mkdir(mode=0o755)
    state = project_state(tmp_path / "Shop & Co")
    assert state.directory.parent == home / "projects"
    assert state.id.startswith("shop-co-")
    assert state.events.name == "events.jsonl"
    for each in (home, home / "projects", state.directory):
        assert each.stat().st_mode & 0o777 == 0o700


def test_names_tell_paths_apart_and_follow_links(tmp_path: Path) -> None:
    (tmp_path / "a" / "shop").mkdir(parents=True)
    (tmp_path / "b" / "shop").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a" / "shop")
    one, other = project_id(tmp_path / "a" / "shop"), project_id(tmp_path / "b" / "shop")
    assert one != other
    assert project_id(tmp_path / "link") == one


@pytest.mark.parametrize("name", ["..", "///", "\x1b[31m", "a" * 200, "日本"])
def test_names_are_plain_and_bounded(name: str) -> None:
    made = project_id(Path("/srv") / name)
    assert len(made) <= 45
    assert made.replace("-", "").isalnum()
    assert made.isascii()


def test_nothing_is_made_for_a_look(home: Path, tmp_path: Path) -> None:
    project_state(tmp_path, create=False)
    assert not home.exists()


def test_a_file_in_the_way(home: Path, tmp_path: Path) -> None:
    home.write_text("")
    with pytest.raises(KapError, match="cannot use"):
        project_state(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to own things as somebody else")
def test_a_directory_of_somebody_else(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    os.chown(home, 65534, 65534)
    with pytest.raises(KapError, match="belongs to another user"):
        project_state(tmp_path)


def test_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAP_HOME")
    assert kap_home() == Path.home() / ".kap"
