"""Names of capsules, who has one, and the directories that belong to it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kap.devcontainer import identity
from kap.errors import KapError


def capsule(tmp_path: Path, project: str, written: object = None) -> identity.Capsule:
    home = tmp_path / ".kap"
    state = home / "projects" / project.replace("/", "-")
    state.mkdir(parents=True, exist_ok=True)
    return identity.choose(Path("/work") / project, home, state, written)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Shop", "shop"),
        ("c++: dev", "c-dev"),
        ("../../x", "x"),
        ("ünï", "n"),
        ("日本", "capsule"),
        ("-", "capsule"),
        ("a" * 99, "a" * 40),
        ("x.y_z", "x-y-z"),
    ],
)
def test_a_directorys_name_becomes_one_that_is_safe_everywhere(name: str, expected: str) -> None:
    assert identity.slug(name) == expected
    assert identity.is_name(expected)


@pytest.mark.parametrize("text", ["", "-a", "a-", "A", "a/b", "..", "a b", "a\n", "a" * 49, None, 7, "x$y", "ä"])
def test_what_is_no_name_is_refused(text: object) -> None:
    assert not identity.is_name(text)


def test_a_project_keeps_its_name_and_another_of_that_name_gets_its_own(tmp_path: Path) -> None:
    first = capsule(tmp_path, "a/shop")
    identity.claim(first)
    assert capsule(tmp_path, "a/shop").name == "shop"
    second = capsule(tmp_path, "b/shop")
    assert second.name.startswith("shop-")
    assert len(second.name) == len("shop-12345678")
    identity.claim(second)
    assert capsule(tmp_path, "b/shop", second.name).name == second.name


def test_a_name_written_in_a_repository_cannot_take_over_another_projects_policy(tmp_path: Path) -> None:
    identity.claim(capsule(tmp_path, "a/shop"))
    assert capsule(tmp_path, "evil", "shop").name == "evil"


@pytest.mark.parametrize("written", ["../../etc", "", 7, "shop/../x", "-"])
def test_a_name_that_is_none_is_passed_over(tmp_path: Path, written: object) -> None:
    assert capsule(tmp_path, "shop", written).name == "shop"


def test_the_state_is_closed_to_others_and_reached_by_the_name(tmp_path: Path) -> None:
    mine = capsule(tmp_path, "shop")
    identity.claim(mine)
    identity.claim(mine)
    link = tmp_path / ".kap" / "capsules" / "shop"
    assert link.is_symlink()
    assert not os.path.isabs(os.readlink(link))
    assert link.resolve() == mine.state.resolve()
    for directory in (mine.state, mine.policy, mine.log, link.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_name_whose_project_is_gone_is_free(tmp_path: Path) -> None:
    old = capsule(tmp_path, "a/shop")
    identity.claim(old)
    for directory in (old.policy, old.log, old.state):
        directory.rmdir()
    new = capsule(tmp_path, "b/shop")
    assert new.name == "shop"
    identity.claim(new)
    assert (tmp_path / ".kap" / "capsules" / "shop").resolve() == new.state.resolve()


def test_a_disk_that_refuses_is_an_error_that_says_where(tmp_path: Path) -> None:
    mine = capsule(tmp_path, "shop")
    (tmp_path / ".kap" / "capsules").write_text("in the way")
    with pytest.raises(KapError, match="state cannot be written") as raised:
        identity.claim(mine)
    assert str(tmp_path / ".kap") in raised.value.hint
