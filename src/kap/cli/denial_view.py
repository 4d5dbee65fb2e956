"""What `kap why-denied` shows: the denials of a project's logs, by its policy of today, at once or as they happen."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from kap.audit.event import Event
from kap.audit.fold import Denial, Fold
from kap.audit.reader import LogReader
from kap.audit.tail import Tail
from kap.audit.today import Finding, look
from kap.cli import denials, fixes
from kap.config.layers import NAME, find_project, global_path, load
from kap.config.problem import Fix
from kap.errors import ConfigError, KapError, UsageError
from kap.names.hosts import BadTarget, parse_host
from kap.policy import compiler
from kap.policy.compiler import Policy

_POLL = 0.25


class Project:
    """The project a command is about: its directory, its kap.toml (None: it has none), its policy as it is now."""

    def __init__(self, start: Path) -> None:
        if not start.is_dir():
            raise UsageError(f"{start} is not a directory", "name the project's directory with -C")
        self.file = find_project(start)
        directory = self.file.parent if self.file else start
        self.directory = directory.parent if directory.name == ".devcontainer" else directory
        self._policy: Policy | None = None
        self._stamp: object = None

    def logs(self) -> list[Path]:
        """Where `kap run` and the sidecar of this project write."""
        from kap.host.state import project_state

        state = project_state(self.directory, create=False)
        return [state.events, state.directory / "sidecar" / "events.jsonl"]

    def accepted(self) -> bool:
        """Whether a dev container of this project runs by an accepted copy of its policy."""
        from kap.host.state import project_state

        return (project_state(self.directory, create=False).directory / "policy" / NAME).is_file()

    def policy(self) -> Policy | None:
        """The policy the files say now; None where there is none, or it has errors (which is said once)."""
        stamp = [_stamp(path) for path in (self.file, global_path()) if path]
        if stamp != self._stamp:
            self._stamp = stamp
            self._policy = self._load()
        return self._policy

    def preview(self, fix: Fix) -> Sequence[str]:
        """The lines `fix` makes in kap.toml, a new one where there is none; () where there are no such lines."""
        if self.file is None:
            return fixes.preview(NAME, "", fix)
        layers = self._policy.config.layers if self._policy else ()
        document = next((layer.document for layer in layers if layer.name == "project"), None)
        return fixes.preview(self.file.name, document.text, fix) if document else ()

    def _load(self) -> Policy | None:
        try:
            loaded = load(self.file, global_path=global_path())
            if loaded.config is not None:
                return compiler.compile(loaded.config)
        except ConfigError as error:
            click.echo(f"kap: {error.message}", err=True)
            return None
        click.echo(
            f"kap: the policy has errors, so fixes are not checked against it; see: kap check {self.file}", err=True
        )
        return None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        info = path.stat()
    except OSError:
        return None
    return info.st_mtime_ns, info.st_size, info.st_ino


class View:
    """Folds events and shows the denials among them. `hosts`: only these, none for every one."""

    def __init__(self, project: Project, hosts: Sequence[str], *, as_json: bool) -> None:
        self._project = project
        self._hosts = frozenset(_canonical(host) for host in hosts)
        self._as_json = as_json
        self._fold = Fold()
        self._newest: dict[Path, float] = {}

    def read(self, logs: Sequence[Path], since: float | None) -> int:
        """Take in what the logs hold; how many lines were no events. Raises `KapError`."""
        skipped = 0
        for path in logs:
            reader = LogReader(path)
            newest = 0.0
            try:
                for event in reader.read(since=since, denials_only=True):
                    newest = max(newest, event.ts)
                    self._add(event)
            except OSError as error:
                raise KapError(f"{path} cannot be read: {error.strerror}", "make it readable for you") from error
            self._newest[path] = newest
            skipped += reader.skipped
        return skipped

    def findings(self, limit: int) -> list[Finding]:
        """The newest `limit` (0: all), the newest last, by today's policy."""
        policy = self._project.policy()
        return [look(denial, policy) for denial in self._fold.denials()[-limit if limit else None :]]

    def show(self, limit: int, skipped: int, *, quiet: bool) -> None:
        """Everything so far; `quiet`: do not say that it is nothing."""
        found = self.findings(limit)
        for one in found:
            self._print(one)
        if self._as_json:
            return
        hidden = len(self._fold.denials()) - len(found) + self._fold.forgotten
        if hidden:
            click.echo(f"({hidden:,} older not shown; --limit 0 shows all, --since the latest)", err=True)
        if skipped:
            lines = "line of the log is no event" if skipped == 1 else "lines of the log are no events"
            click.echo(f"({skipped:,} {lines}: passed over)", err=True)
        if not found and not quiet:
            click.echo("Nothing was refused" + (" of these hosts." if self._hosts else "."))
        elif any(fixes_of(one) for one in found):
            click.echo("To carry fixes out: kap why-denied --fix [HOST]...", err=True)

    def follow(self, tails: Sequence[tuple[Path, Tail]]) -> None:
        """Show what comes until interrupted. The tails were at the end of their logs before those were read."""
        try:
            while True:
                came = [event for path, tail in tails for event in self._poll(path, tail)]
                self._show_batch(came)
                if not came:
                    time.sleep(_POLL)
        except KeyboardInterrupt:
            return

    def _poll(self, path: Path, tail: Tail) -> list[Event]:
        """What is new; not what was already read between opening the tail and reading the log."""
        try:
            events = tail.poll()
        except OSError as error:
            raise KapError(f"{path} cannot be read any more: {error.strerror}", "make it readable for you") from error
        known = self._newest.get(path, 0.0)
        return [event for event in events if event.ts > known]

    def _show_batch(self, events: Sequence[Event]) -> None:
        """Each denial once per batch: whole when it is new, as one line when it happened again."""
        touched: dict[int, tuple[Denial, bool]] = {}
        for event in events:
            denial = self._add(event)
            if denial is not None:
                touched.setdefault(id(denial), (denial, denial.count > 1))
        policy = self._project.policy() if touched else None
        for denial, again in touched.values():
            self._print(look(denial, policy), again=again)
        if touched:
            sys.stdout.flush()

    def _add(self, event: Event) -> Denial | None:
        return self._fold.add(event) if not self._hosts or event.host in self._hosts else None

    def _print(self, found: Finding, *, again: bool = False) -> None:
        if self._as_json:
            click.echo(json.dumps(denials.record(found)))
        else:
            click.echo(denials.brief(found) if again else denials.block(found, self._project.preview) + "\n")


def fixes_of(found: Finding) -> tuple[Fix, ...]:
    """The fixes that are edits; none where it is allowed by now."""
    return () if found.allowed_now else tuple(fix for fix in found.explanation.fixes if fix.edits)


def _canonical(host: str) -> str:
    """As it stands in events; the text itself where it is no host (some denials are about that)."""
    try:
        return parse_host(host).text
    except BadTarget:
        return host
