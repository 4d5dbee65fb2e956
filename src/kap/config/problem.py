"""What is wrong with a config, as data: a code, where (by route), words for a person, and the cure where one is known."""

from __future__ import annotations

from typing import Literal

import msgspec

from kap.document.route import Route, Span

Severity = Literal["error", "warning", "information"]


class Edit(msgspec.Struct, frozen=True):
    """A symbolic edit: what to do at `route`. ``append`` adds `value` to the array there, ``replace`` puts `value` in place of the
    value (or, with `key`, renames the key), ``remove`` takes the entry out."""

    op: Literal["append", "replace", "remove", "rename"]
    route: Route
    value: str = ""


class Fix(msgspec.Struct, frozen=True):
    """A cure a person may choose. `widens` says whether it lets more through than before."""

    title: str
    edits: tuple[Edit, ...] = ()
    widens: bool = False


class Problem(msgspec.Struct, frozen=True):
    """`code` is ``config.<reason>`` (a page in docs/codes). `route` is where; `span` is set where no route exists (syntax, bytes)."""

    code: str
    message: str
    severity: Severity = "error"
    route: Route = ()
    span: Span | None = None
    hint: str = ""
    fixes: tuple[Fix, ...] = ()
    layer: str = "project"
    path: str = ""
    on_key: bool = False
    """The key at `route` is wrong, not its value."""
