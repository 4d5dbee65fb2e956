"""What in a devcontainer.json cannot survive isolation, and how to take it out. Pure.

Rules: the same judgement as for compose services (`escapes`), applied to the keys the devcontainer CLI turns into ``docker run``; each
finding says what it would open, and names exactly the parts that have to go; one that cannot be taken out without guessing what the
author meant has no parts, and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from kap.devcontainer import escapes, run_args
from kap.devcontainer.compose import Project
from kap.devcontainer.edit_jsonc import Route

_FEATURES = {
    "docker-in-docker": ("gate.privileged", "it needs a privileged container, which can do what the host can"),
    "docker-outside-of-docker": (
        "gate.engine-socket",
        "it mounts the engine's socket, and whoever has that has the host",
    ),
    "docker-from-docker": ("gate.engine-socket", "it mounts the engine's socket, and whoever has that has the host"),
    "kind": ("gate.privileged", "it needs a privileged container, which can do what the host can"),
    "k3d": ("gate.privileged", "it needs a privileged container, which can do what the host can"),
    "podman-in-podman": ("gate.privileged", "it needs a privileged container, which can do what the host can"),
    "tailscale": ("gate.capabilities", "it opens a network of its own, past the sidecar"),
}
_NAMESPACES = ("pid", "ipc", "uts", "userns", "cgroupns")
_OTHER_FLAGS = {
    "privileged": ("gate.privileged", "a privileged container can do what the host can"),
    "use-api-socket": ("gate.engine-socket", "whoever has the engine's socket has the host"),
    "network": ("gate.second-network", "the container may only be on the capsule's network"),
    "ip": ("gate.second-network", "the capsule's network gives the addresses"),
    "ip6": ("gate.ipv6", "the capsule's network has no IPv6"),
    "link": ("gate.second-network", "it reaches a container outside the capsule"),
    "dns": ("gate.resolver", "names are resolved by the sidecar only"),
    "dns-option": ("gate.resolver", "names are resolved by the sidecar only"),
    "dns-search": ("gate.resolver", "names are resolved by the sidecar only"),
    "add-host": ("gate.host-reachable", "the address behind it cannot be reached; allow the host in kap.toml instead"),
    "publish": ("gate.host-reachable", "no port is published from a capsule; forwardPorts works"),
    "publish-all": ("gate.host-reachable", "no port is published from a capsule; forwardPorts works"),
    "volumes-from": ("gate.host-mount", "it has the mounts of a container outside the capsule"),
    "device-cgroup-rule": ("gate.device", "it opens devices of the host"),
}


_PROXIES = frozenset(["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY", "KAP_SIDECAR"])
_PROXY = ("gate.no-sidecar", "programs would look for another proxy than the sidecar, which cannot be reached")


class Finding(msgspec.Struct, frozen=True):
    """`code`: a reason of kap's. `where`: the key. `why`: what is wrong with it. `cuts`: what has to be taken out; () means refused."""

    code: str
    where: str
    why: str
    cuts: tuple[Route, ...]


def find(config: Mapping[str, Any], guarded: tuple[PurePosixPath, ...] = ()) -> list[Finding]:
    """Every finding in a devcontainer.json's value. kap's own arguments in "runArgs" are none."""
    compose = kind(config) == "compose"
    found = [*_top(config, compose), *_mounts(config, guarded), *_features(config), *_variables(config)]
    if not compose:
        found += _run_args(config, guarded)
    return found


def kind(config: Mapping[str, Any]) -> str:
    """``dockerfile``, ``image`` or ``compose``, in the CLI's order of precedence; "" where it is none of them."""
    build = config.get("build")
    if isinstance(config.get("dockerFile"), str) or (
        isinstance(build, dict) and isinstance(build.get("dockerfile"), str)
    ):
        return "dockerfile"
    if isinstance(config.get("image"), str) and config["image"]:
        return "image"
    return "compose" if config.get("dockerComposeFile") else ""


def _top(config: Mapping[str, Any], compose: bool) -> Iterator[Finding]:
    if config.get("privileged"):
        yield Finding(
            "gate.privileged", '"privileged"', "a privileged container can do what the host can", (("privileged",),)
        )
    if "appPort" in config and not compose:
        why = "no port is published from a capsule; forwardPorts works"
        yield Finding("gate.host-reachable", '"appPort"', why, (("appPort",),))
    capabilities = config.get("capAdd")
    for index, one in enumerate(capabilities if isinstance(capabilities, list) else ()):
        if _capability(one):
            yield Finding("gate.capabilities", f'"capAdd": {one}', "it reaches past the capsule", (("capAdd", index),))


