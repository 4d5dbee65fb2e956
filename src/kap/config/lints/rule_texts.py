"""Rules that do not parse, with what to write instead; and the rule that allows everything."""

from __future__ import annotations

from collections.abc import Iterator

from kap.config.lints.context import Context, Written
from kap.config.problem import Edit, Fix, Problem


def lint(context: Context) -> Iterator[Problem]:
    """``config.pattern`` and ``config.allow-all``."""
    upstream = context.file.proxy.upstream
    others = [
        Written("direct", text, ("proxy", "upstream", name, count))
        for name in ("hosts", "direct")
        for count, text in enumerate(getattr(upstream, name))
    ]
    for rule in (*context.rules, *others):
        if rule.refused is not None:
            yield _refused(rule)
    for rule in context.of("allow"):
        if rule.pattern and (
            rule.pattern.kind == "any" or (rule.pattern.network and rule.pattern.network.prefixlen == 0)
        ):
            hint = "list the hosts, or use presets; `kap why-denied` shows what is missing"
            yield Problem("config.allow-all", "this allows every host there is", "warning", rule.route, hint=hint)


def _refused(rule: Written) -> Problem:
    assert rule.refused is not None
    suggestion = rule.refused.suggestion
    if not suggestion:
        return Problem("config.pattern", rule.refused.message, route=rule.route)
    fix = Fix(f"write {suggestion}", (Edit("replace", rule.route, suggestion),))
    return Problem("config.pattern", rule.refused.message, route=rule.route, hint=f'write "{suggestion}"', fixes=(fix,))
