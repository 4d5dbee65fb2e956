"""The policy in force: a copy on the host of what a person accepted, and all the sidecar ever reads.

Rules: kap.toml in the workspace is a proposal, whatever writes it; only `accept` makes it the policy, and only a policy without errors;
the user's own global file needs no acceptance; files are put in place whole, so the sidecar never reads half of one.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from kap.config import layers
from kap.devcontainer.identity import Capsule, sidecar_user
from kap.errors import ConfigError, KapError
from kap.policy import compiler

PROJECT = "kap.toml"
GLOBAL = "global.toml"


def proposal(project: Path) -> Path:
    """The kap.toml of the workspace. Raises `ConfigError` where there is none."""
    found = layers.project_file(project)
    if found is None:
        raise ConfigError(
            f"{project} has no kap.toml",
            'write one: [proxy.network] with allow = ["..."]; an empty list allows nothing',
        )
    return found


def accept(capsule: Capsule) -> str:
    """Make the workspace's kap.toml the policy in force; its digest comes back. Raises `ConfigError` for one with errors."""
    path = proposal(capsule.project)
    loaded = layers.load(path, global_path=layers.global_path())
    if loaded.config is None:
        worst = next(p for p in loaded.problems if p.severity == "error")
        raise ConfigError(f"{worst.path or path}: {worst.message}", f"see all of them: kap check {path}")
    _put(capsule.policy / PROJECT, _read(path))
    refresh_global(capsule)
    return compiler.compile(loaded.config).digest


def refresh_global(capsule: Capsule) -> None:
    """Bring the copy of the user's global file up to date."""
    source, copy = layers.global_path(), capsule.policy / GLOBAL
    if os.path.lexists(source):
        _put(copy, _read(source))
    else:
        copy.unlink(missing_ok=True)


def accepted(capsule: Capsule) -> bool:
    """Whether a policy was ever accepted for `capsule`."""
    return (capsule.policy / PROJECT).is_file()


def pending(capsule: Capsule) -> bool:
    """Whether the workspace's kap.toml differs from the policy in force, or is gone."""
    try:
        found = layers.project_file(capsule.project)
        return found is None or found.read_bytes() != (capsule.policy / PROJECT).read_bytes()
    except (OSError, KapError):
        return True


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", "make it readable for you") from error


def _put(path: Path, content: bytes) -> None:
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        with os.fdopen(handle, "wb") as out:
            out.write(content)
        if os.geteuid() == 0:
            os.chown(name, *sidecar_user())
        Path(name).replace(path)
    except OSError as error:
        raise KapError(f"{path} cannot be written: {error.strerror}", f"make {path.parent} writable for you") from error
