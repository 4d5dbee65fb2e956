"""A docker that a capsule wrote into its project is never run on the host."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.devcontainer.docker_program import docker
from kap.errors import BackendError


def program(directory: Path) -> Path:
    directory.mkdir(parents=True)
    file = directory / "docker"
    file.write_text("#!/bin/sh\n")
    file.chmod(0o755)
    return file


@pytest.mark.parametrize("policy", ["kap.toml", ".devcontainer/kap.toml"])
def test_a_docker_of_a_project_is_passed_over(tmp_path: Path, policy: str) -> None:
    planted = program(tmp_path / "project/.venv/bin")
    real = program(tmp_path / "usr/bin")
    file = tmp_path / "project" / policy
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    assert docker(f"{planted.parent}:{real.parent}") == str(real)
    with pytest.raises(BackendError, match="docker command was not found"):
        docker(str(planted.parent))
    (tmp_path / "links").mkdir()
    (tmp_path / "links/docker").symlink_to(planted)
    with pytest.raises(BackendError):
        docker(f"{tmp_path}/links")


def test_relative_places_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin")
    monkeypatch.chdir(tmp_path)
    for path in ("bin", ".", "", ":"):
        with pytest.raises(BackendError):
            docker(path)
