"""``kap check [FILE]``: everything wrong with a policy, with its place and the cure. Exit code 0 clean or warnings only, 2 errors."""

from __future__ import annotations

import json
from pathlib import Path

import click

from kap.cli.project_option import project_option
from kap.config.layers import NAME, Review, find_project, global_path, review
from kap.config.problem import Problem
from kap.errors import EXIT_OK, EXIT_USAGE, ConfigError, UsageError

_SHOWN = 100
"""Problems printed for a person; a program gets all."""


@click.command(short_help="Check a kap.toml and show what is wrong with it, and where.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--sarif", "as_sarif", is_flag=True, help="Print SARIF 2.1.0, as code scanners read it.")
@project_option("Start from here.")
def command(file: Path | None, as_json: bool, as_sarif: bool, directory: Path) -> int:
    """Check FILE, or the kap.toml of this project, and show what is wrong with it, and where. Your global file is checked with it, since
    both hold.

    Exit code: 0 nothing wrong, or only warnings; 2 errors.
    """
    if as_json and as_sarif:
        raise UsageError("--json and --sarif exclude each other", "choose one")
    found = _review(file, directory)
    shown = sorted(found.problems, key=lambda one: _order(one, found))
    if as_json or as_sarif:
        from kap.cli.reports import json_report, sarif_report

        report = sarif_report if as_sarif else json_report
        click.echo(json.dumps(report(shown, found.documents), indent=2, ensure_ascii=True))
    else:
        _print(shown, found)
    return EXIT_USAGE if any(one.severity == "error" for one in shown) else EXIT_OK


def _review(file: Path | None, directory: Path) -> Review:
    if file is not None:
        path = directory / file
        if _same_file(path, global_path()):
            return review(None, global_path=path)
        return review(path, global_path=global_path())
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", "name the project's directory: -C DIR")
    try:
        project = find_project(directory)
    except ConfigError as error:
        return Review((Problem("config.two-files", error.message, hint=error.hint, path=str(directory)),), {}, ())
    if project is None:
        message = "there is no kap.toml here or in a directory above"
        hint = 'write one; presets = ["python"] is a beginning'
        return Review((Problem("config.missing", message, hint=hint, path=str(directory / NAME)),), {}, ())
    return review(project, global_path=global_path())


def _same_file(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def _order(problem: Problem, found: Review) -> tuple[str, int, int]:
    from kap.cli.render import place

    span = place(problem, found.documents.get(problem.layer))
    return problem.layer, span.start if span else -1, 0 if problem.severity == "error" else 1


def _print(problems: list[Problem], found: Review) -> None:
    from kap.cli.render import render, wants_colour

    colour, documents = wants_colour(), found.documents
    for problem in problems[:_SHOWN]:
        click.echo(render(problem, documents.get(problem.layer), colour) + "\n", color=colour)
    if len(problems) > _SHOWN:
        click.echo(f"... and {len(problems) - _SHOWN} more (--json has them all)\n")
    errors = sum(one.severity == "error" for one in problems)
    warnings = sum(one.severity == "warning" for one in problems)
    if errors or warnings:
        click.echo(f"{_count(errors, 'error')}, {_count(warnings, 'warning')}")
    else:
        click.echo("no problems found")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
