"""What a network answers, and what that makes a demonstration grant."""

from __future__ import annotations

import pytest

from kap.host import network_check
from kap.host.network_check import Network, grants, look

ANSWERS = {
    "public.example.com": ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
    "gateway.example.com": ["203.0.113.80", "203.0.113.80"],
    "private.example.com": ["10.0.0.7", "fd00::7"],
    "evil.example.com": ["127.0.0.1", "169.254.169.254", "fe80::1%eth0", "0.0.0.0"],
}


@pytest.fixture(autouse=True)
def no_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network_check, "private_issuer", lambda name: None)


def lookup(name: str) -> list[str]:
    if name not in ANSWERS:
        raise OSError("no such name")
    return ANSWERS[name]


def test_a_normal_network_is_granted_nothing() -> None:
    network = look(["public.example.com"], lookup)
    assert network == Network({})
    assert grants(network) == ()


def test_exactly_the_addresses_seen() -> None:
    network = look(["public.example.com", "gateway.example.com", "private.example.com"], lookup)
    assert network.odd == {"gateway.example.com": ("203.0.113.80",), "private.example.com": ("10.0.0.7", "fd00::7")}
    assert grants(network) == ("10.0.0.7/32", "203.0.113.80/32", "fd00::7/128")


def test_this_machine_itself_is_never_granted() -> None:
    """A resolver that answers with loopback or the metadata service does not get them opened."""
    network = look(["evil.example.com"], lookup)
    assert len(network.odd["evil.example.com"]) == 4
    assert grants(network) == ()


def test_names_without_an_address_are_told() -> None:
    assert look(["nowhere.example.com"], lookup).unresolved == ("nowhere.example.com",)
