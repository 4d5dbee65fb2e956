"""Routes to byte ranges, by tree-sitter-toml: the values come from tomllib, only the places come from here.

Works on broken text too (whatever tree-sitter could make sense of); the walk is iterative, so depth costs no stack.
"""

from __future__ import annotations

import tomllib
from typing import NamedTuple

import tree_sitter
import tree_sitter_toml

from kap.document.route import Route

_LANGUAGE = tree_sitter.Language(tree_sitter_toml.language())
_DEEPEST = 128
"""Routes longer than this are left out: no value lies that deep (`syntax.MAX_DEPTH`), only hostile broken text does."""

_KEYS = frozenset({"bare_key", "quoted_key", "dotted_key"})
_PUNCTUATION = frozenset({"[", "]", "[[", "]]", "{", "}", ",", "=", ".", "comment", "\n", "ERROR"})


class Place(NamedTuple):
    """Byte ranges: of the value, of the key (equal and empty for an array's items), and of the whole entry."""

    start: int
    end: int
    key_start: int
    key_end: int
    entry_start: int
    entry_end: int
    kind: str
    """tree-sitter's node type of the value; ``section`` for a ``[table]``, ``implied`` for a table a longer name implies."""


class _Part(NamedTuple):
    name: str
    start: int
    end: int


def index(data: bytes) -> dict[Route, Place]:
    """Every route of a TOML text with its place. Never raises; on broken text some routes are missing."""
    root = tree_sitter.Parser(_LANGUAGE).parse(data).root_node
    return _Index(data).build(root)


class _Index:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._places: dict[Route, Place] = {}
        self._items: dict[Route, int] = {}  # arrays of tables: how many items so far

    def build(self, root: tree_sitter.Node) -> dict[Route, Place]:
        self._places[()] = Place(0, len(self._data), 0, 0, 0, len(self._data), "section")
        for node in _children(root):
            if node.type in ("table", "table_array_element"):
                self._section(node)
            elif node.type == "pair":
                self._values([((), node)])
        return self._places

    def _section(self, node: tree_sitter.Node) -> None:
        parts: list[_Part] = []
        pairs: list[tuple[Route, tree_sitter.Node]] = []
        route: Route = ()
        for child in _children(node):
            if child.type in _KEYS and not parts:
                parts = self._parts(child)
                route = self._enter(parts, node)
            elif child.type == "pair":
                pairs.append((route, child))
        self._values(pairs)

    def _enter(self, parts: list[_Part], node: tree_sitter.Node) -> Route:
        """The route a table heading opens, with the tables on the way marked as implied."""
        route: Route = ()
        start, end = node.start_byte, node.end_byte
        for part in parts[:-1]:
            route = (*route, part.name)
            self._places.setdefault(route, Place(start, end, part.start, part.end, start, end, "implied"))
            if route in self._items:
                route = (*route, self._items[route] - 1)
        if not parts:
            return route
        last = parts[-1]
        route = (*route, last.name)
        place = Place(start, end, last.start, last.end, start, end, "section")
        if node.type == "table":
            if route not in self._places or self._places[route].kind == "implied":
                self._places[route] = place
            return route
        count = self._items.get(route, 0)
        self._items[route] = count + 1
        self._places.setdefault(route, place._replace(kind="sections"))
        self._places[(*route, count)] = place
        return (*route, count)

    def _values(self, pairs: list[tuple[Route, tree_sitter.Node]]) -> None:
        """Place pairs and everything inside their values; an explicit stack in place of recursion."""
        stack = list(reversed(pairs))
        while stack:
            route, node = stack.pop()
            if len(route) > _DEEPEST:
                continue
            if node.type == "pair":
                value = self._pair(route, node)
                if value is not None:
                    stack.append(value)
            elif node.type == "array":
                for count, item in enumerate(_items(node)):
                    start, end = item.start_byte, item.end_byte
                    self._places.setdefault((*route, count), Place(start, end, start, start, start, end, item.type))
                    stack.append(((*route, count), item))
            elif node.type == "inline_table":
                stack.extend((route, child) for child in _children(node) if child.type == "pair")

    def _pair(self, route: Route, node: tree_sitter.Node) -> tuple[Route, tree_sitter.Node] | None:
        children = [child for child in _children(node) if child.type not in ("=", "comment", "ERROR")]
        if not children or children[0].type not in _KEYS:
            return None
        parts = self._parts(children[0])
        value = children[1] if len(children) > 1 else None
        start, end = (value.start_byte, value.end_byte) if value else (node.end_byte, node.end_byte)
        for part in parts[:-1]:
            route = (*route, part.name)
            implied = Place(
                node.start_byte, node.end_byte, part.start, part.end, node.start_byte, node.end_byte, "implied"
            )
            self._places.setdefault(route, implied)
        if not parts:
            return None
        last = parts[-1]
        route = (*route, last.name)
        kind = value.type if value else ""
        self._places.setdefault(route, Place(start, end, last.start, last.end, node.start_byte, node.end_byte, kind))
        return (route, value) if value else None

    def _parts(self, key: tree_sitter.Node) -> list[_Part]:
        """The parts of a key. ``a.b.c`` nests to the left: dotted_key(dotted_key(a b) c)."""
        parts: list[_Part] = []
        node: tree_sitter.Node | None = key
        while node is not None:
            inner = None
            for child in reversed(_children(node)) if node.type == "dotted_key" else [node]:
                if child.type == "dotted_key":
                    inner = child
                elif child.type in _KEYS:
                    parts.append(_Part(self._name(child), child.start_byte, child.end_byte))
            node = inner
        parts.reverse()
        return parts if len(parts) <= _DEEPEST else []

    def _name(self, node: tree_sitter.Node) -> str:
        text = self._data[node.start_byte : node.end_byte].decode("utf-8", "replace")
        if node.type == "bare_key":
            return text
        try:
            return next(iter(tomllib.loads(f"{text} = 1")))
        except (tomllib.TOMLDecodeError, ValueError):
            return text.strip("\"'")


def _children(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    """Direct children, with those of an ERROR node lifted up one level."""
    children: list[tree_sitter.Node] = []
    for child in node.children:
        children.extend(child.children if child.type == "ERROR" else [child])
    return children


def _items(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    return [child for child in node.children if child.type not in _PUNCTUATION]
