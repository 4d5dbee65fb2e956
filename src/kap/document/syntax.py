"""TOML values by tomllib, and its complaints in words a person can act on, with the place they are about.

tomllib (TOML 1.0) alone says what a text means. It was written for honest files, so two guards stand before it: keys of very many
parts (quadratic time) and very deep nesting (recursion) are refused.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec

from kap.document.route import Span
from kap.document.source import Source

MAX_DEPTH = 100
"""Tables and arrays inside one another; kap.toml needs 5."""

_LONG_KEY = re.compile(
    r"""(?<![A-Za-z0-9_-])(?>(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""",
)
_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")


class SyntaxProblem(msgspec.Struct, frozen=True):
    """Why a text is not TOML: what is wrong, where, and what to write instead ("" where that cannot be known)."""

    message: str
    span: Span
    hint: str = ""


def read(source: Source) -> tuple[dict[str, Any] | None, SyntaxProblem | None]:
    """The values of a text, or the first thing wrong with it; never raises, takes time linear in the text."""
    text = source.plain
    if (surrogate := next((i for i, c in enumerate(text) if "\ud800" <= c <= "\udfff"), -1)) >= 0 and not source.ascii:
        return None, SyntaxProblem("half of a UTF-16 pair is no character", source.span(surrogate, surrogate + 1))
    if long_key := _LONG_KEY.search(text):
        start = long_key.start()
        return None, SyntaxProblem(
            "a key has too many parts", source.span(start, source.line_end(source.line_of(start)))
        )
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, _explain(source, str(error))
    except RecursionError:
        return None, _whole(source, f"tables and arrays are nested more than {MAX_DEPTH} deep")
    except ValueError:  # int() refuses thousands of digits
        return None, _whole(source, "a number is too long")
    if _too_deep(value):
        return None, _whole(source, f"tables and arrays are nested more than {MAX_DEPTH} deep")
    return value, None


def _whole(source: Source, message: str) -> SyntaxProblem:
    return SyntaxProblem(message, source.span(0, source.line_end(0)))


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            if isinstance(node, dict | list)
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            return False
    return True


# What tomllib says (the start of it) -> what a person reads, and what to do
_WORDS: tuple[tuple[str, str, str], ...] = (
    ("Expected '=' after a key", "after the key comes `=` and a value", 'write: name = "value"'),
    (
        "Invalid initial character for a key",
        "a key is expected here",
        "keys are letters, digits, - and _; quote any other",
    ),
    ("Invalid statement", "neither a key, a [table] nor a comment", "comments start with #"),
    ("Cannot overwrite a value", "this key is defined twice", "keep one of the two"),
    ("Cannot mutate immutable namespace", "this table is already closed", "write all its keys in one place"),
    ("Expected newline or end of document after a", "something stands behind the value", "one key = value on a line"),
    ("Unterminated string", "the string is not closed", "close it with the quote it was opened with"),
    ("Unclosed array", "the array is not closed, or a comma is missing", 'write: ["one", "two"]'),
    (
        "Unclosed inline table",
        "the inline table is not closed, or a comma is missing",
        'write: { name = "value" } on one line',
    ),
    (
        "Unescaped '\\'",
        "a backslash in a string in double quotes needs another one",
        "write \\\\, or use single quotes",
    ),
    ("Expected ']' at the end of a table", "the table name is not closed", "write: [name]"),
    ("Expected ']]' at the end of an array", "the table name is not closed", "write: [[name]]"),
    ("Invalid hex value", "the \\u escape has too few digits", "\\u takes 4 hexadecimal digits, \\U takes 8"),
    ("Escaped character is not a Unicode scalar", "the escape names no character", ""),
    ("Invalid date or datetime", "this date does not exist", "put text in quotes"),
    ('Expected "\'"', "the string is not closed", "close it with the quote it was opened with"),
)
_NOT_VALUES = {
    "True": "true",
    "False": "false",
    "TRUE": "true",
    "FALSE": "false",
    "yes": "true",
    "no": "false",
    "on": "true",
    "off": "false",
}


def _explain(source: Source, complaint: str) -> SyntaxProblem:
    place = _AT.search(complaint)
    said = _AT.sub("", complaint)
    if place is None or place[1] is None:
        start = max(len(source.text.rstrip()) - 1, 0)
    else:
        start = source.offset(int(place[1]) - 1, int(place[2]) - 1)
    line = source.line_of(start)
    if said.startswith("Invalid value"):
        return _bad_value(source, start)
    if said.startswith("Illegal character"):
        return _bad_character(source, start)
    if said.startswith(("Cannot overwrite", "Cannot declare", "Duplicate inline", "Cannot mutate")):
        start = _indented(source, line)
    span = source.span(start, max(source.line_end(line), start))
    for beginning, message, hint in _WORDS:
        if said.startswith(beginning):
            return SyntaxProblem(message, span, hint)
    if said.startswith("Cannot declare"):
        return SyntaxProblem("this table is defined twice", span, "put the keys of both under one heading")
    if said.startswith("Duplicate inline"):
        return SyntaxProblem("this key is defined twice", span, "keep one of the two")
    return SyntaxProblem(said[:1].lower() + said[1:], span)


def _indented(source: Source, line: int) -> int:
    start, end = source.offset(line, 0), source.line_end(line)
    piece = source.text[start:end]
    return start + len(piece) - len(piece.lstrip())


def _bad_value(source: Source, start: int) -> SyntaxProblem:
    end = source.line_end(source.line_of(start))
    word = re.match(r"[^\s,\]}#]*", source.text[start:end])
    text = word[0] if word else ""
    span = source.span(start, min(start + max(len(text), 1), max(end, start)))
    if text in _NOT_VALUES:
        return SyntaxProblem(f"`{text}` is not a TOML value", span, f"write {_NOT_VALUES[text]}")
    if not text:
        return SyntaxProblem("a value is missing here", span, 'text goes in quotes: "value"')
    return SyntaxProblem("this is not a TOML value", span, 'text goes in quotes: "value"')


def _bad_character(source: Source, start: int) -> SyntaxProblem:
    character = source.text[start : start + 1]
    span = source.span(start, min(start + 1, len(source.text)))
    if character in ("\n", "\r"):
        line = source.line_of(start)
        begin = _opening_quote(source, line, start)
        message, hint = "the string is not closed on its line", 'close it with the quote, or use """ for several lines'
        return SyntaxProblem(message, source.span(begin, max(source.line_end(line), begin)), hint)
    return SyntaxProblem(f"control character U+{ord(character or ' '):04X} is not allowed here", span, "delete it")


def _opening_quote(source: Source, line: int, stop: int) -> int:
    """Where the string that runs to the end of `line` was opened: an odd quote, else the line's first character."""
    begin = source.offset(line, 0)
    quote, at, position = "", begin, begin
    while position < stop:
        character = source.text[position]
        if quote and character == "\\" and quote == '"':
            position += 1
        elif character == quote:
            quote = ""
        elif not quote and character in "\"'":
            quote, at = character, position
        elif not quote and character == "#":
            break
        position += 1
    return at if quote else _indented(source, line)
