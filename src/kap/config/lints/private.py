"""Grants of addresses off the public internet: shown for what they open, warned about where they open more than a network of one's own."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from kap.config.lints.context import Context
from kap.config.problem import Problem
from kap.names.addresses import classify, special_range
from kap.names.patterns import Pattern

# What a grant opens beside neighbours, with the source that assigns it.
_SPECIAL = (
    ("127.0.0.0/8", "this machine itself (RFC 1122)"),
    ("::1/128", "this machine itself (RFC 4291)"),
    ("169.254.0.0/16", "link-local addresses (RFC 3927)"),
    ("fe80::/10", "link-local addresses (RFC 4291)"),
)


def lint(context: Context) -> Iterator[Problem]:
    """``config.private-grant``: a warning where a metadata service or the machine itself are opened, or nothing is."""
    for rule in context.of("private"):
        pattern = rule.pattern
        assert pattern is not None
        opened = _opens(pattern)
        if pattern.network is not None and not special_range(pattern.network):
            message = (
                f'"{rule.text}" grants nothing: it is not wholly inside one range of addresses off the public internet'
            )
            hint = 'public addresses need no grant; spell out the private range, such as "10.1.0.0/16"'
            yield Problem("config.private-grant", message, "warning", rule.route, hint=hint)
        elif opened:
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
    return ""
