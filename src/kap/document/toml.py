"""A TOML text with its meaning and its places: values by tomllib (authoritative), places by tree-sitter, asked for by route.

`parse` never raises, whatever the text. Places are computed when the first is asked for: loading a good file pays nothing for them.
"""

from __future__ import annotations

from typing import Any

from kap.document.route import Route, Span
from kap.document.source import Source
from kap.document.syntax import SyntaxProblem, read

_MAX_BROKEN = 262_144  # characters; tree-sitter's error recovery is slow on long hostile text


class Document:
    """`value`: the tables as dicts (None when the text is not TOML); `syntax_errors`: why not. Unchangeable after `parse`."""

    __slots__ = ("_places", "source", "syntax_errors", "value")

    def __init__(self, source: Source, value: dict[str, Any] | None, errors: tuple[SyntaxProblem, ...]) -> None:
        self.source = source
        self.value = value
        self.syntax_errors = errors
        self._places: dict[Route, Any] | None = None

    @property
    def text(self) -> str:
        """The text as given."""
        return self.source.text

    def span(self, route: Route, key: bool = False) -> Span | None:
        """Where the value at `route` stands (with `key`: its key, for an array's item the item); None where there is none."""
        place = self.places().get(route)
        if place is None:
            return None
        start, end = (place.key_start, place.key_end) if key and place.key_end > place.key_start else place[:2]
        if not key and place.kind in ("section", "sections", "implied") and route:
            start, end = place.key_start, place.key_end  # a table is shown by its name, not by all its lines
        source = self.source
        return source.span(source.char_offset(start), source.char_offset(end))

    def nearest(self, route: Route, key: bool = False) -> Span | None:
        """`span` of the longest part of `route` that has a place: a missing key is shown at its table."""
        while route:
            span = self.span(route, key)
            if span is not None:
                return span
            route, key = route[:-1], False
        return None

    def places(self) -> dict[Route, Any]:
        """Every route with its `positions.Place` (byte offsets); made once."""
        if self._places is None:
            if self.value is None and len(self.text) > _MAX_BROKEN:
                self._places = {}
            else:
                from kap.document.positions import index

                self._places = index(self.source.data)
        return self._places

    def routes(self) -> tuple[Route, ...]:
        """The routes of all values of `value`, tables and arrays included, in reading order of the values."""
        found: list[Route] = []
        stack: list[tuple[Route, Any]] = [((), self.value)]
        while stack:
            route, value = stack.pop()
            if route:
                found.append(route)
            if isinstance(value, dict):
                stack.extend(((*route, name), child) for name, child in reversed(value.items()))
            elif isinstance(value, list):
                stack.extend(((*route, count), child) for count, child in reversed(list(enumerate(value))))
        return tuple(found)

    def at(self, route: Route) -> Any:
        """The value at `route`; None where there is none."""
        value: Any = self.value
        for step in route:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def parse(text: str) -> Document:
    """The document of a text (a byte order mark in front is skipped). Never raises.

    `Document.value` is None exactly when `Document.syntax_errors` has an entry.
    """
    source = Source(text)
    value, error = read(source)
    return Document(source, value, (error,) if error else ())
