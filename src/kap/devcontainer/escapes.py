"""What in a resolved compose model would let a container out of its capsule, whatever network it is on. Pure.

The overlay takes networks, ports and privileges away by itself; what stands here cannot be taken away without guessing what the
author meant, so kap refuses to close such a project and says what to change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from kap.devcontainer.compose import Project

SIDECAR = "kap-sidecar"

CAPABILITIES = frozenset(
    [
        "ALL",
        "SYS_ADMIN",
        "NET_ADMIN",
        "NET_RAW",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_BOOT",
        "SYS_TIME",
        "MKNOD",
        "DAC_READ_SEARCH",
        "BPF",
        "PERFMON",
        "SYSLOG",
    ]
)
"""Capabilities that reach the network directly or the host's kernel. SYS_PTRACE, which debuggers need, stays inside the container."""

_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock")
_HOST_DIRECTORIES = tuple(
    PurePosixPath(p)
    for p in [
        "/",
        "/boot",
        "/dev",
        "/etc",
        "/home",
        "/proc",
        "/root",
        "/run",
        "/sys",
        "/usr",
        "/var",
        "/var/run",
        "/var/lib",
        "/lib",
    ]
)
_HOST_TREES = tuple(
    PurePosixPath(p)
    for p in [
        "/proc",
        "/sys",
        "/dev",
        "/var/lib/docker",
        "/var/lib/containerd",
        "/run/docker",
        "/run/containerd",
        "/boot",
    ]
)
_NETWORK_FILESYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs")
_HOST_NAMESPACES = ("pid", "ipc", "uts", "userns_mode", "cgroup")
_DEVICES = (
    "/dev/mem",
    "/dev/kmem",
    "/dev/port",
    "/dev/sd",
    "/dev/vd",
    "/dev/xvd",
    "/dev/nvme",
    "/dev/mapper",
    "/dev/dm-",
    "/dev/loop",
)


class Escape(msgspec.Struct, frozen=True):
    """`code` of ``kap.policy.codes``; `service` whose it is ("" for the project); what it says, and what to do about it."""

    code: str
    service: str
    what: str
    fix: str


def find(project: Project, protected: Iterable[Path]) -> list[Escape]:
    """Every escape in `project`. `protected`: host directories that govern the capsule and must not be inside it."""
    guarded = tuple(PurePosixPath(p) for p in protected)
    found: list[Escape] = []
    for name, service in project.services.items():
        if name == SIDECAR:
            found.append(
                Escape(
                    "gate.sidecar-name", name, f"a service is called {SIDECAR}", "rename it: that name is the sidecar's"
                )
            )
            continue
        found.extend(_of_service(name, service, guarded))
    for name, volume in project.volumes.items():
        found.extend(_of_volume(name, volume, guarded))
    return found


def _of_service(name: str, service: Mapping[str, Any], guarded: tuple[PurePosixPath, ...]) -> Iterator[Escape]:
    if service.get("privileged"):
        yield Escape(
            "gate.privileged", name, "privileged: true", "remove it: a privileged container can do what the host can"
        )
    for key in _HOST_NAMESPACES:
        if str(service.get(key, "")).startswith("host"):
            yield Escape(
                "gate.host-namespace",
                name,
                f"{key}: {service[key]}",
                "remove it: it puts the container into the host's namespace",
            )
    mode = str(service.get("network_mode", ""))
    if mode == f"service:{SIDECAR}" or mode.startswith("container:"):
        yield Escape(
            "gate.second-network",
            name,
            f"network_mode: {mode}",
            "remove it: it is the network of a container outside the capsule",
        )
    for capability in _texts(service.get("cap_add")):
        if capability.upper().removeprefix("CAP_") in CAPABILITIES:
            yield Escape("gate.capabilities", name, f"cap_add: {capability}", "remove it from cap_add")
    for device in _list(service.get("devices")):
        source = str(device.get("source", "") if isinstance(device, dict) else device).split(":")[0]
        if source.startswith(_DEVICES):
            yield Escape(
                "gate.device", name, f"devices: {source}", "remove it: the device is the host's memory or a disk of it"
            )
    if service.get("volumes_from") and any(str(v).startswith("container:") for v in _texts(service["volumes_from"])):
        yield Escape(
            "gate.host-mount", name, "volumes_from a container outside the project", "mount what is needed by name"
        )
    if service.get("use_api_socket"):
        yield Escape("gate.engine-socket", name, "use_api_socket: true", "remove it: the engine's socket is the host")
    for hook in [*_list(service.get("post_start")), *_list(service.get("pre_stop"))]:
        if isinstance(hook, dict) and hook.get("privileged"):
            yield Escape(
                "gate.privileged", name, "a privileged hook", "remove privileged: true from post_start and pre_stop"
            )
    for volume in _list(service.get("volumes")):
        if isinstance(volume, dict) and volume.get("type") == "bind":
            yield from mount(name, str(volume.get("source", "")), bool(volume.get("read_only")), guarded)
    yield from _files(name, service)


def _files(name: str, service: Mapping[str, Any]) -> Iterator[Escape]:
    """A service may read its environment from host files; a repository must not choose one outside itself."""
    for entry in _list(service.get("env_file")):
        path = str(entry.get("path", "") if isinstance(entry, dict) else entry)
        if path.startswith(("/proc/", "/etc/", "/root/")):
            yield Escape("gate.host-mount", name, f"env_file: {path}", "keep environment files in the project")


def mount(service: str, source: str, read_only: bool, guarded: tuple[PurePosixPath, ...]) -> Iterator[Escape]:
    """What is wrong with a bind mount of the host path `source`."""
    path = PurePosixPath(source)
    if path.name in _SOCKETS:
        yield Escape(
            "gate.engine-socket",
            service,
            f"mounts {source}",
            "remove the mount: whoever has the engine's socket has the host",
        )
    elif any(path == g or path in g.parents or g in path.parents for g in guarded):
        yield Escape(
            "gate.host-mount",
            service,
            f"mounts {source}",
            "mount a smaller directory: this one holds what governs the capsule",
        )
    elif path in _HOST_DIRECTORIES or any(tree in path.parents for tree in _HOST_TREES):
        how = "read-only " if read_only else ""
        yield Escape(
            "gate.host-mount", service, f"mounts {source} {how}".strip(), "mount only the directories the project needs"
        )


def _of_volume(name: str, volume: Any, guarded: tuple[PurePosixPath, ...]) -> Iterator[Escape]:
    """A named volume may be a bind mount, or a server on the network that the host's kernel talks to, in disguise."""
    options = volume.get("driver_opts") if isinstance(volume, dict) else None
    if not isinstance(options, dict):
        return
    kind, device = str(options.get("type", "")), str(options.get("device", ""))
    if kind in _NETWORK_FILESYSTEMS or device.startswith((":", "//")):
        yield Escape(
            "gate.host-mount",
            "",
            f"volume {name} is on the network ({kind or device})",
            "use a local volume: the host would carry its traffic",
        )
    elif device.startswith("/"):
        yield from mount("", device, False, guarded)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [str(v) for v in _list(value)]
