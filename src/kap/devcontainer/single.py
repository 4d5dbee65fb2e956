"""A dev container that is one image or Dockerfile: its capsule's network and sidecar, which its "runArgs" join. Run as initializeCommand.

Rules: what the container joins has to be there before it, closed and with a healthy sidecar, else nothing starts: the engine refuses a
container whose network is missing, and initializeCommand ends the start for everything else. The compose file that describes sidecar
and networks lies in the host's state, where nothing in the workspace can change it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path, PurePosixPath
from typing import Any

from kap.audit.printable import printable
from kap.devcontainer import compose, discover, identity, jsonc, overlay, run_args, snapshot, subnets, unsafe
from kap.devcontainer.docker_program import docker
from kap.devcontainer.identity import Capsule
from kap.devcontainer.refresh import Refreshed, Taken
from kap.errors import BackendError, ConfigError, KapError

FILE = "sidecar.yml"
"""In the project's state: the compose file of its sidecar and networks."""

_SECONDS = 120
_AGAIN = "run kap init again: it writes them for this machine"


def is_single(project: Path, config: Path | None) -> bool:
    """Whether the dev container of `project` is described by an image or a Dockerfile. Raises `ConfigError` where it has none."""
    value = _value(config or discover.find(project))
    return unsafe.kind(value) in ("image", "dockerfile")


def refresh(
    project: Path, home: Path, state: Path, taken: Taken, *, accept: bool, config: Path | None = None
) -> Refreshed:
    """Bring up network and sidecar for the dev container of `project` (a real path), as its "runArgs" say; with `accept`, make its
    kap.toml the policy in force. Raises as `kap.devcontainer.refresh.refresh`."""
    path = config or discover.find(project)
    value = _value(path)
    capsule, network = _as_written(path, value, home, state, project, taken)
    compose.check_version()
    if not accept and not snapshot.accepted(capsule):
        raise ConfigError(
            f"no policy has been accepted for {project} on this machine", "look at its kap.toml, then run: kap overlay"
        )
    identity.claim(capsule)
    digest = snapshot.accept(capsule) if accept else ""
    if not accept:
        snapshot.refresh_global(capsule)
    file = state / FILE
    changed = _write(file, overlay.dump(model(capsule, network)))
    _up(capsule, file)
    pending = snapshot.pending(capsule)
    return Refreshed(capsule, file, ["the dev container"], str(network), changed, digest, pending, listed=True)


def _as_written(
    path: Path, value: dict[str, Any], home: Path, state: Path, project: Path, taken: Taken
) -> tuple[Capsule, subnets.Network]:
    """The capsule and range that "runArgs" were written for, if they can be had on this machine and nothing else leads out."""
    arguments = value.get("runArgs")
    name, network = run_args.recorded(arguments if isinstance(arguments, list) else [])
    if not name or network is None:
        raise ConfigError(f'{path} does not join a capsule: its "runArgs" have nothing of kap\'s', "run: kap init")
    found = unsafe.find(value, (PurePosixPath(home), PurePosixPath(state)))
    if found:
        lines = "\n    ".join(f"{f.where} ({f.code}): {f.why}" for f in found)
        raise ConfigError(f"{path}: this project cannot be closed\n    {lines}", "remove these, or run: kap init")
    capsule = identity.choose(project, home, state, name)
    if capsule.name != name:
        raise ConfigError(f'the name {name} in the "runArgs" of {path} belongs to another project here', _AGAIN)
    if subnets.choose(name, taken(name), current=network) != network:
        raise ConfigError(f'the network {network} in the "runArgs" of {path} is in use on this machine', _AGAIN)
    return capsule, network


def model(capsule: Capsule, network: subnets.Network) -> dict[str, Any]:
    """Sidecar and networks as one compose file: the overlay of a project that has no services of its own."""
    default = capsule.home == Path.home() / ".kap"
    home = "${HOME}/.kap" if default else overlay.literal(PurePosixPath(capsule.home))
    user = ":".join(map(str, identity.sidecar_user()))
    whole: dict[str, Any] = _plain(overlay.build(overlay.Plan(capsule.name, "", {}, network, home=home, user=user)))
    whole["networks"][overlay.INTERNAL]["name"] = run_args.network_name(capsule.name)
    return whole


def compose_project(capsule: str) -> str:
    """The compose project that sidecar and networks belong to."""
    return f"kap-{capsule}"


def _plain(value: Any) -> Any:
    """Without ``!override``: there is nothing below that it could replace."""
    if isinstance(value, overlay.Override):
        return _plain(value.value)
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list) else value


def down(state: Path) -> bool:
    """Stop the sidecar that `state` describes and remove its networks; whether that went well. Nothing to stop is well."""
    file = state / FILE
    if not file.exists():
        return True
    name = overlay.recorded(file.read_text(encoding="utf-8", errors="replace"))[0]
    argv = [
        "docker",
        "compose",
        "--project-name",
        compose_project(name),
        "--file",
        str(file),
        "down",
        "--remove-orphans",
    ]
    try:
        if _run(argv).returncode:
            return False
    except BackendError:
        return False
    file.unlink(missing_ok=True)
    return True


def _up(capsule: Capsule, file: Path) -> None:
    project = ["docker", "compose", "--project-name", compose_project(capsule.name), "--file", str(file)]
    done = _run([*project, "up", "--detach", "--wait", "--wait-timeout", "60", "--remove-orphans"])
    if done.returncode:
        log = _run([*project, "logs", "--no-color", "--no-log-prefix", "--tail", "10", overlay.SIDECAR]).stdout.strip()
        said = done.stderr.strip().splitlines()
        raise BackendError(
            f"the sidecar does not start: {said[-1] if said else 'docker compose gave no reason'}"
            + (f"\n    {printable(log[-800:], 800, composed=True)}" if log else ""),
            f"see: docker compose -p {compose_project(capsule.name)} logs",
        )


def _run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [docker(os.environ.get("PATH", "")), *argv[1:]],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"the sidecar does not start: {error}", "try it by hand: docker info") from error


def _value(path: Path) -> dict[str, Any]:
    try:
        value = jsonc.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "correct it; it is JSON with comments") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path} holds no object", 'it begins with { and holds keys such as "image"')
    return value


def _write(path: Path, text: str) -> bool:
    try:
        if path.exists() and path.read_text(encoding="utf-8") == text:
            return False
        new = path.with_name(f".new-{path.name}-{os.getpid()}")
        new.write_text(text, encoding="utf-8")
        new.replace(path)
    except OSError as error:
        raise KapError(f"{path} cannot be written: {error.strerror}", "make it writable for you") from error
    return True
