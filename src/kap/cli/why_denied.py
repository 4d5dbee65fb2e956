"""``kap why-denied``: what was refused, by which rule or for want of one, and the fix."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from kap.audit.printable import printable
from kap.audit.reader import LogReader
from kap.audit.tail import Tail
from kap.audit.today import Finding
from kap.cli import fixes
from kap.cli.denial_view import Project, View, fixes_of
from kap.cli.project_option import project_option
from kap.errors import EXIT_FAILED, EXIT_OK, KapError, UsageError

SHOWN = 50
_MAX_FIXES = 25
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@click.command(short_help="Show what was refused, why, and the fix.")
@click.argument("hosts", nargs=-1, metavar="[HOST]...")
@project_option("The project, or a folder in it.")
@click.option(
    "--log", "--events", "log", type=click.Path(path_type=Path), help="Read this audit log instead of the project's."
)
@click.option("--tail", is_flag=True, help="Go on and show denials as they happen.")
@click.option("--since", metavar="TIME", help="From then on: 15m, 2h, 1d ago, or 2026-01-31T08:00.")
@click.option(
    "-n", "--limit", type=click.IntRange(0), default=SHOWN, show_default=True, help="Show the newest so many; 0: all."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (schemas/denial.schema.json).")
@click.option("--fix", is_flag=True, help="Show what the fixes would change in kap.toml, and change it after asking.")
@click.option("-y", "--yes", is_flag=True, help="With --fix: do not ask.")
def command(
    hosts: tuple[str, ...],
    directory: Path,
    log: Path | None,
    tail: bool,
    since: str | None,
    limit: int,
    as_json: bool,
    fix: bool,
    yes: bool,
) -> int:
    """Show what was refused, why, and the fix; the newest last, repeats counted.

    HOST leaves out every other host. Where kap.toml allows by now what was refused, that is said instead.

    Exit code: 0, also where nothing was refused; 1 where there is no log; 2 bad input.
    """
    if tail and fix:
        raise UsageError("--tail and --fix do not go together", "use --fix once the denials are there")
    if fix and as_json:
        raise UsageError("--json and --fix do not go together", "the fixes are in the JSON: apply those you want")
    if yes and not fix:
        raise UsageError("--yes is for --fix", "kap why-denied --fix --yes")
    start = parse_since(since, time.time()) if since else None
    project = Project(directory)
    logs = [log] if log else project.logs()
    if not tail:
        _must_exist(logs, log, project)
    tails = [(path, Tail(path)) for path in logs] if tail else []
    for _, follower in tails:
        follower.skip_to_end()
    view = View(project, hosts, as_json=as_json)
    skipped = view.read(logs, start)
    if fix:
        return _fix(view.findings(limit), project, ask=not yes)
    view.show(limit, skipped, quiet=tail)
    if tail:
        view.follow(tails)
    return EXIT_OK


def parse_since(text: str, now: float) -> float:
    """Seconds since the epoch for ``90s``, ``15m``, ``1h30m``, ``2d`` ago, or an ISO 8601 time (local where it has no zone).

    Raises `UsageError`."""
    parts = re.fullmatch(r"(?:[0-9]{1,9}[smhdw])+", text)
    if parts:
        return now - sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9]+)([smhdw])", text))
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"--since {text!r} is no time", "write 15m, 2h, 1d, or 2026-01-31T08:00") from error


def _must_exist(logs: Sequence[Path], log: Path | None, project: Project) -> None:
    if any(LogReader(path).files() for path in logs):
        return
    if log is not None:
        raise UsageError(f"there is no log {log}", "name the file that holds the events, or leave --log out")
    raise KapError(
        f"there is no audit log of {project.directory.resolve()} yet: no capsule of it ran (looked for {logs[0]})",
        "run something in a capsule: kap run -- COMMAND; or name a log with --log, a project with -C",
        EXIT_FAILED,
    )


def _fix(found: Sequence[Finding], project: Project, *, ask: bool) -> int:
    """The narrowest fix of each denial, carried out on the project's kap.toml."""
    chosen = [choices[0] for one in found if (choices := fixes_of(one))]
    if not chosen:
        click.echo("There is nothing to fix: what was refused is allowed now, or no rule of the project can change it.")
        return EXIT_OK
    if project.file is None:
        raise KapError(
            f"there is no kap.toml in {project.directory.resolve()} to put the fixes in",
            "write one, or name the project with -C",
        )
    if len({fix.edits for fix in chosen}) > _MAX_FIXES:
        raise KapError(
            f"these are {len(chosen)} fixes at once", "name the hosts you mean: kap why-denied --fix HOST..."
        )
    change = fixes.plan(project.file, chosen)
    for fix, reason in change.impossible:
        click.echo(f"kap: cannot {printable(fix.title, 500)}: {printable(reason, 500)}", err=True)
    if not change.done:
        raise KapError(f"{project.file} was not changed: no fix can be carried out", "make the changes by hand")
    for fix in change.done:
        click.echo(f"{printable(fix.title, 500)}")
    click.echo()
    _print_diff(change.diff())
    if ask and not _agreed(project.file):
        click.echo("Nothing was changed.")
        return EXIT_FAILED
    backup = fixes.write(change)
    click.echo(f"{project.file} is changed; the old text is in {backup.name}.")
    if project.accepted():
        click.echo("The dev container of this project takes it once you accept it: kap overlay")
    return EXIT_OK


def _agreed(path: Path) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("there is nobody to ask: standard input is no terminal", "add --yes to change the file")
    return click.confirm(f"Change {path}?", default=False)


def _print_diff(diff: str) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in diff.splitlines():
        click.echo(click.style(printable(line, 4000), fg=colours.get(line[:1])))
