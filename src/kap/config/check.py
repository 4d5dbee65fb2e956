"""Check one document: syntax, then shape, then meaning; each stage runs only on what the one before let through.

`check` is pure: text in, Problems out. The editor and ``kap check`` show the same ones. Pasted secrets are looked for first and in
any text; where there is one, nothing that is said about the file repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kap.config import schema
from kap.config.lints import run_lints, secrets
from kap.config.lints.context import Context
from kap.config.model import File
from kap.config.problem import Fix, Problem
from kap.document.toml import Document


class Checked(msgspec.Struct, frozen=True):
    """`file` is None when any problem is an error."""

    file: File | None
    problems: tuple[Problem, ...]


def check(document: Document, layer: str = "project", path: str = "", *, advice: bool = True) -> Checked:
    """Everything wrong with `document` as the file `path` of `layer` (``global`` or ``project``), errors and warnings.

    `advice`: also the lints that only warn and take their time.
    """
    pasted = [*secrets.in_document(document)]
    file, rest = _meaning(document, layer, advice)
    if document.text.startswith("\ufeff"):
        hint = "save it as UTF-8 without BOM"
        rest.append(
            Problem(
                "config.bom",
                "the file starts with a byte order mark",
                "warning",
                span=document.source.span(0, 1),
                hint=hint,
            )
        )
    found = [*pasted, *((_redacted(one, document) for one in rest) if pasted else rest)]
    problems = tuple(msgspec.structs.replace(one, layer=layer, path=path) for one in found)
    failed = any(one.severity == "error" for one in problems)
    return Checked(None if failed else file, problems)


def _meaning(document: Document, layer: str, advice: bool) -> tuple[File | None, list[Problem]]:
    if document.value is None:
        return None, [
            Problem("config.syntax", one.message, span=one.span, hint=one.hint) for one in document.syntax_errors
        ]
    shape = [*schema.validate(document.value)]
    try:
        file = msgspec.convert(schema.known(document.value), File)
    except (msgspec.ValidationError, RecursionError) as error:
        return None, shape or [Problem("config.type", f"this is not a kap.toml: {error}")]
    if any(one.code in ("config.type", "config.required") for one in shape):
        return None, shape  # the lints read typed values; a wrong type first has to be put right
    broken = {one.route for one in shape}  # what has no right shape is not judged by its meaning as well
    found = [*shape, *(one for one in run_lints(Context(document, file, layer), advice) if one.route not in broken)]
    if any(one.severity == "error" for one in found):  # an emptiness that the errors explain is no news
        found = [one for one in found if one.code != "config.nothing-allowed"]
    return file, found


def _redacted(problem: Problem, document: Document) -> Problem:
    if any(_repeats(step) for step in problem.route):  # a secret for a key: the place is kept, its name is not
        span = problem.span or document.nearest(problem.route, problem.on_key)
        problem = msgspec.structs.replace(problem, route=(), span=span)
    return msgspec.structs.replace(
        problem,
        message=secrets.redact(problem.message),
        hint="" if _repeats(problem.hint) else problem.hint,
        fixes=tuple(fix for fix in problem.fixes if not any(_repeats(one) for one in _values(fix))),
    )


def _values(fix: Fix) -> Iterator[Any]:
    yield fix.title
    for edit in fix.edits:
        yield edit.value
        yield from edit.route


def _repeats(value: Any) -> bool:
    return isinstance(value, str) and secrets.redact(value) != value