def _mounts(config: Mapping[str, Any], guarded: tuple[PurePosixPath, ...]) -> Iterator[Finding]:
    mounts = config.get("mounts")
    for index, one in enumerate(mounts if isinstance(mounts, list) else ()):
        for escape in _mount(one, guarded):
            yield Finding(escape.code, f'"mounts": {escape.what}', escape.fix, (("mounts", index),))
    workspace = config.get("workspaceMount")
    for escape in _mount(workspace, guarded) if isinstance(workspace, str) else ():
        yield Finding(escape.code, f'"workspaceMount": {escape.what}', escape.fix, ())


def _features(config: Mapping[str, Any]) -> Iterator[Finding]:
    features = config.get("features")
    for reference in features if isinstance(features, dict) else ():
        known = _FEATURES.get(feature_name(reference))
        if known is not None:
            yield Finding(known[0], f'"features": {reference}', known[1], (("features", reference),))


def _variables(config: Mapping[str, Any]) -> Iterator[Finding]:
    for key in ("containerEnv", "remoteEnv"):
        variables = config.get(key)
        for name, value in variables.items() if isinstance(variables, dict) else ():
            if str(name).upper() in _PROXIES and value:
                yield Finding(_PROXY[0], f'"{key}": {name}', _PROXY[1], ((key, name),))


def feature_name(reference: str) -> str:
    """The last part of a Feature's reference, without version or digest."""
    return re.split(r"[:@]", reference.rstrip("/").rsplit("/", 1)[-1])[0]


def _run_args(config: Mapping[str, Any], guarded: tuple[PurePosixPath, ...]) -> Iterator[Finding]:
    arguments = config.get("runArgs")
    if arguments is None:
        return
    if not isinstance(arguments, list) or not all(isinstance(a, str) for a in arguments):
        yield Finding("gate.unknown", '"runArgs"', "it is no list of texts: correct it", ())
        return
    own = run_args.span(arguments) or (0, 0)
    for flag in run_args.read(arguments):
        if own[0] <= flag.at < own[1]:
            continue
        reason = _flag(flag, guarded)
        if reason is None:
            continue
        code, why = reason
        parts = range(flag.at, min(flag.at + flag.count, len(arguments)))
        shown = " ".join(arguments[i] for i in parts)
        yield Finding(code, f'"runArgs": {shown}', why, tuple(("runArgs", i) for i in parts) if flag.name else ())


def _flag(flag: run_args.Flag, guarded: tuple[PurePosixPath, ...]) -> tuple[str, str] | None:
    if not flag.name:
        return "gate.unknown", "it is no option, so docker would take it for the image: remove it"
    if flag.name in ("privileged", "publish-all", "use-api-socket") and flag.value.lower() in ("false", "0", "f"):
        return None
    if flag.name in _OTHER_FLAGS:
        return _OTHER_FLAGS[flag.name]
    if flag.name in _NAMESPACES and flag.value.startswith(("host", "container:")):
        return "gate.host-namespace", "it puts the container into a namespace outside the capsule"
    if flag.name == "env" and flag.value.partition("=")[0].upper() in _PROXIES:
        return _PROXY
    if flag.name == "label" and flag.value.startswith("kap."):
        return "gate.second-network", "kap finds the container by that label"
    if flag.name == "cap-add" and _capability(flag.value):
        return "gate.capabilities", "it reaches past the capsule"
    escape: escapes.Escape | None = None
    if flag.name == "device":
        service = Project(Path("/"), (), {"app": {"devices": [flag.value]}}, {})
        escape = next(iter(escapes.find(service, ())), None)
    elif flag.name == "mount":
        escape = next(_mount(flag.value, guarded), None)
    elif flag.name == "volume" and ":" in flag.value:
        escape = next(escapes.mount("", flag.value.split(":")[0], False, guarded), None)
    return (escape.code, escape.fix) if escape is not None else None


def _capability(text: object) -> bool:
    return isinstance(text, str) and text.upper().removeprefix("CAP_") in escapes.CAPABILITIES


def _mount(mount: object, guarded: tuple[PurePosixPath, ...]) -> Iterator[escapes.Escape]:
    """What is wrong with a mount, as text (``type=bind,source=...``) or object."""
    if isinstance(mount, str):
        pairs = (part.partition("=") for part in mount.split(","))
        mount = {key.strip().lower(): value for key, _, value in pairs}
    if not isinstance(mount, dict):
        return
    source = str(mount.get("source") or mount.get("src") or "")
    if source.startswith("/"):
        yield from escapes.mount("", source, False, guarded)
    elif re.search(r"(?:docker|podman|containerd)\S*\.sock", source):
        yield escapes.Escape(
            "gate.engine-socket",
            "",
            f"mounts {source}",
            "whoever has the engine's socket has the host: remove the mount",
        )
    elif re.fullmatch(r"\$\{localEnv:(?:HOME|USERPROFILE)[^}]*\}(?:\$\{localEnv:[^}]*\})?/?", source):
        yield escapes.Escape(
            "gate.host-mount",
            "",
            f"mounts {source}",
            "mount a smaller directory: this one holds what governs the capsule",
        )
