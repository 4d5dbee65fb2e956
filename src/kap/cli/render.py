"""Problems as text for a terminal. Whatever comes from a file is escaped here: nothing in it can move the cursor or hide.

Colour only where the output is a terminal that wants it (``NO_COLOR``, ``TERM=dumb`` and pipes do not).
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from kap.config.lints.secrets import redact
from kap.config.problem import Problem
from kap.document.route import Span
from kap.document.toml import Document

_WIDTH = 110
"""Cells of a source line that are shown; of a longer one, the part around the caret."""

_COLOURS = {"error": "red", "warning": "yellow", "information": "blue"}
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def wants_colour(stream: IO[str] | None = None) -> bool:
    """True where `stream` (standard output) is a terminal and nothing asks for plain text."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    stream = stream or sys.stdout
    return stream.isatty()


def escape(text: str) -> str:
    """`text` on one line with every control, format and unassigned character spelled out (tab: four spaces)."""
    return "".join(_cell(one) for one in text)


def width(text: str) -> int:
    """Terminal cells of escaped text: wide East Asian characters take two, combining ones none (UAX 11)."""
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def place(problem: Problem, document: Document | None) -> Span | None:
    """Where a Problem is shown: its span, else its route's, else nothing (the whole file)."""
    if problem.span is not None:
        return problem.span
    if document is None or not problem.route:
        return None
    return document.nearest(problem.route, problem.on_key)


def shown_path(path: str) -> str:
    """A path from the working directory where it lies below it."""
    try:
        return str(Path(path).absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return path


def render(problem: Problem, document: Document | None, colour: bool = False) -> str:
    """One Problem with its place, its line, carets, hint and fixes; several lines, no trailing newline."""
    span = place(problem, document)
    return "\n".join(_lines(problem, document, span, _Paint(colour)))


class _Paint:
    def __init__(self, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, colour: str | None = None, bold: bool = False) -> str:
        return click.style(text, fg=colour, bold=bold) if self._on else text


def _lines(problem: Problem, document: Document | None, span: Span | None, paint: _Paint) -> Iterator[str]:
    colour = _COLOURS[problem.severity]
    yield paint(f"{problem.severity}[{problem.code}]", colour, bold=True) + paint(
        ": " + escape(problem.message), bold=True
    )
    where = escape(shown_path(problem.path))
    if span is not None:
        where += f":{span.line + 1}:{span.column + 1}"
    gutter = len(str(span.line + 1)) if span else 1
    yield " " * gutter + paint("--> ", "blue") + where
    bar = " " * (gutter + 1) + paint("|", "blue")
    if span is not None and document is not None:
        source, carets = _excerpt(document, span)
        yield bar
        yield paint(f"{span.line + 1} |", "blue") + (" " + source if source else "")
        yield bar + " " + paint(carets, colour, bold=True)
    note = " " * (gutter + 1) + paint("= ", "blue")
    if problem.hint:
        yield note + "fix: " + escape(problem.hint)


def _excerpt(document: Document, span: Span) -> tuple[str, str]:
    """The line of a span as it is shown, and the carets under the part that is meant (to the line's end for longer spans)."""
    begin = span.start - span.column
    line = document.text[begin : document.source.line_end(span.line)]
    line = redact(line)
    cells = [_cell(one) for one in line]
    first = min(span.column, len(cells))
    last = min(span.end_column, len(cells)) if span.end_line == span.line else len(cells)
    start, stop = _window(cells, first, max(last, first))
    head, tail = "…" if start else "", "…" if stop < len(cells) else ""
    lead = width(head) + width("".join(cells[start:first]))
    marked = width("".join(cells[first : min(last, stop)]))
    return head + "".join(cells[start:stop]) + tail, " " * lead + "^" * max(marked, 1)


def _window(cells: list[str], first: int, last: int) -> tuple[int, int]:
    if len(cells) <= _WIDTH and width("".join(cells)) <= _WIDTH:
        return 0, len(cells)
    room = max(_WIDTH - min(last - first, _WIDTH), 0) // 2
    start = max(first - room, 0)
    return start, min(start + _WIDTH, len(cells))


def _cell(character: str) -> str:
    if character == "\t":
        return "    "
    if unicodedata.category(character) in _HIDDEN:
        number = ord(character)
        return f"\\x{number:02x}" if number < 0x100 else f"\\u{{{number:x}}}"
    return character
