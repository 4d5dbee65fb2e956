"""Find a project's dev container and read the few keys kap needs. Where and in which order: the Dev Container specification,
"devcontainer.json" (``.devcontainer/devcontainer.json``, ``.devcontainer.json``, ``.devcontainer/<folder>/devcontainer.json``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from kap.devcontainer import jsonc
from kap.errors import ConfigError

OVERLAY = "kap.overlay.yml"


class DevContainer(msgspec.Struct, frozen=True):
    """`path`: the devcontainer.json. `compose_files`: absolute, in order, the overlay left out; empty for a project of another kind.
    `service`: the compose service that is the dev container."""

    path: Path
    project: Path
    compose_files: tuple[Path, ...]
    service: str
    overlay_listed: bool

    @property
    def overlay(self) -> Path:
        """Where the overlay lies: beside devcontainer.json, or in the directory it governs."""
        parent = self.path.parent
        return (parent if parent != self.project else self.project / ".devcontainer") / OVERLAY


def find(project: Path) -> Path:
    """The devcontainer.json of `project`. Raises `ConfigError` where there is none, or more than one and none that goes first."""
    for place in (project / ".devcontainer" / "devcontainer.json", project / ".devcontainer.json"):
        if place.is_file():
            return place
    named = sorted((project / ".devcontainer").glob("*/devcontainer.json"))
    if len(named) == 1:
        return named[0]
    if named:
        names = ", ".join(str(p.relative_to(project)) for p in named)
        raise ConfigError(
            f"{project} has several dev containers: {names}",
            "keep one of them, or put one at .devcontainer/devcontainer.json",
        )
    raise ConfigError(
        f"{project} has no dev container", "add .devcontainer/devcontainer.json, or name the project: -C DIR"
    )


def read(project: Path, config: Path | None = None) -> DevContainer:
    """Read the devcontainer.json of `project` (absolute), or the one at `config`. Raises `ConfigError` for one that is missing,
    broken or not for compose."""
    path = config or find(project)
    try:
        value = jsonc.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "correct it; it is JSON with comments") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no object", 'it begins with { and holds keys such as "dockerComposeFile"')
    files = [_resolve(path, name) for name in _compose_files(path, value)]
    overlay = DevContainer(path, project, (), "", False).overlay
    service = value.get("service")
    if not isinstance(service, str) or not service:
        raise ConfigError(
            f'{path} names no "service"', "name the service of the compose file that is the dev container"
        )
    others = tuple(f for f in files if f != overlay)
    return DevContainer(path, project, others, service, overlay_listed=bool(files) and files[-1] == overlay)


def _compose_files(path: Path, value: dict[str, Any]) -> list[str]:
    listed = value.get("dockerComposeFile")
    names = [listed] if isinstance(listed, str) else listed
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise ConfigError(
            f'{path} lists no compose file in "dockerComposeFile"',
            "kap closes dev containers that are described by compose files",
        )
    return names


def _resolve(path: Path, name: str) -> Path:
    if "${" in name:
        raise ConfigError(f"{path}: the compose file {name} has a variable in its name", "write the path itself")
    return (path.parent / name).resolve()
