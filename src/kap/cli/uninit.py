"""``kap uninit``: take kap out of a project again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from kap.cli.project_option import project_option


@click.command(short_help="Take kap out of a project again: what kap init wrote.")
@project_option()
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Answer every question with yes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and ask nothing: without --yes nothing is written.")
def command(directory: Path, dry_run: bool, yes: bool, as_json: bool) -> int:
    """Put the files back as they were before `kap init`, byte for byte.

    A file that was changed since loses only what is kap's. The policy that was accepted on this machine is forgotten; logs stay.
    """
    from kap.audit.printable import printable
    from kap.cli.init import agreed
    from kap.host.init import Project

    project = Project(directory)
    if not dry_run:
        project.heal()
    undoing = project.undoing()
    write = bool(undoing.changes) and not dry_run
    if as_json:
        write = write and yes
        if write:
            project.undo(undoing)
        files = [{"path": c.path, "removed": c.after is None} for c in undoing.changes]
        notes = list(undoing.notes)
        click.echo(
            json.dumps(
                {"version": 1, "project": str(project.path), "files": files, "notes": notes, "written": write}, indent=2
            )
        )
        return 0
    for note in undoing.notes:
        click.echo(f"note: {printable(note, 400, composed=True)}", err=True)
    click.echo("".join(change.diff(project.path) for change in undoing.changes), nl=False)
    if not undoing.changes:
        click.echo("nothing to do: kap is not in this project")
        return 0
    if not write:
        return 0
    if not yes and not agreed("Write this?"):
        click.echo("nothing was written", err=True)
        return 1
    project.undo(undoing)
    for note in project.notes:
        click.echo(f"note: {note}", err=True)
    for change in undoing.changes:
        name = printable(os.path.relpath(change.path, project.path), 400, composed=True)
        click.echo(f"{'removed' if change.after is None else 'restored'}: {name}")
    return 0
