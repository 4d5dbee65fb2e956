"""Bring a project's overlay and its capsule's state on this machine up to date. What ``kap overlay`` does, also as initializeCommand.

Rules: nothing is written before everything was checked; the overlay's text changes only when what it says has to; a policy is taken
over only when a person asks for that, never because a container starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from kap.devcontainer import compose, discover, escapes, identity, overlay, snapshot, subnets
from kap.devcontainer.compose import Project
from kap.devcontainer.discover import DevContainer
from kap.devcontainer.escapes import Escape
from kap.devcontainer.identity import Capsule
from kap.errors import ConfigError, KapError

Taken = Callable[[str], Iterable[subnets.Network]]
"""The ranges in use, those of the named capsule left out."""


class Refreshed(msgspec.Struct, frozen=True):
    """`changed`: the overlay was written anew. `digest`: of the policy, where one was accepted now. `pending`: the workspace's kap.toml
    is not the policy in force. `listed`: devcontainer.json has the overlay as its last compose file."""

    capsule: Capsule
    overlay: Path
    services: Sequence[str]
    network: str
    changed: bool
    digest: str
    pending: bool
    listed: bool


def refresh(
    project: Path, home: Path, state: Path, taken: Taken, *, accept: bool, config: Path | None = None
) -> Refreshed:
    """Check the project (a real path) and write its overlay; with `accept`, make its kap.toml the policy in force.

    `home`, `state`: kap's directory and the project's in it. `config`: its devcontainer.json, where it has several. Raises
    `ConfigError` for a project that cannot be closed or has no policy yet, `BackendError` where there is no docker compose.
    """
    found = discover.read(project, config)
    compose.check_version()
    model = compose.resolve(found.compose_files)
    if found.service not in model.services:
        raise ConfigError(
            f'{found.path}: the compose files have no service "{found.service}"',
            f"they have: {', '.join(sorted(model.services))}",
        )
    refuse(escapes.find(model, (home, state)), found)
    written, range_ = overlay.recorded(_text(found.overlay))
    capsule = identity.choose(project, home, state, written)
    if not accept and not snapshot.accepted(capsule):
        raise ConfigError(
            f"no policy has been accepted for {project} on this machine", "look at its kap.toml, then run: kap overlay"
        )
    network = subnets.choose(capsule.name, taken(capsule.name), services=len(model.services), current=range_)
    text = render(capsule, found, model, network)
    compose.resolve(found.compose_files, text=text)
    identity.claim(capsule)
    digest = snapshot.accept(capsule) if accept else ""
    if not accept:
        snapshot.refresh_global(capsule)
    changed = _write(found.overlay, text)
    pending = snapshot.pending(capsule)
    return Refreshed(
        capsule, found.overlay, sorted(model.services), str(network), changed, digest, pending, found.overlay_listed
    )


def refuse(found: Sequence[Escape], container: DevContainer) -> None:
    """Raise `ConfigError` that names every escape, where there is one."""
    if not found:
        return
    lines = [f"{e.service or 'the project'}: {e.what} ({e.code}): {e.fix}" for e in found]
    raise ConfigError(
        f"{container.path.parent}: this project cannot be closed\n    " + "\n    ".join(lines),
        "change these and run it again",
    )


def render(capsule: Capsule, found: DevContainer, model: Project, network: subnets.Network) -> str:
    """The overlay's text."""
    return overlay.dump(overlay.build(_plan(capsule, found, model, network)))


def _plan(capsule: Capsule, found: DevContainer, model: Project, network: subnets.Network) -> overlay.Plan:
    modes = {name: str(service.get("network_mode", "")) for name, service in model.services.items()}
    default = capsule.home == Path.home() / ".kap"
    home = "${HOME}/.kap" if default else overlay.literal(PurePosixPath(capsule.home))
    user = ":".join(map(str, identity.sidecar_user()))
    return overlay.Plan(
        capsule.name, found.service, modes, network, home=home, user=user, protected=_protected(found, model)
    )


def _protected(found: DevContainer, model: Project) -> list[overlay.Mount]:
    """Read-only mounts over everything in the workspace that governs the capsule, wherever the workspace lies in the container."""
    base = model.directory
    governing = [found.overlay.parent, found.path, *model.files, base / ".env"]
    mounts: dict[str, overlay.Mount] = {}
    for source, target in _workspaces(model.services[found.service]):
        for path in governing:
            inside_other = path != found.overlay.parent and found.overlay.parent in path.parents
            if inside_other or not path.exists() or source not in path.parents:
                continue
            place = str(target / path.relative_to(source))
            relative = os.path.relpath(path, base)
            mounts[place] = overlay.Mount(
                overlay.literal(PurePosixPath(".") / relative) if relative != "." else ".",
                overlay.literal(PurePosixPath(place)),
            )
    return [mounts[place] for place in sorted(mounts)]


def _workspaces(service: Any) -> Iterable[tuple[Path, PurePosixPath]]:
    """The writable bind mounts of a service."""
    for volume in service.get("volumes") or ():
        if isinstance(volume, dict) and volume.get("type") == "bind" and not volume.get("read_only"):
            yield Path(str(volume.get("source", ""))), PurePosixPath(str(volume.get("target", "")))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


def _write(path: Path, text: str) -> bool:
    if _text(path) == text:
        return False
    try:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise KapError(f"{path} cannot be written: {error.strerror}", "make it writable for you") from error
    return True
