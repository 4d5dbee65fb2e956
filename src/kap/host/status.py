"""``kap status``: everything that makes a project's capsule closed, looked at from outside and from inside.

Rules: containers are found by labels the devcontainer CLI and compose write, never by names; every container of the compose project
counts, also one that was added after the overlay was written; a check that could not be made is ``unknown`` and not ok; what comes out
of a container is data from a hostile place.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from kap.backend import docker
from kap.backend.docker import Container, Engine
from kap.config import layers
from kap.devcontainer import inspection, single, snapshot
from kap.devcontainer.identity import Capsule as Identity
from kap.devcontainer.inspection import RECREATE, REWRITE, Check
from kap.errors import BackendError, KapError, UsageError
from kap.host.state import kap_home, project_state
from kap.policy import compiler

LOCAL_FOLDER = "devcontainer.local_folder"
COMPOSE_PROJECT = "com.docker.compose.project"
STALE = 20.0
"""Seconds after which the sidecar's own word is too old to count."""


class Report(msgspec.Struct, frozen=True):
    """`ok`: every check is. Nothing less counts."""

    project: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        return bool(self.checks) and all(c.state == "ok" for c in self.checks)


class _SidecarWord(msgspec.Struct):
    """What is needed of the sidecar's ``status.json``."""

    class Policy(msgspec.Struct):
        digest: str = ""
        loaded: float = 0.0
        error: str = ""

    updated: float = 0.0
    policy: Policy = msgspec.field(default_factory=Policy)


def report(directory: Path) -> Report:
    """Check the capsule of the project at `directory`. Raises `UsageError` for no directory, `BackendError` without an engine."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", "name the project's directory: -C DIR")
    engine = docker.connect()
    try:
        return Report(str(directory.absolute()), tuple(_checks(engine, directory)))
    finally:
        engine.close()


def _checks(engine: Engine, directory: Path) -> Iterator[Check]:
    yield inspection.engine(engine.version)
    apps = _apps(engine, directory)
    running = [c for c in apps if c.running]
    if not running:
        stopped = f"; {apps[0].name} is {apps[0].state}: its log says why (docker logs {apps[0].name})" if apps else ""
        yield Check(
            "dev container",
            "failed",
            "gate.no-container",
            f"none runs for {directory.absolute()}{stopped}",
            f"devcontainer up --workspace-folder {directory}",
        )
        return
    project = Path(os.path.realpath(directory))
    state = project_state(project, create=False).directory
    identity = Identity("", project, kap_home(), state)
    for app in running:
        capsule = _capsule(engine, app)
        yield _gate_installed(app)
        yield from inspection.inspect(capsule, (kap_home(), state), identity.policy)
        yield from _policy(identity)
        yield from _inside(engine, capsule)


def _apps(engine: Engine, directory: Path) -> list[Container]:
    """The project's dev containers: the CLI labels them with the path it was given, which may lead over a link."""
    found: dict[str, Container] = {}
    for path in {str(directory.absolute()), os.path.realpath(directory)}:
        for each in engine.labelled([f"{LOCAL_FOLDER}={path}"]):
            found[each.id] = each
    return sorted(found.values(), key=lambda c: c.name)


def _capsule(engine: Engine, app: Container) -> inspection.Capsule:
    # A dev container of one image has its sidecar in a compose project of its own, named by what "runArgs" say.
    named = app.labels.get("kap.project", "")
    project = app.labels.get(COMPOSE_PROJECT) or (single.compose_project(named) if named else "")
    family = engine.labelled([f"{COMPOSE_PROJECT}={project}"]) if project else (app,)
    sidecars = tuple(c for c in family if inspection.is_sidecar(c))
    others = tuple(c for c in family if c.id != app.id and c not in sidecars)
    return inspection.Capsule(app, others, sidecars, {n.id: n for n in engine.networks()})


def _gate_installed(app: Container) -> Check:
    """Whether the Feature is in the container's image: then it stops itself when it comes up open."""
    if "/usr/local/share/kap/entrypoint.sh" in app.labels.get("devcontainer.metadata", ""):
        return Check("gate", "ok", "gate.no-gate", "the container stops itself when it is not isolated")
    fix = 'add the kap Feature to "features" in devcontainer.json, then ' + RECREATE
    return Check("gate", "failed", "gate.no-gate", "nothing in the container stops it when it is not isolated", fix)


