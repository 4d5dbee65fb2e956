"""Which ``docker`` is run on the host: none that a capsule could have put there.

PATH often begins with directories of a project (``.venv/bin``, ``node_modules/.bin``), which its capsules write.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from kap.config.layers import find_project
from kap.errors import BackendError, ConfigError


def docker(path: str) -> str:
    """The first docker on `path` (as in PATH) outside of every project that has a kap.toml. Raises `BackendError`."""
    places = [place for place in path.split(os.pathsep) if place.startswith("/") and not _in_a_project(place)]
    program = shutil.which("docker", path=os.pathsep.join(places) or os.devnull)
    if program is None or _in_a_project(os.path.realpath(program)):
        raise BackendError(
            "the docker command was not found", "install Docker with its compose plugin and put docker on PATH"
        )
    return program


def _in_a_project(place: str) -> bool:
    try:
        return find_project(Path(place)) is not None
    except ConfigError:  # a project, with two policies
        return True
