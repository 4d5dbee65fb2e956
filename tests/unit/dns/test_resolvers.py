"""Which servers are asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.dns import resolvers
from kap.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.53", ("192.0.2.53", 53)),
        ("192.0.2.53:5353", ("192.0.2.53", 5353)),
        ("2001:db8::53", ("2001:db8::53", 53)),
        ("[2001:db8::53]:5353", ("2001:db8::53", 5353)),
    ],
)
def test_an_address_with_or_without_port(text: str, address: tuple[str, int]) -> None:
    assert resolvers.upstream_servers(text) == (address,)
    assert resolvers.upstream_servers([text, text]) == (address, address)


@pytest.mark.parametrize(
    "text", ["dns.example.com", "192.0.2.53:0", "192.0.2.53:99999", "300.1.1.1", "192.0.2.53:dns", " "]
)
def test_anything_else_is_an_error_with_a_hint(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolvers.upstream_servers(text)
    assert "upstream" in caught.value.message
    assert caught.value.hint


def test_nothing_set_means_the_resolver_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = tmp_path / "resolv.conf"
    conf.write_text(
        "# made by hand\nsearch example.com\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n nameserver 192.0.2.2 \n"
        "nameserver 192.0.2.3\nnameserver 192.0.2.4\nnameserver\n"
    )
    monkeypatch.setattr(resolvers, "RESOLV_CONF", conf)
    assert resolvers.upstream_servers(None) == (("192.0.2.1", 53), ("192.0.2.2", 53), ("192.0.2.3", 53))
    assert resolvers.upstream_servers("") == resolvers.upstream_servers(None)
    conf.unlink()
    with pytest.raises(ConfigError, match="no DNS upstream"):
        resolvers.upstream_servers(None)
