"""Everything in a compose model that leads out of a capsule whatever its network is, and what looks like it and does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kap.devcontainer import escapes
from kap.devcontainer.compose import Project

GUARDED = [Path("/home/ann/.kap")]


def codes(service: dict[str, Any], volumes: dict[str, Any] | None = None) -> list[str]:
    project = Project(Path("/p"), (), {"app": {"image": "x", **service}}, volumes or {})
    return [e.code for e in escapes.find(project, GUARDED)]


def bind(source: str, **more: Any) -> dict[str, Any]:
    return {"volumes": [{"type": "bind", "source": source, "target": "/x", **more}]}


@pytest.mark.parametrize(
    ("service", "code"),
    [
        ({"privileged": True}, "gate.privileged"),
        ({"pid": "host"}, "gate.host-namespace"),
        ({"ipc": "host"}, "gate.host-namespace"),
        ({"uts": "host"}, "gate.host-namespace"),
        ({"userns_mode": "host"}, "gate.host-namespace"),
        ({"cgroup": "host"}, "gate.host-namespace"),
        ({"network_mode": "container:abc"}, "gate.second-network"),
        ({"network_mode": "service:kap-sidecar"}, "gate.second-network"),
        ({"cap_add": ["ALL"]}, "gate.capabilities"),
        ({"cap_add": ["NET_RAW"]}, "gate.capabilities"),
        ({"cap_add": ["cap_net_admin"]}, "gate.capabilities"),
        ({"cap_add": ["sys_admin"]}, "gate.capabilities"),
        ({"cap_add": ["CAP_DAC_READ_SEARCH"]}, "gate.capabilities"),
        ({"devices": [{"source": "/dev/sda", "target": "/dev/sda"}]}, "gate.device"),
        ({"devices": ["/dev/mem:/dev/mem:rwm"]}, "gate.device"),
        ({"volumes_from": ["container:db"]}, "gate.host-mount"),
        ({"use_api_socket": True}, "gate.engine-socket"),
        ({"post_start": [{"command": "x", "privileged": True}]}, "gate.privileged"),
        ({"env_file": [{"path": "/etc/shadow"}]}, "gate.host-mount"),
        (bind("/var/run/docker.sock"), "gate.engine-socket"),
        (bind("/run/user/1000/podman/podman.sock", read_only=True), "gate.engine-socket"),
        (bind("/"), "gate.host-mount"),
        (bind("/", read_only=True), "gate.host-mount"),
        (bind("/etc"), "gate.host-mount"),
        (bind("/proc/1/root"), "gate.host-mount"),
        (bind("/sys/fs/cgroup"), "gate.host-mount"),
        (bind("/home"), "gate.host-mount"),
        (bind("/home/ann"), "gate.host-mount"),
        (bind("/home/ann/.kap"), "gate.host-mount"),
        (bind("/home/ann/.kap/projects/x/policy"), "gate.host-mount"),
        (bind("/var/lib/docker/volumes/x"), "gate.host-mount"),
    ],
)
def test_a_way_out_is_found(service: dict[str, Any], code: str) -> None:
    assert codes(service) == [code]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"type": "none", "o": "bind", "device": "/"}, "gate.host-mount"),
        ({"type": "none", "o": "bind", "device": "/var/run/docker.sock"}, "gate.engine-socket"),
        ({"type": "none", "o": "bind", "device": "/home/ann"}, "gate.host-mount"),
        ({"type": "nfs", "o": "addr=203.0.113.7", "device": ":/"}, "gate.host-mount"),
        ({"type": "nfs4", "device": "x"}, "gate.host-mount"),
        ({"type": "cifs", "device": "//server/share"}, "gate.host-mount"),
    ],
)
def test_a_volume_in_disguise_is_found(options: dict[str, str], code: str) -> None:
    assert codes({}, {"data": {"driver_opts": options}}) == [code]


@pytest.mark.parametrize(
    "service",
    [
        {},
        {"cap_add": ["SYS_PTRACE"], "security_opt": ["seccomp:unconfined"]},
        {"network_mode": "service:db"},
        {"network_mode": "host"},  # the overlay takes it away
        {"ipc": "shareable", "pid": "service:db"},
        {"devices": [{"source": "/dev/kvm"}, "/dev/dri:/dev/dri", {"source": "/dev/fuse"}]},
        bind("/home/ann/work/shop"),
        bind("/home/ann/.kapitan"),
        bind("/srv/data"),
        {"volumes": [{"type": "volume", "source": "data", "target": "/d"}]},
        {"volumes_from": ["db"]},
        {"post_start": [{"command": "x"}]},
        {"env_file": [{"path": "/home/ann/work/.env"}]},
    ],
)
def test_what_stays_inside_is_let_through(service: dict[str, Any]) -> None:
    assert codes(service) == []


def test_an_ordinary_volume_is_let_through() -> None:
    assert (
        codes(
            {}, {"data": {}, "fast": {"driver_opts": {"type": "tmpfs", "device": "tmpfs"}}, "old": {"external": True}}
        )
        == []
    )


def test_a_service_of_the_sidecars_name_is_found() -> None:
    found = escapes.find(Project(Path("/p"), (), {"kap-sidecar": {"image": "x"}}, {}), GUARDED)
    assert [(e.service, e.code) for e in found] == [("kap-sidecar", "gate.sidecar-name")]


@pytest.mark.parametrize(
    "junk", [{"volumes": 7}, {"devices": {"a": 1}}, {"cap_add": "ALL"}, {"volumes": ["x"]}, {"post_start": "x"}]
)
def test_shapes_compose_never_prints_do_no_harm(junk: dict[str, Any]) -> None:
    try:
        codes(junk)
    except (TypeError, AttributeError) as error:
        pytest.fail(f"{junk}: {error!r}")
