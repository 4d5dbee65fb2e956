"""A project's compose files as they are written, for where ``docker compose`` cannot be asked. A rough reading, and said to be one.

What it does not see is named in `Reading.blind`: variables, ``extends`` and ``include`` are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kap.devcontainer.compose import Project
from kap.errors import ConfigError


class Reading(msgspec.Struct, frozen=True):
    """`blind`: what of the files was not judged."""

    project: Project
    blind: tuple[str, ...]


def read(files: Sequence[Path]) -> Reading:
    """The services of `files`, laid over each other. Raises `ConfigError` for a file that is missing or no YAML."""
    services: dict[str, dict[str, Any]] = {}
    volumes: dict[str, Any] = {}
    blind: list[str] = []
    for path in files:
        value = _load(path)
        if value.get("include"):
            blind.append(f"{path.name}: include")
        for name, service in _mapping(value.get("services")).items():
            service = _mapping(service)
            if "extends" in service:
                blind.append(f"{path.name}: extends of {name}")
            services[name] = _merged(services.get(name, {}), normal(service, path.parent))
        volumes |= _mapping(value.get("volumes"))
    return Reading(Project(files[0].parent, tuple(files), services, volumes), tuple(blind))


def _load(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"the compose file {path} cannot be read: {reason}", "correct its name or content") from error
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.add_multi_constructor("!", lambda *_: None)
    try:
        return _mapping(yaml.load(text))
    except (YAMLError, ValueError, RecursionError) as error:
        where = str(error).strip().splitlines()[-1] if str(error).strip() else "no YAML"
        raise ConfigError(f"the compose file {path} is no YAML: {where}", "correct it") from error


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = [*old, *value] if isinstance(old, list) and isinstance(value, list) else value
    return result


def normal(service: dict[str, Any], base: Path) -> dict[str, Any]:
    """Volumes in the long form, as compose resolves them."""
    volumes = service.get("volumes")
    if not isinstance(volumes, list):
        return service
    return {**service, "volumes": [_volume(v, base) for v in volumes]}


def _volume(volume: Any, base: Path) -> Any:
    if isinstance(volume, dict):
        source, target, read_only = (
            str(volume.get("source", "")),
            str(volume.get("target", "")),
            volume.get("read_only"),
        )
        kind = str(volume.get("type", "volume"))
    else:
        source, _, rest = str(volume).partition(":")
        target, _, mode = rest.partition(":")
        read_only = "ro" in mode.split(",")
        kind = "bind" if source.startswith((".", "/", "~")) and rest else "volume"
    if kind == "bind":
        source = os.path.normpath(base / os.path.expanduser(source))  # noqa: PTH111 - text of a compose file
    return {"type": kind, "source": source, "target": target, "read_only": bool(read_only)}


def _mapping(value: object) -> dict[str, Any]:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}
