"""What is really there: judge the containers and networks of a capsule as the engine describes them. Pure.

Every check says ``ok``, ``failed`` or ``unknown`` with one code, one line and one remedy; what cannot be seen is unknown, never ok.
Read from the engine, not from the overlay: whatever the files say, this is what runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import msgspec

from kap import __version__
from kap.backend.docker import Container, Network
from kap.devcontainer import escapes
from kap.devcontainer.overlay import IMAGE, SIDECAR

State = Literal["ok", "failed", "unknown"]

REWRITE = "run kap overlay, then rebuild the dev container"
RECREATE = "rebuild the dev container"
START = "start the project again: devcontainer up"
_FIXED = ((23, 0, 11), (25, 0, 5), (26, 0, 0))
"""Where CVE-2024-29018 (names leak from internal networks through the engine's own resolver) is mended, by release line."""


class Check(msgspec.Struct, frozen=True):
    """`subject`: the container or part it is about. `fix` is empty where `state` is ``ok``."""

    subject: str
    state: State
    code: str
    text: str
    fix: str = ""


class Capsule(msgspec.Struct, frozen=True):
    """What was found: the dev container, the other services, the sidecars, and every network any of them is on, by id."""

    app: Container
    services: tuple[Container, ...]
    sidecars: tuple[Container, ...]
    networks: Mapping[str, Network]


def engine(version: str) -> Check:
    """Whether the engine is one whose resolver does not leak."""
    numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:3])
    if len(numbers) < 2:
        return Check(
            "engine",
            "unknown",
            "gate.engine",
            f"the engine says no version ({version!r})",
            "check it with: docker version",
        )
    if numbers >= _FIXED[-1] or any(numbers[0] == line[0] and numbers >= line for line in _FIXED):
        return Check("engine", "ok", "gate.engine", f"Docker {version}")
    return Check(
        "engine",
        "failed",
        "gate.engine",
        f"Docker {version} lets names out past the sidecar (CVE-2024-29018)",
        "upgrade it to 26 or newer",
    )


def inspect(capsule: Capsule, guarded: Sequence[Path], policy: Path) -> list[Check]:
    """Every check that the engine's word is enough for. `guarded`: host directories that must not be inside; `policy`: the one the
    sidecar must read."""
    checks = list(sidecar(capsule, policy))
    for container in (capsule.app, *capsule.services):
        checks.extend(_networks(container, capsule))
        checks.extend(_powers(container, guarded))
    return checks


def sidecar(capsule: Capsule, policy: Path) -> Iterator[Check]:
    """That there is one sidecar, healthy, ours, confined, and reading the policy of the host."""
    running = [c for c in capsule.sidecars if c.running]
    if len(running) != 1:
        what = f"{len(running)} sidecars run" if running else "no sidecar runs"
        yield Check("sidecar", "failed", "gate.no-sidecar", what, START)
        return
    (one,) = running
    state: State = {"healthy": "ok", "starting": "unknown", "": "unknown"}.get(one.health, "failed")  # type: ignore[assignment]
    fix = "" if state == "ok" else f"see: docker logs {one.name}"
    yield Check("sidecar", state, "gate.sidecar-health", f"{one.name} is {one.health or 'without a health check'}", fix)
    yield _check("sidecar", one.image == IMAGE, "gate.not-sidecar", f"its image is {one.image}", REWRITE)
    version = one.labels.get("kap.version", "")
    same = version == __version__
    yield _check(
        "sidecar",
        same,
        "gate.sidecar-version",
        f"version {version or 'unknown'}, kap here is {__version__}",
        f"build its image again, then {REWRITE}",
    )
    yield from _confined(one)
    mounted = [m for m in one.mounts if m.target == "/etc/kap"]
    ours = [m for m in mounted if m.read_only and m.kind == "bind" and Path(m.source).resolve() == policy.resolve()]
    text = f"reads {policy}" if ours else f"reads {', '.join(m.source for m in mounted) or 'no policy of this host'}"
    yield _check("sidecar", bool(ours) and len(mounted) == 1, "gate.policy", text, REWRITE)


def _confined(one: Container) -> Iterator[Check]:
    wrong = []
    if one.privileged or one.host_namespaces or one.network_mode == "host":
        wrong.append("privileged or in a namespace of the host")
    if not one.read_only:
        wrong.append("a writable root")
    if {c.upper() for c in one.cap_drop} != {"ALL"} or {c.upper().removeprefix("CAP_") for c in one.cap_add} - {
        "NET_BIND_SERVICE"
    }:
        wrong.append("capabilities")
    if one.user.split(":")[0] in ("", "0", "root"):
        wrong.append("root as its user")
    yield _check(
        "sidecar",
        not wrong,
        "gate.sidecar-confined",
        f"has {', '.join(wrong)}" if wrong else "no root, no capability, read-only",
        REWRITE,
    )


