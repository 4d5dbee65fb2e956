"""Grants of addresses off the public internet: shown for what they open, warned about where they open more than a network of one's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kap.config.lints.context import Context
from kap.config.problem import Problem
from kap.names.addresses import classify
from kap.names.patterns import Pattern

# What a grant opens beside neighbours, with the source that assigns it.
_SPECIAL = (
    ("127.0.0.0/8", "this machine itself (RFC 1122)"),
    ("::1/128", "this machine itself (RFC 4291)"),
    ("169.254.0.0/16", "link-local addresses (RFC 3927)"),
    ("fe80::/10", "link-local addresses (RFC 4291)"),
)


def lint(context: Context) -> Iterator[Problem]:
    """``config.private-grant``: a warning where a metadata service, the machine itself or half the address space are opened."""
    for rule in context.of("private"):
        pattern = rule.pattern
        assert pattern is not None
        opened = _opens(pattern)
        if opened:
            message = f'"{rule.text}" also opens {opened}'
            hint = "grant the range of the one network that is needed"
            yield Problem("config.private-grant", message, "warning", rule.route, hint=hint)


def _opens(pattern: Pattern) -> str:
    network = pattern.network
    if network is None:
        return ""
    if network.prefixlen == network.max_prefixlen and classify(str(network.network_address)).name == "metadata":
        return "a cloud metadata service, which hands out credentials"  # granted only when named by itself
    for text, what in _SPECIAL:
        special = ipaddress.ip_network(text)
        if special.version == network.version and special.overlaps(network):
            return what
    widest = 8 if network.version == 4 else 7  # 10.0.0.0/8 and fc00::/7 are the widest private ranges there are
    return "more than any private range" if network.prefixlen < widest else ""
