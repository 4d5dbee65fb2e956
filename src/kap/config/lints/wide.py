"""Allow rules that let in far more than their owner: wildcards over names that strangers can register or fill.

Two sources: the Public Suffix List (its private section names hosting services) and our own list of shared hosts.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import Any

from kap.config.lints.conflicts import Cover
from kap.config.lints.context import Context, Written
from kap.config.problem import Edit, Fix, Problem


@cache
def shared_hosts() -> dict[str, str]:
    """Hosts (or ``*.host``) where anyone can put data, each with the words for what can be put there."""
    text = (importlib.resources.files("kap.config") / "data" / "shared-hosts.toml").read_text("utf-8")
    groups: dict[str, dict[str, Any]] = tomllib.loads(text)["shared"]
    return {host: group["what"] for group in groups.values() for host in group["hosts"]}


@cache
def _suffixes() -> Any:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList(accept_unknown=False)


def lint(context: Context) -> Iterator[Problem]:
    """``config.public-suffix`` and ``config.shared-host``."""
    denied = Cover(rule for rule in context.of("deny") if rule.pattern and rule.pattern.port is None)
    for rule in context.of("allow"):
        if rule.pattern and rule.pattern.kind in ("suffix", "host") and next(denied.over(rule.pattern), None) is None:
            yield from _judge(rule, context)


def _judge(rule: Written, context: Context) -> Iterator[Problem]:
    assert rule.pattern is not None
    host, shared = rule.pattern.host, shared_hosts()
    whole = f"*.{host}" if rule.pattern.kind == "suffix" else host
    if whole in shared:
        yield _shared(
            rule,
            f"anyone can put {shared[whole]} there",
            "name the one host you mean, or accept that data can leave by it",
        )
    elif rule.pattern.kind == "suffix" and _suffixes().is_public(host):
        message = f'"{rule.text}" includes names of strangers: anyone can have one below {host}'
        yield Problem("config.public-suffix", message, "warning", rule.route, hint="name the hosts you mean")
    elif rule.pattern.kind == "suffix":
        denied = {other.pattern.text for other in context.of("deny") if other.pattern}
        inside = next((one for one in _below(host) if one not in denied), "")
        if inside:
            yield _shared(
                rule,
                f"anyone can put {shared[inside]} on {inside}",
                f'deny "{inside}", or name the hosts you mean',
                inside,
            )


@cache
def _below(host: str) -> tuple[str, ...]:
    return tuple(one for one in shared_hosts() if one.removeprefix("*.").endswith("." + host))


def _shared(rule: Written, why: str, hint: str, deny: str = "") -> Problem:
    message = f'"{rule.text}" includes hosts that strangers share: {why}'
    edit = Edit("append", ("proxy", "network", "deny"), deny)
    fixes = (Fix(f"deny {deny}", (edit,)),) if deny else ()
    return Problem("config.shared-host", message, "warning", rule.route, hint=hint, fixes=fixes)
