"""What ``kap overlay`` does on this machine: the engine's ranges, the project's state, then `kap.devcontainer.refresh`."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from kap.backend import docker
from kap.devcontainer import refresh as devcontainer
from kap.devcontainer import single, subnets
from kap.errors import UsageError
from kap.host.state import kap_home, project_state

_ROUTES = Path("/proc/net/route")


def refresh(directory: Path, *, accept: bool, config: Path | None = None) -> devcontainer.Refreshed:
    """Refresh the project at `directory`; `config`: its devcontainer.json, relative to it, where it has several.

    Raises `UsageError` for no directory, and as `kap.devcontainer.refresh.refresh`.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", "name the project's directory: -C DIR")
    project = Path(os.path.realpath(directory))
    state = project_state(project)
    path = project / config if config is not None else None
    bring = single.refresh if single.is_single(project, path) else devcontainer.refresh
    return bring(project, kap_home(), state.directory, taken, accept=accept, config=path)


def taken(capsule: str) -> list[ipaddress.IPv4Network]:
    """Ranges in use by the engine's networks and this host's routes; without the capsule's own. Raises `BackendError`."""
    engine = docker.connect()
    try:
        networks = engine.networks()
    finally:
        engine.close()
    own = [r for r in docker.ranges(networks) if r not in docker.ranges(networks, without_capsule=capsule)]
    return docker.ranges(networks, without_capsule=capsule) + [r for r in taken_without_engine() if r not in own]


def taken_without_engine() -> list[ipaddress.IPv4Network]:
    """The destinations of this host's routes."""
    try:
        return subnets.host_routes(_ROUTES.read_text())
    except OSError:
        return []  # no Linux: the engine runs in a machine of its own and knows its ranges itself
