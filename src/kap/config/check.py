"""Check one document: syntax, then shape, then meaning; each stage runs only on what the one before let through.

`check` is pure: text in, Problems out. The editor and ``kap check`` show the same ones.
"""

from __future__ import annotations

import msgspec

from kap.config import schema
from kap.config.lints import run_lints
from kap.config.model import File
from kap.config.problem import Problem
from kap.document.toml import Document


class Checked(msgspec.Struct, frozen=True):
    """`file` is None when any problem is an error."""

    file: File | None
    problems: tuple[Problem, ...]


def check(document: Document, layer: str = "project", path: str = "") -> Checked:
    """Everything wrong with `document` as the file `path` of `layer` (``global`` or ``project``), errors and warnings."""
    found = [*_problems(document, layer)]
    problems = tuple(msgspec.structs.replace(one, layer=layer, path=path) for one in found)
    if document.value is None or any(one.severity == "error" for one in problems):
        return Checked(None, problems)
    return Checked(convert(document.value), problems)


def convert(value: dict[str, object]) -> File:
    """The typed meaning of tables that have passed the schema."""
    return msgspec.convert(value, File)


def _problems(document: Document, layer: str) -> list[Problem]:
    if document.value is None:
        return [Problem("config.syntax", one.message, span=one.span, hint=one.hint) for one in document.syntax_errors]
    shape = [*schema.validate(document.value)]
    if any(one.code in ("config.type", "config.required") for one in shape):
        return shape  # lints read typed values; a wrong type first has to be put right
    known = schema.known(document.value)
    return [*shape, *run_lints(known, layer)]
