"""What ``kap overlay`` does on this machine: the engine's ranges, the project's state, then `kap.devcontainer.refresh`."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path

from kap.backend import docker
from kap.devcontainer import refresh as devcontainer
from kap.devcontainer import subnets
from kap.errors import UsageError
from kap.host.state import kap_home, project_state

_ROUTES = Path("/proc/net/route")


def refresh(directory: Path, *, accept: bool) -> devcontainer.Refreshed:
    """Refresh the project at `directory`. Raises `UsageError` for no directory, and as `kap.devcontainer.refresh.refresh`."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", "name the project's directory: -C DIR")
    project = Path(os.path.realpath(directory))
    state = project_state(project)
    return devcontainer.refresh(project, kap_home(), state.directory, _taken, accept=accept)


def _taken(capsule: str) -> list[ipaddress.IPv4Network]:
    """Ranges in use by the engine's networks and this host's routes; without the capsule's own."""
    engine = docker.connect()
    try:
        networks = engine.networks()
    finally:
        engine.close()
    own = [r for r in docker.ranges(networks) if r not in docker.ranges(networks, without_capsule=capsule)]
    try:
        routes = subnets.host_routes(_ROUTES.read_text())
    except OSError:
        routes = []  # no Linux: the engine runs in a machine of its own and knows its ranges itself
    return docker.ranges(networks, without_capsule=capsule) + [r for r in routes if r not in own]
