"""A denial as text for a person, and as JSON for a program. Whatever a capsule chose is escaped here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from kap.audit.printable import printable
from kap.audit.today import Finding
from kap.config.problem import Fix
from kap.policy.codes import CODES

VERSION = 1
"""Of the JSON form; goes up when a change breaks a reader."""


Preview = Callable[[Fix], Sequence[str]]
"""Where in which file a fix goes and what stands there then, in a few lines; none where that cannot be said in a few."""


def block(found: Finding, preview: Preview = lambda fix: ()) -> str:
    """Several lines without a trailing newline; styled, which `click.echo` takes out where it has to."""
    return "\n".join(_lines(found, preview))


def brief(found: Finding) -> str:
    """One line: it happened again."""
    denial = found.denial
    again = f"{clock(denial.last)}  {target(found)}  {denial.code}, {denial.count:,} times by now"
    return click.style(again, dim=True)


def target(found: Finding) -> str:
    """``host:port`` as asked for, the port left out where only a name was."""
    host, port = printable(found.denial.host) or "(no host)", found.denial.port
    if not port:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def clock(ts: float) -> str:
    """Local time, to the second."""
    try:
        return datetime.fromtimestamp(ts).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, ValueError, OSError):
        return "at no known time"


def record(found: Finding) -> dict[str, Any]:
    """The JSON form (``schemas/denial.schema.json``)."""
    denial, told = found.denial, found.explanation
    return {
        "v": VERSION,
        "host": denial.host,
        "port": denial.port,
        "code": denial.code,
        "title": _title(denial.code),
        "count": denial.count,
        "first": _iso(denial.first),
        "last": _iso(denial.last),
        "methods": denial.methods,
        "processes": denial.processes,
        "addresses": denial.addresses,
        "capsules": denial.capsules,
        "policy": denial.policy,
        "detail": denial.detail,
        "allowed_now": found.allowed_now,
        "now": {
            "code": found.now.code,
            "why": told.why,
            "rule": {"text": told.rule, "layer": told.layer, "where": told.where, "via": told.via}
            if told.rule
            else None,
            "near": list(told.near),
            "fixes": [msgspec.to_builtins(fix) for fix in told.fixes],
        },
        "docs": told.docs,
    }


def _lines(found: Finding, preview: Preview) -> Iterator[str]:
    denial, told = found.denial, found.explanation
    colour = "green" if found.allowed_now else "yellow" if found.failed else "red"
    times = f"{denial.count:,}× " if denial.count > 1 else ""
    yield f"{times}{click.style(target(found), fg=colour, bold=True)}  {denial.code}: {_title(denial.code)}"
    yield _field("when", _when(found))
    if denial.processes:
        yield _field("by", ", ".join(printable(name) for name in denial.processes))
    if denial.detail:
        yield _field("more", printable(denial.detail))
    if found.allowed_now:
        yield _field("now", click.style("allowed now", fg="green") + _by(found))
        return
    if found.now.code != denial.code and not denial.by_name_only:
        yield _field("now", f"{found.now.code}: {_title(found.now.code)}")
    yield _field("why", printable(told.why, 1000, composed=True))
    yield _field("rule", _by(found).removeprefix(" by ") or "none")
    for line in told.near:
        yield _field("near", printable(line, 500, composed=True))
    for fix in told.fixes:
        yield _field("fix", printable(fix.title, 500, composed=True))
        for shown in preview(fix):
            yield _field("", click.style(shown, fg="green"))
    if not told.fixes:
        yield _field("see", told.docs)


def _field(name: str, text: str) -> str:
    return f"    {click.style(f'{name:<5}', dim=True)}{text}"


def _when(found: Finding) -> str:
    denial = found.denial
    methods = f", {', '.join(printable(name) for name in denial.methods)}" if denial.methods else ""
    first = f", first {clock(denial.first)}" if int(denial.first) != int(denial.last) else ""
    return f"{clock(denial.last)}{first}{methods}"


def _by(found: Finding) -> str:
    told = found.explanation
    if not told.rule:
        return ""
    preset = f", preset {printable(told.via)}" if told.via else ""
    return f' by "{printable(told.rule)}" {printable(told.where) or "-"} ({told.layer}{preset})'


def _title(code: str) -> str:
    known = CODES.get(code)
    return known.title if known else printable(code)


def _iso(ts: float) -> str:
    try:
        return datetime.fromtimestamp(ts, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return ""