def _policy(identity: Identity) -> Iterator[Check]:
    """Whether the sidecar enforces what was accepted on this host."""
    try:
        content = (identity.log / "status.json").read_bytes()
        word = msgspec.json.decode(content, type=_SidecarWord)
    except (OSError, msgspec.DecodeError) as error:
        yield Check("policy", "unknown", "gate.policy", f"the sidecar's status cannot be read: {error}", REWRITE)
        return
    age = time.time() - word.updated
    if age > STALE:
        yield Check(
            "policy",
            "unknown",
            "gate.policy",
            f"the sidecar last wrote its status {age:.0f} s ago",
            "look at its log: docker logs",
        )
        return
    accepted = _accepted_digest(identity)
    if word.policy.error:
        yield Check(
            "policy",
            "failed",
            "gate.policy",
            f"the last reload failed: {word.policy.error[:300]}",
            "correct the file, then: kap overlay",
        )
    elif not word.policy.digest or word.policy.digest != accepted:
        text = f"the sidecar enforces {word.policy.digest[:12] or 'none'}, accepted was {accepted[:12] or 'none'}"
        yield Check("policy", "failed", "gate.policy", text, "accept a policy: kap overlay")
    else:
        loaded = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(word.policy.loaded))
        note = "; kap.toml differs from it: kap overlay accepts it" if snapshot.pending(identity) else ""
        yield Check("policy", "ok", "gate.policy", f"{accepted[:12]} in force since {loaded}{note}")


def _accepted_digest(identity: Identity) -> str:
    source, overall = identity.policy / snapshot.PROJECT, identity.policy / snapshot.GLOBAL
    try:
        loaded = layers.load(source, global_path=overall if overall.exists() else None)
        return compiler.compile(loaded.config).digest if loaded.config else ""
    except (KapError, OSError):
        return ""


def _inside(engine: Engine, capsule: inspection.Capsule) -> Iterator[Check]:
    """Ask the sidecar about itself, then the gate, in kap's own copy of it, in the dev container."""
    for each in (c for c in capsule.sidecars if c.running):
        yield from _sidecar_check(engine, each)
    addresses = [
        a
        for s in capsule.sidecars
        for n, a in s.addresses.items()
        if s.networks.get(n) in capsule.app.networks.values() and a
    ]
    environment = f"KAP_SIDECAR={shlex.quote(addresses[0] + ':3128')}\nexport KAP_SIDECAR\n" if addresses else ""
    try:
        code, output = engine.execute(
            capsule.app.id, ["sh", "-c", environment + gate_script(), "gate", "--lines", "--wait", "2"]
        )
    except BackendError as error:
        yield Check("inside", "unknown", "gate.unknown", error.message, error.hint)
        return
    checks = inspection.gate_lines(output.decode("utf-8", "replace"), "inside")
    expected = {0: {"ok"}, 1: {"failed"}, 69: {"unknown"}}.get(code)
    if not checks or expected is None or not expected & {c.state for c in checks}:
        yield Check(
            "inside",
            "unknown",
            "gate.unknown",
            f"the gate ended with {code}",
            "the container needs a POSIX shell; rebuild it",
        )
    yield from checks


def _sidecar_check(engine: Engine, one: Container) -> Iterator[Check]:
    fix = f"see: docker logs {one.name}"
    try:
        _, output = engine.execute(one.id, ["kap", "sidecar-check", "--json"])
        answer: Any = json.loads(output)
        found = [(str(c["name"]), c["ok"] is True, str(c["detail"])) for c in answer["checks"]]
    except (BackendError, ValueError, KeyError, TypeError) as error:
        yield Check("sidecar", "unknown", "gate.sidecar-health", f"it cannot be asked: {type(error).__name__}", fix)
        return
    for name, good, detail in found:
        yield Check(
            "sidecar", "ok" if good else "failed", "gate.sidecar-health", f"{name}: {detail}"[:300], "" if good else fix
        )


def gate_script() -> str:
    """The gate as the Feature installs it. From the package, else from the checkout this runs in."""
    packaged = importlib.resources.files("kap") / "_gate.sh"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = Path(__file__).resolve().parents[3] / "features" / "src" / "kap" / "gate.sh"
    try:
        return checkout.read_text(encoding="utf-8")
    except OSError as error:
        raise BackendError("kap is installed without its gate", "install kap again") from error
