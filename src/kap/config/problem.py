"""What is wrong with a config, as data: a code, where (by route), words for a person, and the cure where one is known."""

from __future__ import annotations

from typing import Literal

import msgspec

from kap.document.edit import Edit as Edit
from kap.document.route import Route, Span

Severity = Literal["error", "warning", "information"]


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
