"""``kap status``: each thing that makes a capsule closed, as ok, failed or unknown, with the remedy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kap.cli.project_option import project_option
from kap.errors import EXIT_FAILED, EXIT_OK

if TYPE_CHECKING:
    from kap.host.status import Report

_COLOURS = {"ok": "green", "failed": "red", "unknown": "yellow"}


@click.command(short_help="Check that the capsule of this project is closed and works.")
@project_option()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def command(directory: Path, as_json: bool) -> int:
    """Check that the capsule of this project is closed and works: from the host, by what the engine says, and from inside, by probes.

    Exit code: 0 when every check is ok, 1 when one failed or could not be made, 69 when no container engine answers.
    """
    from kap.host.status import report

    found = report(directory)
    if as_json:
        checks = [
            {"subject": c.subject, "state": c.state, "code": c.code, "text": c.text, "fix": c.fix} for c in found.checks
        ]
        click.echo(json.dumps({"v": 1, "project": found.project, "ok": found.ok, "checks": checks}))
    else:
        _show(found)
    return EXIT_OK if found.ok else EXIT_FAILED


def _show(found: Report) -> None:
    from kap.audit.printable import printable
    from kap.cli.render import wants_colour

    colour = wants_colour()
    for check in found.checks:
        state = f"{check.state:<8}"
        shown = click.style(state, fg=_COLOURS[check.state], bold=check.state != "ok") if colour else state
        code = "" if check.state == "ok" else f" ({check.code})"
        click.echo(f"{shown}{printable(check.subject):<14} {printable(check.text)}{code}")
        if check.fix:
            click.echo(f"{'':<8}{'':<14} fix: {printable(check.fix)}")
    bad = [c for c in found.checks if c.state != "ok"]
    unknown = sum(c.state == "unknown" for c in bad)
    summary = (
        f"{len(found.checks)} checks ok" if not bad else f"NOT CLOSED: {len(bad) - unknown} failed, {unknown} unknown"
    )
    click.echo(click.style(summary, fg="green" if found.ok else "red", bold=True) if colour else summary)
