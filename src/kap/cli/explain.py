"""``kap explain TARGET...``: the decision, the rule with its place, near misses and the fix."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import click

from kap.cli.project_option import project_option
from kap.cli.render import escape, render, shown_path, wants_colour
from kap.config.layers import Review, find_project, global_path, load, review
from kap.errors import EXIT_FAILED, EXIT_OK, EXIT_USAGE, UsageError
from kap.names.hosts import BadTarget, parse_target
from kap.policy.compiler import Policy, compile
from kap.policy.decision import Decision, RuleRef
from kap.policy.explain import Explanation, explain, explain_bad_target
from kap.policy.request import EgressKind, EgressRequest

_MAX_LINE = 65_536  # bytes of one target on standard input
_KINDS: dict[str, EgressKind] = {"http": "http", "ws": "http"}
_NO_POLICY = Decision("deny", "egress.no-policy")
_BAD = Decision("deny", "egress.bad-target")


@click.command(short_help="Say whether a target is allowed, by which rule, and how to change that.")
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="The kap.toml to judge by.")
@project_option("Look for kap.toml from here.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (schemas/explanation.schema.json).")
def command(targets: tuple[str, ...], config_file: Path | None, directory: Path, as_json: bool) -> int:
    """Say whether TARGET is allowed, by which rule, and how to change that.

    TARGET is a host, host:port, an IP address, [IPv6]:port or an http(s)/ws(s) URL; without a port, 443 is meant. "-" reads targets from
    standard input, one a line.

    Exit code: 0 all allowed, 1 something denied, 2 bad input. With "-": 0 when every line was answered by a sound policy; with --json,
    a policy with errors denies every line, as kap itself does where no policy can be loaded.
    """
    policy = _load(config_file, directory)
    if policy is None:
        if targets == ("-",) and as_json:
            _deny_all(sys.stdin.buffer)
        raise click.exceptions.Exit(EXIT_USAGE)
    if "-" in targets:
        if len(targets) > 1:
            raise UsageError(
                '"-" stands alone: targets come from standard input or from arguments', "leave the others out"
            )
        answers = _Answers(policy, as_json=as_json, brief=True)
        for name, text in _lines(sys.stdin.buffer):
            answers.answer(name, text)
        return EXIT_OK
    answers = _Answers(policy, as_json=as_json, brief=False)
    codes = [answers.answer(target, target) for target in targets]
    if "egress.bad-target" in codes:
        return EXIT_USAGE
    return EXIT_OK if all(code == "egress.allowed" for code in codes) else EXIT_FAILED


def _deny_all(stream: IO[bytes]) -> None:
    """What is true of every target while no policy can be loaded: nothing passes."""
    for name, _ in _lines(stream):
        record = {"target": name, "verdict": _NO_POLICY.verdict, "code": _NO_POLICY.code, "rule": None}
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()


def _load(config_file: Path | None, directory: Path) -> Policy | None:
    """The policy of the layers; None where one has an error, and its Problems go to standard error."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a directory", "name the project's directory: -C DIR")
    project = config_file or find_project(directory)
    upper = global_path()
    if project is None and not os.path.lexists(upper):
        raise UsageError(
            f"there is no kap.toml in {directory.resolve()} or above it",
            "name one with --config, or a directory with -C",
        )
    loaded = load(project, global_path=upper)
    if loaded.config is None:
        _show_problems(review(project, global_path=upper))
        return None
    return compile(loaded.config)


def _show_problems(found: Review) -> None:
    for problem in found.problems:
        if problem.severity == "error":
            click.echo(render(problem, found.documents.get(problem.layer), wants_colour(sys.stderr)), err=True)


def _lines(stream: IO[bytes]) -> Iterator[tuple[str, str | None]]:
    """Each line as shown and as read; None where it is not UTF-8 or too long. Never holds more than one line's limit in memory."""
    while line := stream.readline(_MAX_LINE + 1):
        whole = line.endswith(b"\n") or len(line) <= _MAX_LINE
        rest = line
        while not rest.endswith(b"\n") and len(rest) > _MAX_LINE:
            rest = stream.readline(_MAX_LINE + 1)
        body = line.removesuffix(b"\n")
        try:
            text = body.decode("utf-8") if whole else None
        except UnicodeDecodeError:
            text = None
        yield body[:1024].decode("utf-8", "backslashreplace") if text is None else text, text


class _Answers:
    """Answers targets by one policy; each rule is looked up in its file once."""

    def __init__(self, policy: Policy, *, as_json: bool, brief: bool) -> None:
        self._policy, self._as_json, self._brief = policy, as_json, brief
        self._rules: dict[RuleRef, dict[str, Any]] = {}

    def answer(self, name: str, text: str | None) -> str:
        """Print the answer for one target (`text` is None where it could not be read) and return its code."""
        request, decision, error = None, _BAD, "the target is not UTF-8 text, or too long"
        try:
            if text is not None:
                scheme, target = parse_target(text)
                request = EgressRequest(target, _KINDS.get(scheme, "connect"))
                decision = self._policy.decide(request)
        except BadTarget as bad:
            error = str(bad)
        record = {"target": name, "verdict": decision.verdict, "code": decision.code, "rule": self._rule(decision.rule)}
        if not (self._as_json and self._brief):
            told = explain(request, decision, self._policy.config) if request else explain_bad_target(error)
            if not self._as_json:
                _print(name, told)
                return decision.code
            record |= _more(told)
        sys.stdout.write(json.dumps(record) + "\n")
        sys.stdout.flush()  # whoever asks line by line gets the answer line by line
        return decision.code

    def _rule(self, rule: RuleRef | None) -> dict[str, Any] | None:
        if rule is None:
            return None
        if rule not in self._rules:
            path, line = self._policy.config.locate(rule.layer, rule.route)
            self._rules[rule] = {"text": rule.text, "layer": rule.layer, "path": path, "line": line, "via": rule.via}
        return self._rules[rule]


def _more(told: Explanation) -> dict[str, Any]:
    fixes = [
        {
            "title": fix.title,
            "widens": fix.widens,
            "edits": [{"op": edit.op, "route": list(edit.route), "value": edit.value} for edit in fix.edits],
        }
        for fix in told.fixes
    ]
    return {"title": told.title, "why": told.why, "near": list(told.near), "fixes": fixes, "docs": told.docs}


def _print(name: str, told: Explanation) -> None:
    allowed = told.verdict == "allow"
    verdict = "allowed" if allowed else "denied"
    if wants_colour():
        verdict = click.style(verdict, fg="green" if allowed else "red", bold=True)
    click.echo(f"{escape(name)}: {verdict}  {told.code}")
    click.echo(f"  why   {escape(told.why)}")
    if told.rule:
        via = f", preset {told.via}" if told.via else ""
        click.echo(
            f'  rule  "{escape(told.rule)}"  {escape(shown_path(told.where)) if told.where else "-"}  ({told.layer}{via})'
        )
    for label, lines in (("near", told.near), ("fix", tuple(fix.title for fix in told.fixes))):
        for line in lines:
            click.echo(f"  {label:<5} {escape(line)}")
    if not allowed:
        click.echo(f"  more  {told.docs}")
