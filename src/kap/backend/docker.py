"""The container engine, by the Docker SDK: find, inspect, ask inside. Nothing here changes a container.

Rules: what the engine says is made into frozen values here, once, whatever is missing in it; what comes out of a container is bytes
from a hostile place; every call has a time-out; the SDK is imported when an engine is first asked for.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from kap.backend import silence
from kap.errors import BackendError

if TYPE_CHECKING:
    from types import ModuleType

SECONDS = 10
"""For every question to the engine; an `execute` may take as long as the program it runs, see there."""

OUTPUT_LIMIT = 65_536
_DEFAULT = "unix:///var/run/docker.sock"


class Mount(msgspec.Struct, frozen=True):
    """A mount of a container: `kind` ``bind``, ``volume``, ``tmpfs``; `source` on the host."""

    kind: str
    source: str
    target: str
    read_only: bool


class Container(msgspec.Struct, frozen=True):
    """A container as the engine describes it. `networks`: network id by name. `health`: ``healthy``, ``starting``, ... or ""."""

    id: str
    name: str
    labels: Mapping[str, str]
    state: str
    health: str
    image: str
    image_id: str
    networks: Mapping[str, str]
    addresses: Mapping[str, str]
    network_mode: str
    host_namespaces: tuple[str, ...]
    privileged: bool
    cap_add: tuple[str, ...]
    cap_drop: tuple[str, ...]
    mounts: tuple[Mount, ...]
    read_only: bool
    user: str
    dns: tuple[str, ...]
    pid: int

    @property
    def running(self) -> bool:
        return self.state == "running"


class Network(msgspec.Struct, frozen=True):
    """A network of the engine. `inhibits_host`: the host has no address on it."""

    id: str
    name: str
    labels: Mapping[str, str]
    driver: str
    internal: bool
    ipv6: bool
    inhibits_host: bool
    subnets: tuple[str, ...]
    members: tuple[str, ...]


class Engine:
    """A connected engine. Every method raises `BackendError` when it stops answering."""

    def __init__(self, client: Any, sdk: ModuleType) -> None:
        self._client = client
        self._sdk = sdk

    @property
    def version(self) -> str:
        """The engine's version, as it says it."""
        return str(self._ask(lambda: self._client.version()).get("Version", ""))

    def labelled(self, wanted: Sequence[str]) -> tuple[Container, ...]:
        """The containers, running or not, that carry all labels (``name`` or ``name=value``), oldest first."""
        listed = self._ask(lambda: self._client.api.containers(all=True, filters={"label": list(wanted)}))
        found = []
        for entry in listed:
            try:
                found.append(container(self._client.api.inspect_container(entry["Id"])))
            except self._sdk.errors.NotFound:
                continue  # gone since it was listed
            except Exception as error:
                raise self._broken(error) from error
        return tuple(sorted(found, key=lambda c: c.name))

    def networks(self) -> tuple[Network, ...]:
        """All networks of the engine."""
        listed = self._ask(lambda: self._client.api.networks())
        found = []
        for entry in listed:
            try:
                found.append(network(self._client.api.inspect_network(entry["Id"])))
            except self._sdk.errors.NotFound:
                continue
            except Exception as error:
                raise self._broken(error) from error
        return tuple(found)

    def execute(
        self, container_id: str, argv: Sequence[str], *, user: str = "", seconds: float = 60
    ) -> tuple[int, bytes]:
        """Run a program in a running container: its exit code and what it wrote, both streams together.

        Code -1 where it wrote more than `OUTPUT_LIMIT` bytes or took longer than `seconds`; the engine cannot end it then.
        """
        try:
            api = self._client.api
            created = api.exec_create(container_id, list(argv), stdin=False, user=user)
            out, deadline = b"", time.monotonic() + seconds
            for part in api.exec_start(created["Id"], stream=True):
                out += part[: OUTPUT_LIMIT - len(out)]
                if len(out) >= OUTPUT_LIMIT or time.monotonic() > deadline:
                    return -1, out
            code = api.exec_inspect(created["Id"]).get("ExitCode")
        except Exception as error:
            raise self._broken(error) from error
        return (code if isinstance(code, int) else -1), out

    def close(self) -> None:
        """Let the connection go."""
        self._client.close()

    def _ask(self, question: Any) -> Any:
        try:
            return question()
        except Exception as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> BackendError:
        said = str(error).strip().splitlines()
        return BackendError(
            f"the container engine does not answer: {said[0] if said else type(error).__name__}", silence.START
        )


