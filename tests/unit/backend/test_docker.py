"""What the engine's API says, made into values: whatever is missing in it, and without an engine at all."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from kap.backend import docker
from kap.errors import BackendError

INSPECTED = {
    "Id": "abc",
    "Name": "/shop-app-1",
    "Image": "sha256:1",
    "State": {"Status": "running", "Pid": 7, "Health": {"Status": "healthy"}},
    "Config": {"Image": "debian", "Labels": {"a": "b"}, "User": "1000"},
    "HostConfig": {
        "NetworkMode": "net",
        "Privileged": True,
        "CapAdd": ["NET_RAW"],
        "CapDrop": None,
        "PidMode": "host",
        "IpcMode": "private",
        "Dns": ["10.0.0.2"],
        "ReadonlyRootfs": True,
    },
    "Mounts": [
        {"Type": "bind", "Source": "/a", "Destination": "/b", "RW": False},
        {"Type": "volume", "Source": "/v", "Destination": "/w", "RW": True},
    ],
    "NetworkSettings": {"Networks": {"net": {"NetworkID": "n1", "IPAddress": "10.0.0.3"}}},
}


def test_a_container_is_read() -> None:
    one = docker.container(INSPECTED)
    assert (one.name, one.running, one.health, one.user, one.pid) == ("shop-app-1", True, "healthy", "1000", 7)
    assert (one.privileged, one.cap_add, one.cap_drop, one.host_namespaces) == (True, ("NET_RAW",), (), ("pid",))
    assert one.networks == {"net": "n1"}
    assert one.addresses == {"net": "10.0.0.3"}
    assert [m.read_only for m in one.mounts] == [True, False]


@pytest.mark.parametrize(
    "raw", [{}, {"Config": None, "HostConfig": None, "State": None, "NetworkSettings": None, "Mounts": None}]
)
def test_what_is_missing_is_not_made_up(raw: dict[str, object]) -> None:
    one = docker.container(raw)
    assert (one.running, one.privileged, one.networks, one.mounts, one.dns) == (False, False, {}, (), ())


@pytest.mark.parametrize(
    ("options", "inhibits"),
    [
        ({"com.docker.network.bridge.inhibit_ipv4": "true"}, True),
        ({"com.docker.network.bridge.inhibit_ipv4": "1"}, True),
        ({"com.docker.network.bridge.gateway_mode_ipv4": "isolated"}, True),
        ({"com.docker.network.bridge.inhibit_ipv4": "false"}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_network_is_read(options: object, inhibits: bool) -> None:
    raw = {
        "Id": "n1",
        "Name": "net",
        "Internal": True,
        "Options": options,
        "IPAM": {"Config": [{"Subnet": "10.0.0.0/26"}]},
        "Containers": {"abc": {}},
    }
    one = docker.network(raw)
    assert (one.internal, one.ipv6, one.inhibits_host, one.subnets, one.members) == (
        True,
        False,
        inhibits,
        ("10.0.0.0/26",),
        ("abc",),
    )


def test_a_network_that_says_nothing_is_open() -> None:
    assert (docker.network({}).internal, docker.network({}).inhibits_host) == (False, False)


def test_ranges_leave_out_a_capsules_own_and_what_is_no_ipv4() -> None:
    def net(subnets: tuple[str, ...], **labels: str) -> docker.Network:
        return docker.Network("i", "n", labels, "bridge", False, False, False, subnets, ())

    networks = [net(("10.1.0.0/16", "fd00::/64", "x", "")), net(("10.2.0.0/16",), **{"kap.project": "shop"})]
    assert docker.ranges(networks, without_capsule="shop") == [ipaddress.IPv4Network("10.1.0.0/16")]
    assert len(docker.ranges(networks)) == 2


def test_without_an_engine_the_error_says_how_to_start_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(BackendError, match="no container engine answers") as raised:
        docker.connect()
    assert "docker info" in raised.value.hint
    assert raised.value.exit_code == 69
