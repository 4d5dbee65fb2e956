"""Patterns: what is one, what it includes, and what to write instead of what is none."""

from __future__ import annotations

import pytest

from kap.names.hosts import parse_authority, parse_host
from kap.names.patterns import BadPattern, is_public_name, parse_network, parse_pattern

WEB = ((80, "http"), (443, "tls"))


@pytest.mark.parametrize(
    ("text", "canonical", "kind", "ports"),
    [
        ("example.com", "example.com", "host", WEB),
        ("EXAMPLE.com.", "example.com", "host", WEB),
        ("_srv._tcp.example.com", "_srv._tcp.example.com", "host", WEB),
        ("bücher.example.com", "xn--bcher-kva.example.com", "host", WEB),
        ("*.Example.COM.", "*.example.com", "suffix", WEB),
        ("*", "*", "any", WEB),
        ("localhost", "localhost", "host", WEB),
        ("example.com:443", "example.com:443", "host", ((443, "tls"),)),
        ("example.com:80", "example.com:80", "host", ((80, "http"),)),
        ("example.com:22", "example.com:22", "host", ((22, "ssh"),)),
        ("example.com:8443", "example.com:8443", "host", ((8443, "auto"),)),
        ("db.example.com:5432/tcp", "db.example.com:5432/tcp", "host", ((5432, "tcp"),)),
        ("*.example.com:22/ssh", "*.example.com:22/ssh", "suffix", ((22, "ssh"),)),
        ("10.1.0.0/16", "10.1.0.0/16", "network", WEB),
        ("10.1.0.0/16:443", "10.1.0.0/16:443", "network", ((443, "tls"),)),
        ("192.0.2.7", "192.0.2.7", "network", WEB),
        ("192.0.2.7/32", "192.0.2.7", "network", WEB),
        ("192.0.2.7:25/tcp", "192.0.2.7:25/tcp", "network", ((25, "tcp"),)),
        ("2001:DB8::/32", "2001:db8::/32", "network", WEB),
        ("::1", "::1", "network", WEB),
        ("[::1]:22", "[::1]:22", "network", ((22, "ssh"),)),
        ("[2001:db8::/32]:443", "[2001:db8::/32]:443", "network", ((443, "tls"),)),
        ("[2001:db8::]/32:443", "[2001:db8::/32]:443", "network", ((443, "tls"),)),
    ],
)
def test_valid(text: str, canonical: str, kind: str, ports: tuple[tuple[int, str], ...]) -> None:
    pattern = parse_pattern(text)
    assert (pattern.text, pattern.kind, pattern.ports()) == (canonical, kind, ports)
    assert parse_pattern(pattern.text) == pattern


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("https://example.com/path", "example.com"),
        ("https://example.com:8443/path", "example.com:8443"),
        ("https://user:secret@example.com/", "example.com"),
        ("http://example.com:80", "example.com"),
        ("ssh://git@example.com/x.git", "example.com:22"),
        ("git@example.com:owner/repo.git", "example.com:22"),
        ("user@example.com", "example.com"),
        ("example.com/path", "example.com"),
        ("example.com:443/path", "example.com:443"),
        ("*hub.com", "*.hub.com"),
        ("*-api.example.com", "*.api.example.com"),
        ("**.example.com", "*.example.com"),
        ("*.*.example.com", "*.example.com"),
        ("api-*.example.com", "*.example.com"),
        ("api.*.example.com", "*.example.com"),
        ("example.*", ""),
        ("*.*", ""),
        ("*.", ""),
        ("*.com", ""),
        (".example.com", "*.example.com"),
        (" example.com ", "example.com"),
        ("^.*\\.example\\.com$", "*.example.com"),
        ("(.*).example.com", "*.example.com"),
        ("example.com:*", "example.com"),
        ("example.com:", "example.com"),
        ("example.com:0", "example.com"),
        ("example.com:80-90", "example.com:80"),
        ("example.com:80,443", "example.com:80"),
        ("example.com:22/telnet", "example.com:22"),
        ("example.com#comment", "example.com"),
        ("a.example.com, b.example.com", ""),
        ("example.com\r\nallow all", ""),
        ("example.com\x00", ""),
        ("example.com%2f", ""),
        ("", ""),
        ("   ", ""),
        (".", ""),
        ("a..example.com", ""),
        ("10.1.2.3/16", "10.1.0.0/16"),
        ("10.1.2.3/16:443", "10.1.0.0/16:443"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("10.0.0.0/33", ""),
        ("10.1", ""),
        ("0x7f.1", ""),
        ("fe80::1%eth0", ""),
        ("*.192.0.2.7", ""),
        ("a" * 400, ""),
    ],
)
def test_refused_with_what_to_write_instead(text: str, suggestion: str) -> None:
    with pytest.raises(BadPattern) as caught:
        parse_pattern(text)
    assert caught.value.message
    assert caught.value.suggestion == suggestion


def test_a_whole_top_level_domain_can_be_denied_but_not_allowed() -> None:
    with pytest.raises(BadPattern, match="top-level"):
        parse_pattern("*.com", "allow")
    assert parse_pattern("*.com", "deny").matches_host(parse_host("example.com"))


@pytest.mark.parametrize(
    ("pattern", "target", "included"),
    [
        ("example.com", "example.com:443", True),
        ("example.com", "example.com:22", False),
        ("example.com", "a.example.com:443", False),
        ("*.example.com", "a.example.com:443", True),
        ("*.example.com", "a.b.example.com:443", True),
        ("*.example.com", "example.com:443", False),
        ("*.example.com", "notexample.com:443", False),
        ("*", "example.com:443", True),
        ("*", "192.0.2.7:443", False),
        ("*", "localhost:443", False),
        ("*", "printer.local:443", False),
        ("*", "metadata.internal:443", False),
        ("*", "intranet:443", False),
        ("10.1.0.0/16", "10.1.2.3:443", True),
        ("10.1.0.0/16", "[::ffff:10.1.2.3]:443", True),
        ("10.1.0.0/16", "10.2.0.0:443", False),
        ("10.1.0.0/16", "example.com:443", False),
        ("2001:db8::/32", "[2001:db8:1::1]:443", True),
        ("::/0", "10.1.2.3:443", False),
    ],
)
def test_includes(pattern: str, target: str, included: bool) -> None:
    assert parse_pattern(pattern).matches(parse_authority(target)) is included


@pytest.mark.parametrize("name", ["a.localhost", "x.home.arpa", "x.onion", "x.svc", "ip6-loopback"])
def test_local_names_are_not_public(name: str) -> None:
    assert not is_public_name(name)


def test_private_grants_are_ranges_only() -> None:
    assert str(parse_network("10.1.0.0/16")) == "10.1.0.0/16"
    for text in ("example.com", "10.1.0.0/16:443", "*"):
        with pytest.raises(BadPattern, match="range of addresses"):
            parse_network(text)
