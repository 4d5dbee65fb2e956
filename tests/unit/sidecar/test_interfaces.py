"""Which of our addresses the capsule sees."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from kap.sidecar import interfaces
from kap.sidecar.interfaces import choose, find_addresses

LOOPBACK = {"lo": ["127.0.0.1", "::1"]}


def test_the_interface_without_a_default_route_is_the_capsules() -> None:
    found = choose({**LOOPBACK, "eth0": ["172.28.0.2"], "eth1": ["172.19.0.3", "fe80::1"]}, {"eth1"})
    assert found.capsule == ("172.28.0.2",)
    assert found.own == ("127.0.0.1", "::1", "172.28.0.2", "172.19.0.3", "fe80::1")


def test_one_network_is_all_there_is() -> None:
    assert choose({**LOOPBACK, "eth0": ["172.28.0.2", "fd00::2"]}, {"eth0"}).capsule == ("172.28.0.2", "fd00::2")


def test_loopback_where_nothing_else_is() -> None:
    assert choose(LOOPBACK, set()).capsule == ("127.0.0.1",)
    assert choose({}, set()).own == ("127.0.0.1", "::1")


def test_the_routes_of_the_kernel_are_read(tmp_path: Path) -> None:
    net = tmp_path / "net"
    net.mkdir()
    (net / "route").write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth1\t00000000\t010013AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth0\t00001CAC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
    )
    zero = "0" * 32
    (net / "ipv6_route").write_text(
        f"{zero} 00 {zero} 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth2\n"
        f"{zero} 00 {zero} 00 {zero} ffffffff 00000001 00000000 00200200       lo\n"
        f"fd000000000000000000000000000000 40 {zero} 00 {zero} 00000100 00000001 00000000 00000001     eth0\n"
    )
    assert interfaces._leading_out(tmp_path) == {"eth1", "eth2"}


def test_this_machine_has_addresses() -> None:
    found = find_addresses()
    assert "127.0.0.1" in found.own and found.capsule
    for address in (*found.own, *found.capsule):
        ipaddress.ip_address(address)


def test_a_proc_without_tables_is_survived(tmp_path: Path) -> None:
    assert find_addresses(tmp_path).capsule
