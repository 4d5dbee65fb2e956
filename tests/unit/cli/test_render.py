"""Rendering: tabs, wide and combining characters, control characters, long lines, spans over lines; hostile text stays text."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from kap.cli.render import escape, render, shown_path, wants_colour, width
from kap.config.problem import Problem
from kap.document.toml import Document, parse


def excerpt(document: Document, start: int, end: int) -> tuple[str, str]:
    problem = Problem("config.value", "m", span=document.source.span(start, end), path="kap.toml")
    lines = render(problem, document).split("\n")
    return lines[3], lines[4]


@pytest.mark.parametrize(
    ("text", "marked", "source", "carets"),
    [
        ("a = 1", "1", "1 | a = 1", "  |     ^"),
        ("\ta\t= 1", "1", "1 |     a    = 1", "  |            ^"),
        ("漢 = '字字'", "'字字'", "1 | 漢 = '字字'", "  |      ^^^^^^"),
        ("e\u0301 = 1", "1", "1 | e\u0301 = 1", "  |     ^"),
        ("a = '\x1b[31m'", "'\x1b[31m'", "1 | a = '\\x1b[31m'", "  |     ^^^^^^^^^^"),
        ("a = '\u202eevil'", "'\u202eevil'", "1 | a = '\\u{202e}evil'", "  |     ^^^^^^^^^^^^^^"),
        ("a = 1", "", "1 | a = 1", "  | ^"),
    ],
)
def test_a_line_and_its_carets(text: str, marked: str, source: str, carets: str) -> None:
    document = parse(text)
    start = text.index(marked)
    assert excerpt(document, start, start + len(marked)) == (source, carets)


def test_a_span_over_several_lines_is_marked_to_the_end_of_the_first() -> None:
    document = parse("a = [\n  1,\n]\n")
    assert excerpt(document, 4, 12) == ("1 | a = [", "  |     ^")


def test_a_place_at_the_end_of_the_text_or_of_an_empty_line() -> None:
    document = parse("\na =\n")
    assert excerpt(document, 4, 4) == ("2 | a =", "  |    ^")
    assert excerpt(document, 0, 0) == ("1 |", "  | ^")


def test_of_a_long_line_the_part_around_the_place_is_shown() -> None:
    text = "a = [" + ", ".join(f"'h{count}'" for count in range(10_000)) + "]"
    start = text.index("'h5000'")
    source, carets = excerpt(parse(text), start, start + 7)
    assert "…" in source and len(source) < 130
    assert source[carets.index("^") : carets.rindex("^") + 1] == "'h5000'"


def test_messages_hints_and_paths_are_escaped() -> None:
    shown = render(Problem("config.value", "a\nb\x1b]0;x\x07", hint="c\rd", path="/x\ny"), None)
    assert shown == "error[config.value]: a\\x0ab\\x1b]0;x\\x07\n --> /x\\x0ay\n  = fix: c\\x0dd"


def test_escape_and_width() -> None:
    assert escape("ab\u200b\ud800\u2028") == "ab\\u{200b}\\u{d800}\\u{2028}"
    assert (width("abc"), width("漢"), width("e\u0301")) == (3, 2, 1)


def test_paths_below_the_working_directory_are_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown_path(str(tmp_path / "a" / "kap.toml")) == "a/kap.toml"
    assert shown_path("/elsewhere/kap.toml") == "/elsewhere/kap.toml"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())
