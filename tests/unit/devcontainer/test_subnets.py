"""Where a capsule's network lies: beside everything that is taken, and in the same place again."""

from __future__ import annotations

import pytest

from kap.devcontainer import subnets
from kap.devcontainer.subnets import Network, choose
from kap.errors import KapError


def test_the_same_name_gets_the_same_range_and_another_name_another() -> None:
    assert choose("shop", []) == choose("shop", [])
    assert choose("shop", []) != choose("blog", [])


def test_a_range_that_is_taken_is_passed_over() -> None:
    first = choose("shop", [])
    second = choose("shop", [first])
    assert not first.overlaps(second)
    assert not choose("shop", [Network("10.213.0.0/16")]).overlaps(Network("10.213.0.0/16"))


def test_the_range_in_use_stays_until_something_is_in_its_way() -> None:
    current = Network("10.213.200.64/26")
    assert choose("shop", [], current=current) == current
    assert choose("shop", [Network("10.213.200.0/24")], current=current) != current


@pytest.mark.parametrize("current", ["8.8.8.0/26", "10.213.0.0/28", "0.0.0.0/0"])
def test_a_range_that_kap_would_not_choose_is_not_kept(current: str) -> None:
    """It comes from a file of the repository: it must not put the capsule on somebody's addresses."""
    assert choose("shop", [], current=Network(current)) != Network(current)


def test_many_services_get_more_room() -> None:
    assert choose("shop", [], services=31).prefixlen == 24
    assert choose("shop", [], services=30).prefixlen == 26


def test_no_room_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(KapError, match="no free range") as raised:
        choose("shop", [Network("0.0.0.0/0")])
    assert "docker network prune" in raised.value.hint


def test_no_service_can_get_the_sidecars_address() -> None:
    network = Network("10.213.4.0/26")
    assert subnets.sidecar_address(network) == "10.213.4.2"
    assert subnets.service_range(network) == Network("10.213.4.32/27")


def test_routes_of_the_host_are_read_as_the_kernel_prints_them() -> None:
    table = (
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "tun0\t0000D50A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "garbage\n"
    )
    assert subnets.host_routes(table) == [Network("10.213.0.0/16"), Network("192.168.0.0/24")]


@pytest.mark.parametrize("text", ["", "x", "10.0.0.1/8", "fd00::/64", "10.0.0.0/99"])
def test_what_is_no_range_is_none(text: str) -> None:
    assert subnets.parse(text) is None
