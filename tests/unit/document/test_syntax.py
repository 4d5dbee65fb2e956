"""Syntax errors: where they are, in whose words, and what to do; and hostile texts that only cost a moment."""

from __future__ import annotations

import pytest

from kap.document.syntax import MAX_DEPTH
from kap.document.toml import parse


@pytest.mark.parametrize(
    ("text", "line", "marked", "message", "hint"),
    [
        ("a\n", 0, "", "after the key comes `=` and a value", 'write: name = "value"'),
        ("a = \n", 0, "", "a value is missing here", 'text goes in quotes: "value"'),
        ("a = github.com\n", 0, "github.com", "this is not a TOML value", 'text goes in quotes: "value"'),
        ("\n  a = True # x\n", 1, "True", "`True` is not a TOML value", "write true"),
        ("a = yes", 0, "yes", "`yes` is not a TOML value", "write true"),
        (
            'a = ["x", "y\nb = 1\n',
            0,
            '"y',
            "the string is not closed on its line",
            'close it with the quote, or use """ for several lines',
        ),
        ("a = 1\na = 2\n", 1, "a = 2", "this key is defined twice", "keep one of the two"),
        ("[a]\n[a]\n", 1, "[a]", "this table is defined twice", "put the keys of both under one heading"),
        ('a = "x" b = 1\n', 0, "b = 1", "something stands behind the value", "one key = value on a line"),
        (
            'a = "\\d"\n',
            0,
            None,
            "a backslash in a string in double quotes needs another one",
            "write \\\\, or use single quotes",
        ),
        ("a = [1\nb = 2\n", 1, None, "the array is not closed, or a comma is missing", 'write: ["one", "two"]'),
        ("a = 1\n\0\n", 1, "\0", "neither a key, a [table] nor a comment", "comments start with #"),
        ('a = "\x07"\n', 0, "\x07", "control character U+0007 is not allowed here", "delete it"),
        ("[a\n", 0, None, "the table name is not closed", "write: [name]"),
        ("// no\n", 0, "// no", "neither a key, a [table] nor a comment", "comments start with #"),
    ],
)
def test_words_and_places(text: str, line: int, marked: str | None, message: str, hint: str) -> None:
    (error,) = parse(text).syntax_errors
    assert (error.message, error.hint, error.span.line) == (message, hint, line)
    if marked is not None:
        assert text[error.span.start : error.span.end] == marked


def test_lines_are_right_after_crlf() -> None:
    text = "a = 1\r\nb = 2\r\nc = oops\r\n"
    (error,) = parse(text).syntax_errors
    assert (error.span.line, error.span.column, text[error.span.start : error.span.end]) == (2, 4, "oops")


@pytest.mark.parametrize(
    "text",
    [
        "a." * 200_000 + "a = 1",
        '"a".' * 200_000 + "a = 1",
        "[" + "a . " * 200_000 + "a]",
        "a = " + "[" * 100_000 + "]" * 100_000,
        "a = " + "{a=" * 30_000,
        "\n".join("a." * (MAX_DEPTH - 3) + f"k{count} = 1" for count in range(200)) + "\nx = [[[[[[1]]]]]]" * 2,
        "a = " + "9" * 100_000,
        "x" * 1_000_000,
        '"' * 1_000_000,
        "a = '" + "'" * 100_000,
        "\0" * 100_000,
        "\ud800",
    ],
    ids=lambda text: f"{text[:8]!a}",
)
@pytest.mark.timeout(30)
def test_hostile_text_is_refused_in_bounded_time(text: str) -> None:
    document = parse(text)
    assert document.value is None
    assert document.syntax_errors[0].message
    document.places()


def test_depth_up_to_the_limit_is_read() -> None:
    assert parse("a = " + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1)).value is not None
    assert parse("a = " + "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).value is None
