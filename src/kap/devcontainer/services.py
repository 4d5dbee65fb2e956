"""The services of a compose project, for ``kap init``: by docker compose where it can be asked, else as they are written.

Rules: every service of every profile is judged, on the merged model; what is taken away without being refused is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from kap.devcontainer import compose, compose_files, escapes
from kap.devcontainer.compose import Project
from kap.devcontainer.discover import DevContainer
from kap.devcontainer.unsafe import Finding
from kap.errors import BackendError, ConfigError

_MISSING = re.compile(r"env file (\S+) not found")


def resolve(
    path: Path, project: Path, value: dict[str, Any], overlay: Path
) -> tuple[DevContainer, Project, tuple[str, ...]]:
    """The dev container that `value` of the devcontainer.json at `path` describes, its services, and what a person should know.

    Raises `ConfigError` for no "service", one that is not there, or compose files that cannot be read.
    """
    container = _container(path, project, value, overlay)
    rough = compose_files.read(container.compose_files)  # a file that is missing is named before any engine is asked
    model, notes = _model(container, rough)
    if container.service not in model.services:
        raise ConfigError(
            f'the compose files have no service "{container.service}"',
            f"they have: {', '.join(sorted(model.services)) or 'none'}",
        )
    return container, model, notes


def _model(container: DevContainer, rough: compose_files.Reading) -> tuple[Project, tuple[str, ...]]:
    try:
        compose.check_version()
        return compose.resolve(container.compose_files), ()
    except BackendError as error:
        why = error.message
    except ConfigError as error:
        missing = _MISSING.search(error.message)
        if missing is None:
            raise
        # Many projects keep this file out of git and make it on each machine; without it their containers do not start either.
        why = f"{missing.group(1)} is missing"
    blind = f" (not seen: {', '.join(rough.blind)})" if rough.blind else ""
    note = f"{why}, so the compose files were judged as they are written{blind}; the start of the dev container judges them again"
    return rough.project, (note,)


def verify(container: DevContainer, overlay: str) -> None:
    """Raise `ConfigError` where docker compose, if it can be asked, does not take the text of the `overlay` over the files."""
    try:
        compose.resolve(container.compose_files, text=overlay)
    except BackendError:
        return  # the start of the dev container asks again, and needs an answer
    except ConfigError as error:
        if _MISSING.search(error.message) is None:
            raise


def judge(model: Project, guarded: Iterable[Path]) -> tuple[Finding, ...]:
    """What would let a service out whatever network it is on."""
    return tuple(
        Finding(e.code, f"service {e.service}: {e.what}" if e.service else e.what, e.fix, ())
        for e in escapes.find(model, guarded)
    )


def taken_away(model: Project) -> Iterator[str]:
    """What the overlay takes away by itself, or leaves without effect."""
    for name, service in sorted(model.services.items()):
        if service.get("network_mode") not in (None, "") and not str(service["network_mode"]).startswith("service:"):
            yield f"service {name}: network_mode: {service['network_mode']} is taken away; it joins the capsule's network"
        if service.get("ports"):
            yield f"service {name}: its ports are not published on the host any more; forwardPorts in devcontainer.json works"
        if service.get("extra_hosts"):
            yield f"service {name}: extra_hosts has no effect on what can be reached; allow hosts in kap.toml"
        if service.get("dns"):
            yield f"service {name}: dns is taken away; names are resolved by the sidecar"


def _container(path: Path, project: Path, value: dict[str, Any], overlay: Path) -> DevContainer:
    listed = value.get("dockerComposeFile")
    names = [listed] if isinstance(listed, str) else listed
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise ConfigError('"dockerComposeFile" is no text and no list of texts', "name the compose file")
    service = value.get("service")
    if not isinstance(service, str) or not service:
        raise ConfigError('it names no "service"', "name the service of the compose file that is the dev container")
    variable = next((n for n in names if "${" in n), None)
    if variable:
        raise ConfigError(f"the compose file {variable} has a variable in its name", "write the path itself")
    files = [(path.parent / name).resolve() for name in names]
    others = tuple(f for f in files if f != overlay.resolve())
    if not others:
        raise ConfigError(
            '"dockerComposeFile" names only the overlay', "name the compose file of the project before it"
        )
    return DevContainer(path, project, others, service, overlay_listed=True)
