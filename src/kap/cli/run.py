"""``kap run``: a command in a capsule, with no container engine."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from kap.cli.project_option import project_option
from kap.config.layers import find_project, global_path, load, project_file, review
from kap.config.problem import Problem
from kap.document.toml import Document
from kap.errors import EXIT_USAGE, ConfigError, UsageError
from kap.policy.compiler import Policy, compile

_EXAMPLE = 'printf \'presets = ["python"]\\n[proxy.network]\\nallow = ["docs.example.com"]\\n\' > kap.toml'


@click.command(
    short_help="Run a command in a capsule, with no container engine.",
    context_settings={"allow_interspersed_args": False},
)
@project_option("The project: its kap.toml holds, and it is all the command may write.", default=None)
@click.option(
    "--allow", multiple=True, metavar="HOST", help="Allow HOST for this run, too (as in kap.toml: host[:port])."
)
@click.option(
    "--grant-private",
    multiple=True,
    metavar="CIDR",
    help="Allowed names may resolve into this non-global range, for this run.",
)
@click.option("--env", "passed", multiple=True, metavar="NAME", help="Pass the host's variable NAME in.")
@click.option(
    "--ro", "read_only", multiple=True, metavar="PATH", help="Show a host path, read-only: a tool outside of /usr."
)
@click.option(
    "--events", type=click.Path(path_type=Path), help="Write the audit log here instead of the project's state."
)
@click.option(
    "--accept-policy", is_flag=True, help="kap.toml was replaced while a capsule ran; you read it, and it is yours."
)
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but errors.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND...")
def command(
    directory: Path | None,
    allow: tuple[str, ...],
    grant_private: tuple[str, ...],
    passed: tuple[str, ...],
    read_only: tuple[str, ...],
    events: Path | None,
    accept_policy: bool,
    quiet: bool,
    arguments: tuple[str, ...],
) -> int:
    """Run COMMAND in a capsule: an empty network namespace, where only what kap.toml allows is reached.

    The project's directory is writable, the rest of the home directory is not there. Exit code, signals, standard input and terminal are
    the command's own; kap's own failures before it starts: 2 bad input, 69 something is missing on this machine.
    """
    if not arguments:
        raise UsageError("no command was given", "for example: kap run -- bash")
    workspace, file = _find(directory)
    grants = [("allow", text) for text in allow] + [("private", text) for text in grant_private]
    policy = _load(file, grants, quiet=quiet)
    from kap.host import capsule, machine, state
    from kap.host.own_policy import Hold

    machine.check_workspace(str(workspace), machine.who()[1])  # before anything is made, the state's directory included
    if events and Path(os.path.realpath(events)).is_relative_to(workspace):
        raise UsageError(
            f"--events {events} lies in the project, so the command could change it", "name a file outside"
        )
    own = state.project_state(workspace)
    hold = Hold(file, _text(policy), own.directory)
    hold.check(accept=accept_policy)
    if not quiet:
        _announce(policy, grants, passed)
    job = capsule.Job(
        command=arguments,
        workspace=str(workspace),
        policy=policy,
        events=events.absolute() if events else own.events,
        id=own.id,
        passed=passed,
        read_only=read_only,
    )
    hold.start()
    try:
        result = capsule.run(job, lambda text: None if quiet else click.echo(f"kap: {text}", err=True))
    finally:
        if not hold.end():
            click.echo(
                f"kap: {file} was replaced while the command ran, which could write the new one; read it before the next run",
                err=True,
            )
    if result.refused and not quiet:
        inside = Path.cwd().resolve().is_relative_to(workspace)
        where = f" --events {events}" if events else "" if inside else f" -C {workspace}"
        requests = "1 request" if result.refused == 1 else f"{result.refused} requests"
        click.echo(f"kap: {requests} refused; see: kap why-denied{where}", err=True)
    return result.status


def _find(project: Path | None) -> tuple[Path, Path]:
    """The workspace (a real path) and the kap.toml that governs it."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise UsageError("the working directory does not exist any more", "change into one that does") from None
    if project is None:
        file = find_project(Path())
    else:
        if not project.is_dir():
            raise UsageError(f"{project} is not a directory", "name the directory that holds kap.toml: -C DIR")
        file = project_file(project)
    if file is None:
        where = project or Path.cwd()
        above = "" if project else " or above"
        raise ConfigError(f"there is no kap.toml in {where}{above}, so nothing says what a capsule may reach", _EXAMPLE)
    directory = _project_of(file)
    real = Path(os.path.realpath(directory))
    if Path(os.path.realpath(file)) not in (real / file.name, real / ".devcontainer" / file.name):
        hint = "put the file itself there"
        raise ConfigError(
            f"{file} is reached by a symbolic link, which a capsule could replace by a policy of its own", hint
        )
    outer = find_project(directory.parent) if project is None else None
    if outer is not None:
        raise ConfigError(
            f"{file} lies inside the project {_project_of(outer)}, whose capsules could have written it",
            f"say that it is yours: kap run -C {directory}; or take it away",
        )
    return real, file


def _project_of(file: Path) -> Path:
    directory = file.absolute().parent
    return directory.parent if directory.name == ".devcontainer" else directory


def _load(file: Path, grants: list[tuple[str, str]], *, quiet: bool) -> Policy:
    loaded = load(file, global_path=global_path(), run=grants)
    if loaded.config is None:
        _show(loaded.problems, review(file, global_path=global_path()).documents)
        click.echo("kap: the policy has errors, so nothing was started", err=True)
        raise click.exceptions.Exit(EXIT_USAGE)
    if not quiet:
        held = [one for one in loaded.problems if one.severity == "warning"]
        documents: dict[str, Document] = {
            layer.name: layer.document for layer in loaded.config.layers if layer.document
        }
        _show(held, documents)
    return compile(loaded.config)


def _text(policy: Policy) -> str:
    """The project's kap.toml, as it was read."""
    texts = (layer.document.text for layer in policy.config.layers if layer.name == "project" and layer.document)
    return next(texts, "")


def _show(problems: Sequence[Problem], documents: Mapping[str, Document]) -> None:
    if not problems:
        return
    from kap.cli.render import render, wants_colour

    colour = wants_colour(sys.stderr)
    for problem in problems:
        click.echo(render(problem, documents.get(problem.layer), colour) + "\n", err=True, color=colour)


def _announce(policy: Policy, grants: list[tuple[str, str]], passed: tuple[str, ...]) -> None:
    """One line for each thing this run gives that the policy's file does not show, or that leaves the host."""
    for effect, text in grants:
        what = "allowed" if effect == "allow" else "allowed names may resolve to"
        click.echo(f"kap: for this run: {what} {text}", err=True)
    config = policy.config
    if config.proxy.upstream.url and not config.wrote("global", "proxy", "upstream"):
        click.echo(
            f"kap: by the project's kap.toml, traffic goes through the proxy {config.proxy.upstream.url}", err=True
        )
    names = [name for name in dict.fromkeys((*policy.config.run.env, *passed)) if name in os.environ]
    if names:
        click.echo(f"kap: passed in from this host's environment: {', '.join(names)}", err=True)
