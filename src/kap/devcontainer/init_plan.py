"""What ``kap init`` would do to a project: every file before and after, everything in the way, and what a person should know. Writes
nothing.

Rules: the three kinds end in the same capsule: a compose project gets its overlay, an image or Dockerfile joins network and sidecar by
"runArgs"; what cannot survive isolation is found in the merged model, for every service; what cannot be understood is refused.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from kap.config import layers
from kap.devcontainer import (
    compose_cut,
    detect,
    identity,
    init_files,
    init_policy,
    jsonc_tree,
    overlay,
    refresh,
    run_args,
    services,
    snapshot,
    subnets,
    unsafe,
    wire,
)
from kap.devcontainer.detect import Sign
from kap.devcontainer.discover import OVERLAY, DevContainer
from kap.devcontainer.identity import Capsule
from kap.devcontainer.init_files import Change
from kap.devcontainer.unsafe import Finding
from kap.errors import ConfigError, KapError, UsageError

Taken = Callable[[str], Iterable[subnets.Network]]

NEW_IMAGE = "mcr.microsoft.com/devcontainers/base:debian"
_JUDGED = ("build", "features", "containerEnv", "remoteEnv")


class Place(msgspec.Struct, frozen=True):
    """`project` (a real path), kap's `home`, the project's `state` in it, and the ranges in use."""

    project: Path
    home: Path
    state: Path
    taken: Taken


class Wish(msgspec.Struct, frozen=True):
    """`presets`: named by the user; None: those that are detected. `remove`: take out what cannot survive isolation."""

    presets: tuple[str, ...] | None = None
    remove: bool = False
    feature: str = wire.FEATURE


class Plan(msgspec.Struct, frozen=True):
    """`kinds`: by devcontainer.json. `findings`: what is in the way; `refused`: of these, what stays in the way."""

    capsule: Capsule
    kinds: dict[str, str]
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    refused: tuple[Finding, ...]
    notes: tuple[str, ...]
    signs: tuple[Sign, ...]
    policy: Path
    policy_is_new: bool

    @property
    def accepted(self) -> bool:
        """Whether a policy is in force for the project on this machine."""
        return snapshot.accepted(self.capsule)

    def diff(self) -> str:
        """All differences."""
        return "".join(change.diff(self.capsule.project) for change in self.changes)


class _Wired(msgspec.Struct, frozen=True):
    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    refused: tuple[Finding, ...]
    notes: tuple[str, ...]


class _File(msgspec.Struct, frozen=True):
    """One devcontainer.json: `before` on disk, `text` of it (or of a new one), its `value`."""

    path: Path
    before: bytes | None
    text: str
    value: dict[str, Any]


def configs(project: Path) -> list[Path]:
    """Every devcontainer.json of `project`: the two that go first, then the named ones. Raises `KapError` where one cannot look."""
    folder = project / ".devcontainer"
    first = [folder / "devcontainer.json", project / ".devcontainer.json"]
    for place in (project, folder):
        if place.is_dir() and not os.access(place, os.R_OK | os.X_OK):
            raise KapError(
                f"{place} cannot be read: permission denied", "make it readable for you, or run kap as its owner"
            )
    return [p for p in [*first, *sorted(folder.glob("*/devcontainer.json"))] if os.path.lexists(p)]


def make(place: Place, paths: Sequence[Path], wish: Wish) -> Plan:
    """What init does to the devcontainer.json files at `paths`; with none, a new one is proposed. Raises `KapError` for what cannot be
    understood, and `UsageError` for a preset that does not exist."""
    files = [_read(path, place.project) for path in paths] or [_new(place.project)]
    capsule = identity.choose(place.project, place.home, place.state, _recorded(files, place.project))
    wired = [_wire(one, place, capsule, wish) for one in files]
    signs = _signs(place.project, [one.value for one in files], wish)
    policy = layers.project_file(place.project)
    changes = [change for each in wired for change in each.changes]
    if policy is None:
        policy = place.project / layers.NAME
        text = init_policy.write(signs).encode()
        changes.insert(0, Change(str(init_files.target(policy, place.project)), None, text))
        new = True
    else:
        _usable(policy)
        new = False
    return Plan(
        capsule,
        {str(one.path): unsafe.kind(one.value) for one in files},
        tuple(_once(c for c in changes if c.before != c.after)),
        tuple(f for each in wired for f in each.findings),
        tuple(f for each in wired for f in each.refused),
        tuple(dict.fromkeys(n for each in wired for n in each.notes)),
        signs,
        policy,
        new,
    )


def _read(path: Path, project: Path) -> _File:
    content = init_files.read(path, project)
    if content is None:
        raise UsageError(f"there is no {path}", "name the devcontainer.json: --config FILE")
    try:
        text = content.decode("utf-8")
        root = jsonc_tree.parse(text)
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8", "save it as UTF-8") from error
    except jsonc_tree.BadJson as error:
        raise ConfigError(
            f"{path}:{error.line}:{error.column}: {error}", "correct it; it is JSON with comments"
        ) from error
    if root.kind != "object":
        raise ConfigError(f"{path} holds no object", 'it begins with { and holds keys such as "image"')
    judged = [root, *(m.node for m in root.members if m.key in _JUDGED)]
    for node in judged:
        for key, at in jsonc_tree.duplicates(node):
            line, column = jsonc_tree.position(text, at)
            raise ConfigError(
                f"{path}:{line}:{column}: the key {key!r} stands twice", "remove the one that is not meant"
            )
    if not unsafe.kind(root.value):
        raise ConfigError(
            f'{path} has no "image", no "build" with a "dockerfile", and no "dockerComposeFile"',
            f'say what the dev container is made of, for example "image": "{NEW_IMAGE}"',
        )
    return _File(path, content, text, root.value)


def _new(project: Path) -> _File:
    value = {"name": project.name or "project", "image": NEW_IMAGE}
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    return _File(project / ".devcontainer" / "devcontainer.json", None, text, value)


def _recorded(files: Sequence[_File], project: Path) -> str:
    """The name of the capsule an earlier init wrote."""
    for one in files:
        arguments = one.value.get("runArgs")
        name = run_args.recorded(arguments)[0] if isinstance(arguments, list) else ""
        name = name or overlay.recorded(_text(_overlay_path(one, project), project))[0]
        if name:
            return name
    return ""


def _overlay_path(one: _File, project: Path) -> Path:
    return DevContainer(one.path, project, (), "", False).overlay


def _text(path: Path, project: Path) -> str:
    return (init_files.read(path, project) or b"").decode("utf-8", "replace")


def _wire(one: _File, place: Place, capsule: Capsule, wish: Wish) -> _Wired:
    guarded = (PurePosixPath(place.home), PurePosixPath(place.state))
    found = unsafe.find(one.value, guarded)
    refused = tuple(f for f in found if not (wish.remove and f.cuts))
    text = wire.cut(one.text, (c for f in found for c in f.cuts)) if wish.remove else one.text
    argv = wire.command(_relative(one.path, place.project))
    try:
        if unsafe.kind(one.value) == "compose":
            return _compose(one, text, argv, place, capsule, wish, (tuple(found), refused))
        arguments = one.value.get("runArgs")
        current = run_args.recorded(arguments)[1] if isinstance(arguments, list) else None
        network = subnets.choose(capsule.name, place.taken(capsule.name), current=current)
        governing, notes = _governing(one, place.project)
        text = wire.single(text, run_args.block(capsule.name, network, governing), argv, wish.feature)
    except ConfigError as error:
        raise ConfigError(f"{one.path}: {error.message}", error.hint) from error
    return _Wired((_change(one, text, place.project),), tuple(found), refused, notes)


def _compose(
    one: _File,
    text: str,
    argv: list[str],
    place: Place,
    capsule: Capsule,
    wish: Wish,
    found: tuple[tuple[Finding, ...], tuple[Finding, ...]],
) -> _Wired:
    path = _overlay_path(one, place.project)
    container, model, notes = services.resolve(one.path, place.project, one.value, path)
    inside = services.judge(model, (place.home, place.state))
    cuts = (
        compose_cut.cut(container.compose_files, place.project, inside) if wish.remove else compose_cut.Cut((), inside)
    )
    text = wire.compose(text, os.path.relpath(path, one.path.parent), argv, wish.feature)
    written = _text(path, place.project)
    current = overlay.recorded(written)[1]
    network = subnets.choose(capsule.name, place.taken(capsule.name), services=len(model.services), current=current)
    whole = refresh.render(capsule, container, model, network)
    services.verify(container, whole)
    target = str(init_files.target(path, place.project))
    changes = (
        *cuts.changes,
        _change(one, text, place.project),
        Change(target, written.encode() or None, whole.encode()),
    )
    return _Wired(changes, (*found[0], *inside), (*found[1], *cuts.left), (*notes, *services.taken_away(model)))


def _change(one: _File, text: str, project: Path) -> Change:
    return Change(str(init_files.target(one.path, project)), one.before, text.encode("utf-8"))


def _relative(path: Path, project: Path) -> str:
    """The path for ``--config``: "" for the one that goes first, wherever others are added."""
    main = (project / ".devcontainer" / "devcontainer.json", project / ".devcontainer.json")
    return (
        "" if path == main[0] or (path == main[1] and not os.path.lexists(main[0])) else os.path.relpath(path, project)
    )


def _governing(one: _File, project: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """What is laid read-only over the workspace in the container, by target."""
    mount = one.value.get("workspaceMount")
    base = "${containerWorkspaceFolder}"
    if isinstance(mount, str):
        parts = dict(part.partition("=")[::2] for part in mount.split(","))
        base = str(parts.get("target") or parts.get("dst") or parts.get("destination") or "")
        if (parts.get("source") or parts.get("src")) != "${localWorkspaceFolder}" or not base:
            return {}, (
                f'{one.path.name}: "workspaceMount" is its own, so the files that govern the capsule are not read-only in it',
            )
    top = one.path.relative_to(project).parts[0]
    return {f"{base}/{top}": f"${{localWorkspaceFolder}}/{top}"}, ()


def _signs(project: Path, values: Sequence[dict[str, Any]], wish: Wish) -> tuple[Sign, ...]:
    if wish.presets is not None:
        return tuple(Sign(name, "") for name in dict.fromkeys(wish.presets))
    features = [str(name) for v in values if isinstance(v.get("features"), dict) for name in v["features"]]
    editor = any(isinstance(v.get("customizations"), dict) and "vscode" in v["customizations"] for v in values)
    return tuple(detect.detect(project, features, editor))


def _usable(policy: Path) -> None:
    loaded = layers.load(policy, global_path=layers.global_path())
    if loaded.config is None:
        worst = next(p for p in loaded.problems if p.severity == "error")
        raise ConfigError(f"{worst.path or policy}: {worst.message}", f"see all of them: kap check {policy}")


def _once(changes: Iterable[Change]) -> list[Change]:
    """Two devcontainer.json may share files: the last plan for a file holds."""
    return list({change.path: change for change in changes}.values())


__all__ = ["NEW_IMAGE", "OVERLAY", "Place", "Plan", "Wish", "configs", "make"]