def connect() -> Engine:
    """The engine of ``DOCKER_HOST``, else of docker's current context, else of the default socket. Raises `BackendError`."""
    try:
        import docker
    except ImportError as error:
        raise BackendError("kap is installed without what it needs for containers", "install kap[host]") from error
    named = os.environ.get("DOCKER_HOST")
    endpoint = named or _endpoint(docker)
    try:
        client = docker.from_env(timeout=SECONDS) if named else docker.DockerClient(base_url=endpoint, timeout=SECONDS)
        client.ping()
    except Exception as error:
        text, remedy = silence.why(error)
        raise BackendError(
            f"no container engine answers at {silence.shown(endpoint or _DEFAULT)}: {text}", remedy
        ) from error
    return Engine(client, docker)


def _endpoint(sdk: ModuleType) -> str | None:
    """The socket of the docker command's current context; None for the default one."""
    try:
        context = sdk.context.ContextAPI.get_current_context()
        return str(context.Host) if context is not None and context.Host else None
    except Exception:  # noqa: BLE001 - a context that cannot be read is the docker command's to complain about
        return None


def container(raw: Mapping[str, Any]) -> Container:
    """A `Container` from what the engine's inspect says (Docker Engine API, ContainerInspect)."""
    host, config, state = (_mapping(raw.get(k)) for k in ("HostConfig", "Config", "State"))
    networks = _mapping(_mapping(raw.get("NetworkSettings")).get("Networks"))
    spaces = {"pid": "PidMode", "ipc": "IpcMode", "uts": "UTSMode", "userns": "UsernsMode", "cgroup": "CgroupnsMode"}
    return Container(
        id=str(raw.get("Id", "")),
        name=str(raw.get("Name", "")).lstrip("/"),
        labels=_texts(config.get("Labels")),
        state=str(state.get("Status", "")),
        health=str(_mapping(state.get("Health")).get("Status", "")),
        image=str(config.get("Image", "")),
        image_id=str(raw.get("Image", "")),
        networks={name: str(_mapping(n).get("NetworkID", "")) for name, n in networks.items()},
        addresses={name: str(_mapping(n).get("IPAddress", "")) for name, n in networks.items()},
        network_mode=str(host.get("NetworkMode", "")),
        host_namespaces=tuple(k for k, key in spaces.items() if k != "cgroup" and host.get(key) == "host"),
        privileged=bool(host.get("Privileged")),
        cap_add=_list(host.get("CapAdd")),
        cap_drop=_list(host.get("CapDrop")),
        mounts=tuple(_mount(_mapping(m)) for m in raw.get("Mounts") or ()),
        read_only=bool(host.get("ReadonlyRootfs")),
        user=str(config.get("User", "")),
        dns=_list(host.get("Dns")),
        pid=int(state.get("Pid") or 0),
    )


def network(raw: Mapping[str, Any]) -> Network:
    """A `Network` from what the engine's inspect says (Docker Engine API, NetworkInspect)."""
    options = _texts(raw.get("Options"))
    ranges = _mapping(raw.get("IPAM")).get("Config") or ()
    inhibits = options.get("com.docker.network.bridge.inhibit_ipv4", "").lower() in ("true", "1")
    isolated = options.get("com.docker.network.bridge.gateway_mode_ipv4", "") == "isolated"
    return Network(
        id=str(raw.get("Id", "")),
        name=str(raw.get("Name", "")),
        labels=_texts(raw.get("Labels")),
        driver=str(raw.get("Driver", "")),
        internal=bool(raw.get("Internal")),
        ipv6=bool(raw.get("EnableIPv6")),
        inhibits_host=inhibits or isolated,
        subnets=tuple(str(_mapping(r).get("Subnet", "")) for r in ranges),
        members=tuple(_mapping(raw.get("Containers"))),
    )


def ranges(networks: Sequence[Network], *, without_capsule: str = "") -> list[ipaddress.IPv4Network]:
    """The IPv4 ranges of `networks`, those labelled as the named capsule's left out."""
    found = []
    for each in networks:
        if without_capsule and each.labels.get("kap.project") == without_capsule:
            continue
        for text in each.subnets:
            try:
                parsed = ipaddress.ip_network(text, strict=False)
            except ValueError:
                continue
            if isinstance(parsed, ipaddress.IPv4Network):
                found.append(parsed)
    return found


def _mount(raw: Mapping[str, Any]) -> Mount:
    return Mount(
        str(raw.get("Type", "")), str(raw.get("Source", "")), str(raw.get("Destination", "")), not raw.get("RW", True)
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def _list(value: object) -> tuple[str, ...]:
    return tuple(str(v) for v in value) if isinstance(value, list) else ()