def _networks(one: Container, capsule: Capsule) -> Iterator[Check]:
    name = service_of(one)
    family = {c.id: c for c in (capsule.app, *capsule.services)}
    if one.network_mode.startswith("container:"):
        host = one.network_mode.removeprefix("container:")
        shared = any(i.startswith(host) for i in family)
        yield _check(
            name,
            shared,
            "gate.second-network",
            "in the network of another service" if shared else "in the network of a foreign container",
            REWRITE,
        )
        return
    if not one.running:
        yield Check(name, "unknown", "gate.network-open", f"{one.name} does not run", RECREATE)
        return
    if len(one.networks) != 1 or one.network_mode in ("host", "none", ""):
        where = ", ".join(sorted(one.networks)) or one.network_mode or "none"
        yield Check(
            name, "failed", "gate.second-network", f"is on {where}; it may only be on the capsule's network", REWRITE
        )
        if one.network_mode == "host":
            return
    for label, identity in sorted(one.networks.items()):
        network = capsule.networks.get(identity)
        if network is None:
            yield Check(
                name, "unknown", "gate.network-open", f"the network {label} cannot be inspected", "run kap status again"
            )
        else:
            yield from _network(name, network, capsule)
    yield from _resolver(one, capsule)


def _network(name: str, network: Network, capsule: Capsule) -> Iterator[Check]:
    yield _check(
        name,
        network.internal,
        "gate.network-open",
        f"{network.name} is {'internal' if network.internal else 'not internal'}",
        REWRITE,
    )
    yield _check(
        name,
        network.inhibits_host,
        "gate.host-reachable",
        f"the host has {'no' if network.inhibits_host else 'an'} address on {network.name}",
        REWRITE,
    )
    closed6 = not network.ipv6
    yield _check(name, closed6, "gate.ipv6", f"{network.name} has {'no IPv6' if closed6 else 'IPv6'}", REWRITE)
    known = {c.id for c in (capsule.app, *capsule.services, *capsule.sidecars)}
    strangers = [m for m in network.members if m not in known]
    if strangers:
        text = f"{len(strangers)} foreign container(s) on {network.name}: {', '.join(m[:12] for m in strangers)}"
        yield Check(name, "failed", "gate.second-network", text, "take them off: docker network disconnect")


def _resolver(one: Container, capsule: Capsule) -> Iterator[Check]:
    addresses = {
        a for s in capsule.sidecars for n, a in s.addresses.items() if s.networks.get(n) in one.networks.values() and a
    }
    good = bool(one.dns) and set(one.dns) <= addresses
    text = f"asks {', '.join(one.dns) or 'the resolver of the host'}" + (
        "" if good else f"; the sidecar is {', '.join(sorted(addresses)) or 'not there'}"
    )
    yield _check(service_of(one), good, "gate.resolver", text, REWRITE)


def _powers(one: Container, guarded: Sequence[Path]) -> Iterator[Check]:
    name = service_of(one)
    yield _check(
        name,
        not one.privileged,
        "gate.privileged",
        "privileged" if one.privileged else "not privileged",
        "remove privileged: true",
    )
    added = {c.upper().removeprefix("CAP_") for c in one.cap_add} & escapes.CAPABILITIES
    dropped = {c.upper().removeprefix("CAP_") for c in one.cap_drop}
    kept = set() if "ALL" in dropped else {"NET_ADMIN", "NET_RAW"} - dropped
    wrong = sorted(added | kept)
    yield _check(
        name,
        not wrong,
        "gate.capabilities",
        f"may have {', '.join(wrong)}" if wrong else "no capability over the network",
        REWRITE,
    )
    spaces = ", ".join(one.host_namespaces)
    yield _check(
        name,
        not spaces,
        "gate.host-namespace",
        f"in the host's namespaces: {spaces}" if spaces else "in no namespace of the host",
        "remove them",
    )
    yield from _mounts(name, one, [PurePosixPath(g) for g in guarded])


def _mounts(name: str, one: Container, guarded: Sequence[PurePosixPath]) -> Iterator[Check]:
    found = [
        e for m in one.mounts if m.kind == "bind" for e in escapes.mount(name, m.source, m.read_only, tuple(guarded))
    ]
    for escape in found:
        yield Check(name, "failed", escape.code, escape.what, escape.fix)
    if not found:
        yield Check(name, "ok", "gate.host-mount", "no part of the host that must stay outside is mounted")


def service_of(one: Container) -> str:
    """What people call a container: its compose service, else its name."""
    return one.labels.get("com.docker.compose.service") or one.name


def is_sidecar(one: Container) -> bool:
    """Whether a container is in the sidecar's place. By its service, not by a label alone: a label is easily copied."""
    service = one.labels.get("com.docker.compose.service")
    return one.labels.get("kap.role") == "sidecar" and service in (SIDECAR, None)


def gate_lines(output: str, subject: str) -> list[Check]:
    """The checks a gate printed, one a line (``STATE<tab>CODE<tab>TEXT``); any other line makes the whole an unknown."""
    checks = []
    for line in output.splitlines():
        fields = line.split("\t")
        if (
            len(fields) != 3
            or fields[0] not in ("ok", "failed", "unknown")
            or not re.fullmatch(r"gate\.[a-z0-9-]{1,30}", fields[1])
        ):
            return [
                Check(
                    subject,
                    "unknown",
                    "gate.unknown",
                    "what the gate said inside cannot be understood",
                    "the container may be hostile: rebuild it",
                )
            ]
        state: State = fields[0]  # type: ignore[assignment]
        checks.append(Check(subject, state, fields[1], fields[2][:200], "" if state == "ok" else REWRITE))
    return checks


def _check(subject: str, good: bool, code: str, text: str, fix: str) -> Check:
    return Check(subject, "ok" if good else "failed", code, text, "" if good else fix)
