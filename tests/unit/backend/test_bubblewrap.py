"""Which bwrap is used."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.backend.bubblewrap import REQUIRED, find_engine
from kap.errors import BackendError


def fake(directory: Path, words: str = " ".join(sorted(REQUIRED))) -> str:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "bwrap"
    program.write_text(f"#!/bin/sh\necho '{words}'\n")
    program.chmod(0o755)
    return str(directory)


def test_the_first_on_the_path(tmp_path: Path) -> None:
    one, two = fake(tmp_path / "one"), fake(tmp_path / "two")
    assert find_engine(f"{one}:{two}", "/w").program == f"{one}/bwrap"


def test_not_one_in_the_workspace(tmp_path: Path) -> None:
    planted, real = fake(tmp_path / "w" / "bin"), fake(tmp_path / "real")
    workspace = str((tmp_path / "w").resolve())
    assert find_engine(f"{planted}:relative:{real}", workspace).program == f"{real}/bwrap"


def test_not_a_link_into_the_workspace(tmp_path: Path) -> None:
    planted = fake(tmp_path / "w" / "bin")
    links = tmp_path / "links"
    links.mkdir()
    (links / "bwrap").symlink_to(f"{planted}/bwrap")
    with pytest.raises(BackendError, match="needs bubblewrap"):
        find_engine(str(links), str((tmp_path / "w").resolve()))


def test_options_it_has(tmp_path: Path) -> None:
    place = fake(tmp_path, " ".join(sorted(REQUIRED)) + " --bind-fd FD DEST")
    assert find_engine(place, "/w").options == {"--bind-fd"}


def test_too_old(tmp_path: Path) -> None:
    place = fake(tmp_path, " ".join(sorted(REQUIRED - {"--perms"})))
    with pytest.raises(BackendError, match="too old: it lacks --perms"):
        find_engine(place, "/w")
