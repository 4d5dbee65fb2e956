"""JSON with comments as a tree with places: what `edit_jsonc` finds its spots with. Pure.

Rules: comments and trailing commas are allowed, as in devcontainer.json (VS Code's "JSON with Comments"), and a byte order mark at the
start; everything else is RFC 8259, but for control characters in strings, which the devcontainer CLI lets pass. Every node knows where
it begins and ends, every member where the comma after it is, so an edit touches those characters and no others.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import msgspec

_BLANK = re.compile(r"(?:[ \t\r\n]+|//[^\r\n]*|/\*.*?\*/)*", re.S)
_STRING = re.compile(r'"(?:[^"\\\r\n]|\\[^\r\n])*"')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z_.+-])|(?:true|false|null)\b")
_DEPTH = 200


class BadJson(ValueError):
    """`line` and `column` count from 1, in characters."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line, self.column = line, column


class Node(msgspec.Struct, frozen=True):
    """`start` to `end`: its characters. `members`: of an object or array, in order."""

    kind: Literal["object", "array", "scalar"]
    start: int
    end: int
    value: Any
    members: tuple[Member, ...] = ()

    def member(self, key: str | int) -> Member | None:
        """The member called `key` (of several, the one that counts: the last), or the element `key` of an array."""
        if isinstance(key, int):
            return self.members[key] if 0 <= key < len(self.members) else None
        return next((m for m in reversed(self.members) if m.key == key), None)


class Member(msgspec.Struct, frozen=True):
    """A key with its value, or an element (`key` None). `start`: where it begins; `comma`: where the comma after it is, or -1."""

    key: str | None
    start: int
    node: Node
    comma: int = -1


def parse(text: str) -> Node:
    """The tree of `text`. Raises `BadJson` with the place of the first mistake."""
    reader = _Reader(text)
    start = reader.blank(1 if text.startswith("\ufeff") else 0)
    if start == len(text):
        raise reader.error(start, "the file is empty; it has to hold an object: { ... }")
    node = reader.value(start, 0)
    end = reader.blank(node.end)
    if end != len(text):
        raise reader.error(end, "something follows the value; the file has to hold one object")
    return node


def duplicates(node: Node) -> list[tuple[str, int]]:
    """Keys that stand twice in the object `node` itself, each with the place of its second."""
    seen: set[str] = set()
    found = []
    for member in node.members:
        if member.key is not None and member.key in seen:
            found.append((member.key, member.start))
        seen.add(member.key or "")
    return found


def position(text: str, at: int) -> tuple[int, int]:
    """Line and column, both from 1, of the character `at`."""
    lines = re.split(r"\r\n|\r|\n", text[:at].removeprefix("\ufeff"))
    return len(lines), len(lines[-1]) + 1


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text

    def error(self, at: int, message: str) -> BadJson:
        return BadJson(message, *position(self.text, at))

    def blank(self, at: int) -> int:
        """Where whitespace and comments from `at` on end."""
        end = _BLANK.match(self.text, at).end()  # type: ignore[union-attr]  # it matches the empty text
        if self.text.startswith("/*", end):
            raise self.error(end, "this comment does not end")
        return end

    def value(self, at: int, depth: int) -> Node:
        if depth > _DEPTH:
            raise self.error(at, f"more than {_DEPTH} objects and arrays inside one another")
        first = self.text[at : at + 1]
        if first in ("{", "["):
            return self.composite(at, depth, "}" if first == "{" else "]")
        match = (_STRING if first == '"' else _SCALAR).match(self.text, at)
        if match is None:
            what = (
                "a string that does not end in its line"
                if first == '"'
                else f"{first or 'the end'} where a value is due"
            )
            raise self.error(at, what)
        return Node("scalar", at, match.end(), self.decoded(match.group(), at))

    def decoded(self, raw: str, at: int) -> Any:
        try:
            return json.loads(raw, strict=False)
        except ValueError as error:
            raise self.error(at, f"not a string of JSON: {getattr(error, 'msg', error)}") from error

    def composite(self, at: int, depth: int, closing: str) -> Node:
        members: list[Member] = []
        place = self.blank(at + 1)
        while not self.text.startswith(closing, place):
            member, place = self.member(place, depth, closing)
            members.append(member)
        value: Any = {m.key: m.node.value for m in members} if closing == "}" else [m.node.value for m in members]
        return Node("object" if closing == "}" else "array", at, place + 1, value, tuple(members))

    def member(self, at: int, depth: int, closing: str) -> tuple[Member, int]:
        """One member with the comma after it, and where the next thing begins."""
        key, place = None, at
        if closing == "}":
            match = _STRING.match(self.text, at)
            if match is None:
                raise self.error(at, f"{self.text[at : at + 1] or 'the end'} where a key in double quotes or }} is due")
            key = str(self.decoded(match.group(), at))
            place = self.blank(match.end())
            if not self.text.startswith(":", place):
                raise self.error(place, f"no colon after the key {key!r}")
            place = self.blank(place + 1)
        node = self.value(place, depth + 1)
        after = self.blank(node.end)
        if self.text.startswith(",", after):
            return Member(key, at, node, after), self.blank(after + 1)
        if not self.text.startswith(closing, after):
            raise self.error(after, f"neither a comma nor {closing} after a value")
        return Member(key, at, node), after
