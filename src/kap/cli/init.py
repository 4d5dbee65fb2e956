"""``kap init``: write kap into a project's dev container, after showing exactly what changes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from kap.cli.project_option import project_option

if TYPE_CHECKING:
    from kap.devcontainer.init_plan import Plan, Wish
    from kap.devcontainer.unsafe import Finding
    from kap.host.init import Project


@click.command(short_help="Put a project's dev container into a capsule.")
@project_option()
@click.option(
    "--config", type=click.Path(path_type=Path), multiple=True, help="Its devcontainer.json, where it has several."
)
@click.option(
    "--preset", "presets", multiple=True, metavar="NAME", help="A preset for kap.toml, instead of those detected."
)
@click.option(
    "--remove-unsafe/--refuse-unsafe", "remove", default=None, help="What to do with keys that cannot be isolated."
)
@click.option("--feature", metavar="REF", help="The reference of kap's Feature, where it is not the published one.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would change, and write nothing.")
@click.option("-y", "--yes", is_flag=True, help="Answer every question with yes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and ask nothing: without --yes nothing is written.")
def command(
    directory: Path,
    config: tuple[Path, ...],
    presets: tuple[str, ...],
    remove: bool | None,
    feature: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Write kap.toml, and kap's part of devcontainer.json: shown as a diff, and undone by `kap uninit`.

    Image, Dockerfile and compose projects, named variants, and projects that have no dev container. What the project is made of is
    detected and offered as presets. Keys that cannot survive isolation, such as "privileged" or a mount of the engine's socket, are named;
    they are taken out if you say so, else nothing is written. Saying yes accepts the policy in kap.toml on this machine.
    """
    from kap.devcontainer.init_plan import Wish
    from kap.devcontainer.wire import FEATURE
    from kap.host.init import Project

    project = Project(directory)
    healed = project.heal() if not dry_run else []
    if healed and not as_json:
        click.echo(f"undone, an earlier run was interrupted: {', '.join(map(_shown, healed))}", err=True)
    paths = _paths(project, config, yes, as_json)
    asks = not (yes or as_json or dry_run)
    wish = Wish(presets or None, bool(yes if remove is None else remove), feature or FEATURE)
    plan = project.plan(paths, wish)
    if asks and remove is None and plan.refused:
        _findings(plan.findings)
        if agreed("Take these out?"):
            wish = Wish(wish.presets, True, wish.feature)
            plan = project.plan(paths, wish)
    if asks and plan.policy_is_new and not presets and not plan.refused and sys.stdin.isatty():
        plan = _choose_presets(project, paths, wish, plan)
    if as_json:
        return _as_json(project, plan, write=yes and not dry_run)
    _show(project, plan)
    if dry_run or not _wanted(plan, yes):
        return 0 if dry_run or not plan.changes else 1
    digest = project.carry_out(plan)
    _done(plan, digest)
    return 0


def _paths(project: Project, config: tuple[Path, ...], yes: bool, as_json: bool) -> list[Path]:
    """The devcontainer.json files that are meant."""
    from kap.errors import UsageError

    if config:
        named = [Path.absolute(project.path / one if not one.is_absolute() else one) for one in config]
        return [one / "devcontainer.json" if one.is_dir() else one for one in named]
    found = project.configs()
    first = [p for p in found if p.parent in (project.path, project.path / ".devcontainer")]
    if len(found) <= 1 or first:
        return first[:1] or found
    if yes:
        return found
    shown = [str(p.relative_to(project.path)) for p in found]
    if as_json or not sys.stdin.isatty():
        raise UsageError(
            f"the project has several dev containers: {', '.join(shown)}",
            "choose: --config FILE; or all of them: --yes",
        )
    for number, name in enumerate(shown, 1):
        click.echo(f"  {number}  {_shown(name)}", err=True)
    chosen = click.prompt("Which? 0 is all of them", type=click.IntRange(0, len(found)), err=True)
    return found if chosen == 0 else [found[chosen - 1]]


