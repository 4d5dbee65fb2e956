"""Every special-purpose block by its edges, and every way to carry IPv4 inside IPv6."""

from __future__ import annotations

import ipaddress

import pytest

from kap.names.addresses import BadTarget, canonical, classify, special_range


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("0.0.0.0", "this-network"),
        ("10.0.0.0", "private"),
        ("10.255.255.255", "private"),
        ("100.64.0.0", "shared"),
        ("100.127.255.255", "shared"),
        ("127.0.0.1", "loopback"),
        ("127.255.255.255", "loopback"),
        ("169.254.1.1", "link-local"),
        ("172.16.0.0", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.1", "ietf-protocol"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "6to4-relay"),
        ("192.168.255.255", "private"),
        ("198.18.0.0", "benchmarking"),
        ("198.19.255.255", "benchmarking"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.1", "documentation"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fc00::1", "unique-local"),
        ("fdff::1", "unique-local"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "documentation"),
        ("3fff::1", "documentation"),
        ("100::1", "discard"),
        ("5f00::1", "segment-routing"),
        ("2001:2::1", "benchmarking"),
        ("2001:1::1", "ietf-protocol"),
        ("2001:20::1", "orchid"),
        ("4000::1", "unallocated"),
        ("1::1", "unallocated"),
        # cloud services that hand out credentials
        ("169.254.169.254", "metadata"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("::ffff:169.254.169.254", "metadata"),
    ],
)
def test_not_global(address: str, name: str) -> None:
    found = classify(address)
    assert (found.name, found.is_global) == (name, False)


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "191.255.255.255",
        "192.0.3.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2a00:1450::1",
        "3ffe:ffff::1",
        "2001:4860::5efd:a00:1",
    ],
)
def test_global(address: str) -> None:
    assert classify(address).is_global


@pytest.mark.parametrize(
    ("address", "name", "embedded"),
    [
        ("::10.0.0.1", "ipv4-compatible", "10.0.0.1"),
        ("::8.8.8.8", "ipv4-compatible", "8.8.8.8"),
        ("::ffff:0:a00:1", "ipv4-translated", "10.0.0.1"),
        ("64:ff9b::a00:1", "nat64", "10.0.0.1"),
        ("64:ff9b::808:808", "nat64", "8.8.8.8"),
        ("64:ff9b:1:a00:0:100::", "nat64", "10.0.0.1"),
        ("2002:a00:1::1", "6to4", "10.0.0.1"),
        ("2002:808:808::1", "6to4", "8.8.8.8"),
        ("2001:0:5ef5:79fb::f5ff:fffe", "teredo", "10.0.0.1"),
        ("2a00:1450::5efe:a00:1", "isatap", "10.0.0.1"),
        ("2a00:1450::200:5efe:a00:1", "isatap", "10.0.0.1"),
    ],
)
def test_ipv4_inside_ipv6_is_never_global(address: str, name: str, embedded: str) -> None:
    found = classify(address)
    assert (found.name, found.is_global, found.embedded) == (name, False, embedded)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("::FFFF:10.0.0.1", "10.0.0.1"), ("2001:DB8:0:0::0:1", "2001:db8::1"), ("192.0.2.7", "192.0.2.7")],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "example.com", "127.1", "010.0.0.1", "1.2.3.4 ", "fe80::1%eth0", "[::1]", "1.2.3.٤", "::ffff:010.0.0.1"],
)
def test_not_an_address(text: str) -> None:
    with pytest.raises(BadTarget):
        classify(text)


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("10.1.0.0/16", "private"),
        ("10.0.0.0/7", ""),
        ("0.0.0.0/0", ""),
        ("::/0", ""),
        ("192.168.0.0/15", ""),
        ("168.63.129.16/32", "metadata"),
        ("168.63.129.0/24", ""),
        ("8.8.8.8/32", ""),
        ("fc00::/7", "unique-local"),
        ("fd00:1::/32", "unique-local"),
        ("::1/128", "loopback"),
    ],
)
def test_a_range_is_spelled_out_or_not(network: str, name: str) -> None:
    assert special_range(ipaddress.ip_network(network)) == name
