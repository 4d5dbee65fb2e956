"""Entries of ``presets``: unknown ones, ones given twice, ones nothing is left of, and those that let strangers' data in."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from kap.config import presets
from kap.config.lints.conflicts import Cover
from kap.config.lints.context import Context
from kap.config.problem import Edit, Fix, Problem
from kap.document.route import Route
from kap.names.patterns import parse_pattern

# Other names people know a preset by.
_MEANT = {
    "npm": "node",
    "javascript": "node",
    "typescript": "node",
    "pip": "python",
    "cargo": "rust",
    "golang": "go",
    "maven": "java",
    "gradle": "java",
    "apt": "debian",
    "claude": "claude-code",
    "anthropic": "claude-code",
    "openai": "codex",
    "docker": "containers",
    "nuget": "dotnet",
    "gem": "ruby",
    "rubygems": "ruby",
    "composer": "php",
}


def lint(context: Context) -> Iterator[Problem]:
    """``config.unknown-preset``, ``config.duplicate-rule``, ``config.wide-preset``, ``config.dead-preset``."""
    denied = Cover(rule for rule in context.of("deny") if rule.pattern and rule.pattern.port is None)
    seen: set[str] = set()
    for count, entry in enumerate(context.file.presets):
        route: Route = ("presets", count)
        hosts = presets.expand(entry)
        if hosts is None:
            yield _unknown(entry, route)
            continue
        if entry in seen:
            fix = Fix("take this one out", (Edit("remove", route),))
            yield Problem("config.duplicate-rule", f'"{entry}" stands here twice', "warning", route, fixes=(fix,))
        seen.add(entry)
        name, part = presets.split(entry)
        if part == "wide":
            message = f'"{entry}" allows hosts where anyone can put data and fetch it again'
            hint = f"`kap presets {name}` lists them; allow only the ones you need"
            yield Problem("config.wide-preset", message, "warning", route, hint=hint)
        if hosts and all(next(denied.over(parse_pattern(host)), None) for host in hosts):
            message = f'nothing is left of "{entry}": every host of it is denied'
            yield Problem("config.dead-preset", message, "warning", route, hint="take it out, or the deny rules")
        elif not hosts:
            hint = f'write "{name}:optional"' if presets.catalogue()[name].optional else "take it out"
            yield Problem("config.dead-preset", f'"{entry}" has no hosts of its own', "warning", route, hint=hint)


def _unknown(entry: str, route: Route) -> Problem:
    name, part = presets.split(entry)
    if name in presets.catalogue():
        if part == "telemetry":
            return Problem(
                "config.unknown-preset",
                "telemetry hosts are never allowed by a preset",
                route=route,
                hint="name the host in allow",
            )
        hint = f'write "{name}", "{name}:optional" or "{name}:wide"'
        return Problem("config.unknown-preset", f'the preset "{name}" has no such part', route=route, hint=hint)
    message = "there is no such preset"
    meant = _MEANT.get(name.lower(), "")
    if not meant:
        close = difflib.get_close_matches(name.lower()[:60].replace("_", "-"), presets.catalogue(), n=1)
        meant = close[0] if close else ""
    if meant:
        fix = Fix(f"write {meant}", (Edit("replace", route, meant),), widens=True)
        return Problem("config.unknown-preset", message, route=route, hint=f'did you mean "{meant}"?', fixes=(fix,))
    hint = "a host goes into [proxy.network] allow" if "." in name else "`kap presets` lists them"
    return Problem("config.unknown-preset", message, route=route, hint=hint)