def _choose_presets(project: Project, paths: list[Path], wish: Wish, plan: Plan) -> Plan:
    """Offer the presets that were detected; the answer may name others, or ``none``."""
    for sign in plan.signs:
        click.echo(f"  {sign.preset}: {_shown(sign.seen)}", err=True)
    offered = " ".join(sign.preset for sign in plan.signs)
    answer = click.prompt("Presets (kap presets lists all)", default=offered or "none", err=True)
    if answer == offered:
        return plan
    named = tuple(name for name in answer.replace(",", " ").split() if name != "none")
    return project.plan(paths, msgspec.structs.replace(wish, presets=named))


def _findings(findings: Sequence[Finding]) -> None:
    click.echo("This cannot survive isolation:", err=True)
    for one in findings:
        click.echo(f"  {_shown(one.where)}: {_shown(one.why)} ({one.code})", err=True)


def _show(project: Project, plan: Plan) -> None:
    for path, kind in plan.kinds.items():
        click.echo(f"{_shown(path)}: {kind}", err=True)
    for note in [*project.notes, *plan.notes]:
        click.echo(f"note: {_shown(note)}", err=True)
    if plan.policy_is_new:
        offered = ", ".join(f"{s.preset} ({s.seen})" if s.seen else s.preset for s in plan.signs)
        click.echo(f"presets: {_shown(offered) or 'none; kap presets lists them'}", err=True)
    elif plan.changes:
        click.echo(f"{_shown(str(plan.policy))} is kept as it is; saying yes accepts it on this machine", err=True)
    if plan.findings:
        _findings(plan.findings)
    _refuse(plan)
    click.echo(plan.diff(), nl=False)


def _refuse(plan: Plan) -> None:
    """Raise `ConfigError` where something stays in the way."""
    from kap.errors import ConfigError

    if not plan.refused:
        return
    hint = (
        "take them out: kap init --remove-unsafe"
        if any(f.cuts for f in plan.refused)
        else "change these by hand, then run it again"
    )
    lines = "\n    ".join(f"{_shown(f.where)}: {_shown(f.why)}" for f in plan.refused)
    raise ConfigError(f"nothing was written: this cannot be closed\n    {lines}", hint)


def _wanted(plan: Plan, yes: bool) -> bool:
    if not plan.changes:
        accepted = "" if plan.accepted else "; to accept its policy on this machine: kap overlay"
        click.echo(f"nothing to do: kap is in this project already{accepted}")
        return False
    if yes or agreed("Write this?"):
        return True
    click.echo("nothing was written", err=True)
    return False


def agreed(question: str) -> bool:
    """Whether a person answers yes; no answer, as at the end of a file, is no."""
    click.echo(f"{question} [y/N] ", nl=False, err=True)
    answer = sys.stdin.readline()
    if not answer.endswith("\n"):
        click.echo(err=True)
    return answer.strip().lower() in ("y", "yes")


def _done(plan: Plan, digest: str) -> None:
    for change in plan.changes:
        click.echo(f"written: {_shown(change.path)}")
    click.echo(f"policy accepted: {digest[:12]}")
    click.echo("next: Reopen in Container, or devcontainer up; then kap status. To undo: kap uninit")


def _as_json(project: Project, plan: Plan, *, write: bool) -> int:
    write = write and not plan.refused and bool(plan.changes)
    digest = project.carry_out(plan) if write else ""
    result: dict[str, Any] = {
        "version": 1,
        "project": str(project.path),
        "capsule": plan.capsule.name,
        "configs": plan.kinds,
        "presets": [{"name": s.preset, "seen": s.seen} for s in plan.signs],
        "findings": [
            {"code": f.code, "where": f.where, "why": f.why, "removed": f not in plan.refused} for f in plan.findings
        ],
        "notes": [*project.notes, *plan.notes],
        "files": [{"path": c.path, "new": c.before is None} for c in plan.changes],
        "diff": plan.diff(),
        "written": write,
        "policy": digest,
    }
    click.echo(json.dumps(result, indent=2))
    return 2 if plan.refused else 0


def _shown(text: str) -> str:
    from kap.audit.printable import printable

    return printable(text, 400, composed=True)
