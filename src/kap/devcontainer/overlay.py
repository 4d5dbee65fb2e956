"""The overlay: what is laid over a project's compose files so that every service of it is inside the capsule. Pure; data, then YAML.

Rules: every key that could leave a way out is replaced (``!override``) or removed (``!reset``), never merged, because compose appends
lists and maps; it is complete as it stands, so a project whose host half never ran still starts closed or not at all; no variable but
``${HOME}`` is used, because compose also takes variables from a ``.env`` file that the workspace can write.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import msgspec
from ruamel.yaml import YAML

from kap import __version__
from kap.devcontainer import subnets

SIDECAR = "kap-sidecar"
INTERNAL = "kap-internal"
EXTERNAL = "kap-external"
PROXY_PORT = 3128
IMAGE = f"kap-sidecar:{__version__}"
_HEADER = f"""\
# Written by kap {__version__} (kap overlay); commit it. It has to be the last of "dockerComposeFile".
# It takes every service of this project off the internet: the only way out is the sidecar, which lets through what kap.toml allows.
# Changing it does not open anything unnoticed: the gate in the container and `kap status` both check what is really there.
"""


class Override(msgspec.Struct, frozen=True):
    """``!override``: compose takes this value instead of merging it."""

    value: Any


class Reset(msgspec.Struct, frozen=True):
    """``!reset``: compose takes the key away."""


class Mount(msgspec.Struct, frozen=True):
    """A file or directory that governs the capsule, laid read-only over the workspace. `source` relative to the compose directory."""

    source: str
    target: str


class Plan(msgspec.Struct, frozen=True):
    """What an overlay is made from.

    `capsule`: its id. `app`: the dev container's service. `services`: every service's ``network_mode`` by name ("" for none).
    `network`: the capsule's range. `home`: ``${HOME}/.kap`` or a literal absolute path.
    `user`: ``uid:gid`` of the sidecar. `protected`: read-only mounts of `app`.
    """

    capsule: str
    app: str
    services: Mapping[str, str]
    network: subnets.Network
    home: str = "${HOME}/.kap"
    image: str = IMAGE
    user: str = "65532:65532"
    protected: Sequence[Mount] = ()


def build(plan: Plan) -> dict[str, Any]:
    """The overlay for `plan`, with `Override` and `Reset` where compose must not merge."""
    services: dict[str, Any] = {name: _service(plan, name, mode) for name, mode in sorted(plan.services.items())}
    services[SIDECAR] = Override(_sidecar(plan))
    return {
        "x-kap": {"capsule": plan.capsule, "version": __version__, "network": str(plan.network)},
        "services": services,
        "networks": {INTERNAL: Override(_internal(plan)), EXTERNAL: Override(_external(plan))},
    }


def dump(overlay: Mapping[str, Any]) -> str:
    """`overlay` as YAML, with a header for its readers. Same data, same text."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.width = 200
    yaml.representer.ignore_aliases = lambda *_: True
    yaml.representer.add_representer(Override, _represent_override)
    yaml.representer.add_representer(Reset, lambda r, _: r.represent_scalar("!reset", "null"))
    out = io.StringIO()
    yaml.dump(dict(overlay), out)
    return _HEADER + out.getvalue()


def recorded(text: str) -> tuple[str, subnets.Network | None]:
    """The capsule and the range an overlay was written for; empty where `text` is no overlay of kap's."""
    try:
        yaml = YAML(typ="safe", pure=True)
        yaml.constructor.add_multi_constructor("!", lambda *_: None)
        value = yaml.load(text)
    except Exception:  # noqa: BLE001 - a file of the repository: whatever is wrong with it, it is written anew
        return "", None
    note = value.get("x-kap") if isinstance(value, dict) else None
    if not isinstance(note, dict):
        return "", None
    return str(note.get("capsule", "")), subnets.parse(str(note.get("network", "")))


def _represent_override(representer: Any, data: Override) -> Any:
    if isinstance(data.value, Mapping):
        return representer.represent_mapping("!override", data.value)
    return representer.represent_sequence("!override", data.value)


