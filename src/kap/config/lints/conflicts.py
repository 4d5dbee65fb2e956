"""Rules that say a thing twice, and allow rules that a deny rule takes back. Looked up by labels, so 10,000 rules take no longer each."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Sequence

from kap.config.lints.context import Context, Written
from kap.config.problem import Edit, Fix, Problem
from kap.names.patterns import Pattern


class Cover:
    """Patterns by what they stand over: which of them include a given pattern as a whole?"""

    def __init__(self, rules: Iterable[Written]) -> None:
        self._names: dict[tuple[str, str], list[Written]] = {}
        self._networks: dict[object, list[Written]] = {}
        for rule in rules:
            pattern = rule.pattern
            if pattern is None:
                continue
            if pattern.network is not None:
                self._networks.setdefault(pattern.network, []).append(rule)
            else:
                self._names.setdefault((pattern.kind, pattern.host), []).append(rule)

    def over(self, pattern: Pattern) -> Iterator[Written]:
        """Every rule whose hosts include all hosts of `pattern`, the nearest first; ports are not compared."""
        if pattern.network is not None:
            network: ipaddress.IPv4Network | ipaddress.IPv6Network = pattern.network
            for length in range(network.prefixlen, -1, -1):
                yield from self._networks.get(network.supernet(new_prefix=length), ())
            return
        if pattern.kind != "any":
            yield from self._names.get((pattern.kind, pattern.host), ())
            _, dot, above = pattern.host.partition(".")
            while dot:
                yield from self._names.get(("suffix", above), ())
                _, dot, above = above.partition(".")
        yield from self._names.get(("any", ""), ())


def lint(context: Context) -> Iterator[Problem]:
    """``config.duplicate-rule``, ``config.shadowed-rule``, ``config.defeated-rule`` within one file."""
    for effect in ("allow", "deny"):
        yield from _repeated(context.of(effect))
    yield from defeated(context.of("allow"), context.of("deny"), "a deny rule of this file")


def defeated(allowed: Sequence[Written], denied: Sequence[Written], whose: str) -> Iterator[Problem]:
    """Allow rules that a deny rule takes back as a whole: a deny without port refuses every port."""
    cover = Cover(denied)
    for rule in allowed:
        assert rule.pattern is not None
        ports = dict(rule.pattern.ports())
        for other in cover.over(rule.pattern):
            assert other.pattern is not None
            if other.pattern.port is None or set(ports) == {other.pattern.port}:
                message = f'{_text(rule)} is allowed here and refused by "{other.text}", {whose}; deny wins'
                hint = "take one of the two out"
                yield Problem("config.defeated-rule", message, "warning", rule.route, hint=hint)
                break


def _repeated(rules: list[Written]) -> Iterator[Problem]:
    cover = Cover(rules)
    seen: dict[str, Written] = {}
    for rule in rules:
        assert rule.pattern is not None
        if rule.pattern.text in seen:
            yield _again("config.duplicate-rule", rule, f"{_text(rule)} stands here twice")
            continue
        seen[rule.pattern.text] = rule
        for other in cover.over(rule.pattern):
            assert other.pattern is not None
            if other.pattern.kind == "any":
                continue  # the rule that allows everything is reported by itself
            if other.pattern.text != rule.pattern.text and _ports_within(rule, other):
                yield _again("config.shadowed-rule", rule, f'"{other.text}" already includes {_text(rule)}')
                break


def _ports_within(rule: Written, other: Written) -> bool:
    assert rule.pattern is not None
    assert other.pattern is not None
    if rule.effect == "deny" and other.pattern.port is None:
        return True
    if rule.effect == "deny" and rule.pattern.port is None:
        return False
    return set(rule.pattern.ports()) <= set(other.pattern.ports())


def _again(code: str, rule: Written, message: str) -> Problem:
    fix = Fix("take this one out", (Edit("remove", rule.route),))
    return Problem(code, message, "warning", rule.route, hint="take this one out", fixes=(fix,))


def _text(rule: Written) -> str:
    return f'"{rule.text}"'
