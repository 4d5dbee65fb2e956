"""Ask ``docker compose`` what a project's compose files mean, merged and resolved. kap has no compose parser of its own.

What comes back is data from a repository: it is read with care and never trusted to have a shape.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kap.devcontainer.docker_program import docker
from kap.errors import BackendError, ConfigError

FLOOR = (2, 24, 4)
"""The first compose that knows ``!override`` and ``!reset``, without which an overlay cannot take a network away."""

_SECONDS = 60


class Project(msgspec.Struct, frozen=True):
    """`directory`: what relative paths of the overlay are relative to: the directory of the first file. `services`, `volumes`: as
    compose resolved them."""

    directory: Path
    files: tuple[Path, ...]
    services: Mapping[str, Mapping[str, Any]]
    volumes: Mapping[str, Any]


def resolve(files: Sequence[Path], *, text: str | None = None) -> Project:
    """The model of the compose `files`, services of all profiles included; `text` is one more file, laid over them.

    Raises `ConfigError` where compose refuses the files, `BackendError` where there is no compose, or too old a one.
    """
    argv = ["docker", "compose", "--profile", "*", "--project-name", "kap-check"]
    for file in files:
        argv += ["--file", str(file)]
    if text is not None:
        # Standard input as a file would move the project directory to where we are.
        argv += ["--project-directory", str(files[0].parent), "--file", "-"]
    model = _json(_run([*argv, "config", "--format", "json"], text), files)
    return Project(files[0].parent, tuple(files), _mappings(model.get("services")), _mappings(model.get("volumes")))


def check_version() -> str:
    """The version of compose. Raises `BackendError` where there is none, or one before `FLOOR`."""
    text = _run(["docker", "compose", "version", "--short"], None).stdout.strip()
    numbers = tuple(int(n) for n in re.findall(r"\d+", text)[:3])
    if numbers < FLOOR:
        floor = ".".join(map(str, FLOOR))
        raise BackendError(
            f"docker compose {text or 'of unknown version'} is too old",
            f"install {floor} or newer: older ones ignore !override",
        )
    return text


def _run(argv: Sequence[str], text: str | None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [docker(os.environ.get("PATH", "")), *argv[1:]],
            input=text or "",
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise BackendError(
            "the docker command was not found", "install Docker with its compose plugin and put docker on PATH"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"docker compose did not answer within {_SECONDS} s", "try it by hand: docker compose version"
        ) from error


def _json(done: subprocess.CompletedProcess[str], files: Sequence[Path]) -> dict[str, Any]:
    where = ", ".join(map(str, files))
    if done.returncode != 0:
        said = done.stderr.strip() or "no reason given"
        if "is not a docker command" in said or "unknown flag: --profile" in said or "unknown shorthand flag" in said:
            raise BackendError(
                "docker has no compose plugin",
                "install it (Debian and Ubuntu: docker-compose-plugin or docker-compose-v2)",
            )
        raise ConfigError(f"docker compose refuses {where}: {said[-600:]}", "correct the compose file it names")
    try:
        model = json.loads(done.stdout)
    except ValueError as error:
        raise BackendError(
            f"docker compose printed no JSON for {where}", "check it by hand: docker compose config --format json"
        ) from error
    return _unescaped(model) if isinstance(model, dict) else {}


def _unescaped(value: Any) -> Any:
    """What compose prints can be read by compose again: it writes every dollar sign twice."""
    if isinstance(value, str):
        return value.replace("$$", "$")
    if isinstance(value, list):
        return [_unescaped(v) for v in value]
    if isinstance(value, dict):
        return {_unescaped(k): _unescaped(v) for k, v in value.items()}
    return value


def _mappings(value: object) -> dict[str, Any]:
    return {str(k): v if isinstance(v, dict) else {} for k, v in value.items()} if isinstance(value, dict) else {}