def _service(plan: Plan, name: str, mode: str) -> dict[str, Any]:
    """What becomes of a service of the project. One that lives in another's network namespace is closed with that one."""
    sidecar = subnets.sidecar_address(plan.network)
    service: dict[str, Any] = {
        "labels": _labels(plan, "app" if name == plan.app else "service"),
        "cap_drop": ["NET_ADMIN", "NET_RAW"],
        "depends_on": {SIDECAR: {"condition": "service_healthy"}},
        "environment": _environment(plan, sidecar),
        "ports": Reset(),
    }
    if not mode.startswith("service:"):
        service |= {
            "network_mode": Reset(),
            "networks": Override({INTERNAL: {}}),
            "dns": Override([sidecar]),
            # The host's search domains would tell the names of its network to the sidecar.
            "dns_search": Override(["."]),
        }
    if name == plan.app and plan.protected:
        service["volumes"] = [_bind(m.source, m.target, read_only=True) for m in plan.protected]
    return service


def _environment(plan: Plan, sidecar: str) -> dict[str, str]:
    proxy = f"http://{sidecar}:{PROXY_PORT}"
    direct = ",".join(["localhost", "127.0.0.1", "::1", SIDECAR, *sorted(plan.services)])
    both = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": direct}
    return {"KAP_SIDECAR": f"{sidecar}:{PROXY_PORT}", **both, **{k.lower(): v for k, v in both.items()}}


def _sidecar(plan: Plan) -> dict[str, Any]:
    state = f"{plan.home}/capsules/{plan.capsule}"
    address = subnets.sidecar_address(plan.network)
    return {
        "image": plan.image,
        "labels": _labels(plan, "sidecar"),
        "networks": {INTERNAL: {"ipv4_address": address}, EXTERNAL: {}},
        "user": plan.user,
        "read_only": True,
        # Ports from 53 up need no privilege in this namespace, so not even CAP_NET_BIND_SERVICE is kept.
        "cap_drop": ["ALL"],
        "sysctls": {"net.ipv4.ip_unprivileged_port_start": "53"},
        "security_opt": ["no-new-privileges:true"],
        "tmpfs": ["/tmp:size=16m,mode=1777,noexec,nosuid,nodev"],  # noqa: S108 - inside the container
        "pids_limit": 128,
        "restart": "unless-stopped",
        "stop_grace_period": "5s",
        "environment": {"KAP_CAPSULE": plan.capsule},
        "volumes": [
            _bind(f"{state}/policy", "/etc/kap", read_only=True),
            _bind(f"{state}/sidecar", "/var/log/kap", read_only=False),
        ],
        "logging": {"driver": "local", "options": {"max-size": "10m", "max-file": "3"}},
    }


def _internal(plan: Plan) -> dict[str, Any]:
    """The capsule's network: no route out, and no address of the host's on it either."""
    # The first address is the host's, which it does not get: named, so that the gate knows where to look for it.
    first = str(plan.network.network_address + 1)
    pool = {"subnet": str(plan.network), "gateway": first, "ip_range": str(subnets.service_range(plan.network))}
    return {
        "driver": "bridge",
        "internal": True,
        "enable_ipv6": False,
        "driver_opts": {"com.docker.network.bridge.inhibit_ipv4": "true"},
        "ipam": {"config": [pool]},
        "labels": _labels(plan, "internal"),
    }


def _external(plan: Plan) -> dict[str, Any]:
    """The sidecar's own network; nothing else is on it."""
    return {"driver": "bridge", "enable_ipv6": False, "labels": _labels(plan, "external")}


def _labels(plan: Plan, role: str) -> dict[str, str]:
    return {"kap.project": plan.capsule, "kap.role": role, "kap.version": __version__}


def _bind(source: str, target: str, *, read_only: bool) -> dict[str, Any]:
    """A mount that is an error where its source is missing; the short form would make an empty directory, as root."""
    return {
        "type": "bind",
        "source": source,
        "target": target,
        "read_only": read_only,
        "bind": {"create_host_path": False},
    }


def literal(path: PurePosixPath) -> str:
    """`path` for a compose file, where a dollar sign begins a variable."""
    return str(path).replace("$", "$$")
