"""Where a new item or a new key goes in a TOML text: every sensible way, most natural first. `edits` takes the first that is right."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kap.document.positions import Place
from kap.document.quoting import key_text
from kap.document.route import Route
from kap.document.toml import Document

_SPACE = re.compile(r"[ \t]*")


def appended(document: Document, place: Place, value: str) -> Iterator[str]:
    """`value` added to the array at `place`, in the layout the array has: on one line, or one item a line with its comma habit."""
    text, source = document.text, document.source
    start, end = source.char_offset(place.start), source.char_offset(place.end)
    if place.kind != "array":
        return
    items = _items(document, place)
    closing = end - 1
    if not items:
        inner = text[start + 1 : closing]
        if "#" not in inner:
            yield text[: start + 1] + value + text[closing:]
        line = text.rfind("\n", 0, closing) + 1
        yield text[:line] + _indent(text, start) + "  " + value + "," + newline(text) + text[line:]
        return
    item_start, item_end = items[-1]
    comma = comma_after(text, item_end, closing)
    behind, trailing = comma or item_end, "," if comma else ""
    line_start = text.rfind("\n", 0, item_start) + 1
    if (
        line_start > start and not text[line_start:item_start].strip()
    ):  # the last item begins its line: so will the new one
        lead = newline(text) + text[line_start:item_start] + value + trailing
        stop = text.find("\n", behind, closing)
        line_end = behind if stop < 0 else stop - (text[stop - 1] == "\r")
        yield text[:item_end] + ("" if comma else ",") + text[item_end:line_end] + lead + text[line_end:]
    yield text[:behind] + ("" if comma else ",") + " " + value + trailing + text[behind:]
    yield text[:item_end] + ", " + value + text[item_end:]


def created(document: Document, route: Route, value: str) -> Iterator[str]:
    """A new array ``[value]`` at `route`: in the table that is there, else under a new heading at the end."""
    text, source, places = document.text, document.source, document.places()
    table, name = route[:-1], key_text(str(route[-1]))
    pair = f"{name} = [{value}]"
    if table == ():
        yield _at_top(document, pair)
        return
    place = places.get(table)
    if place is not None and place.kind == "section":
        offset = _section_end(document, table, place)
        yield text[:offset] + _own_line(text, offset, _entry_indent(document, table) + pair)
    if place is not None and place.kind == "inline_table":
        end = source.char_offset(place.end) - 1
        inner = text[source.char_offset(place.start) + 1 : end]
        yield (
            text[: end - (len(inner) - len(inner.rstrip()))]
            + (", " if inner.strip() else " ")
            + pair
            + " "
            + text[end:]
        )
    yield from _dotted(document, route, value)
    if all(isinstance(step, str) for step in table):
        heading = ".".join(key_text(str(step)) for step in table)
        nl = newline(text)
        yield text + _separator(text, nl) + f"[{heading}]{nl}{pair}{nl}"


def newline(text: str) -> str:
    """The line end the text uses (that of its first line); LF where it has none."""
    first = text.find("\n")
    return "\r\n" if first > 0 and text[first - 1] == "\r" else "\n"


def _separator(text: str, nl: str) -> str:
    if not text.strip("\ufeff"):
        return ""
    return nl if text.endswith("\n") else nl + nl


def _items(document: Document, place: Place) -> list[tuple[int, int]]:
    """Where each item of the array at `place` starts and ends (characters), in order."""
    offset = document.source.char_offset
    route = next(route for route, one in document.places().items() if one is place)
    found: list[tuple[int, int]] = []
    while (item := document.places().get((*route, len(found)))) is not None:
        found.append((offset(item.start), offset(item.end)))
    return found


def comma_after(text: str, offset: int, stop: int) -> int | None:
    """Where the comma after an item ends, comments and line ends skipped; None where there is none before `stop`."""
    match = re.compile(r"(?:\s|#[^\n]*)*,").match(text, offset, stop)
    return match.end() if match else None


def _indent(text: str, offset: int) -> str:
    match = _SPACE.match(text, text.rfind("\n", 0, offset) + 1)
    return match[0] if match else ""


def _entry_indent(document: Document, table: Route) -> str:
    for route, place in document.places().items():
        if (
            len(route) == len(table) + 1
            and route[:-1] == table
            and place.kind not in ("section", "sections", "implied")
        ):
            return _indent(document.text, document.source.char_offset(place.entry_start))
    return ""


def _section_end(document: Document, table: Route, place: Place) -> int:
    """Behind the last line of a table's own keys; behind its heading where it has none."""
    text, source = document.text, document.source
    start, end = source.char_offset(place.entry_start), source.char_offset(place.entry_end)
    last = source.char_offset(place.key_end)
    for route, one in document.places().items():
        if (
            len(route) > len(table)
            and route[: len(table)] == table
            and place.entry_start < one.entry_start < place.entry_end
        ):
            last = max(last, source.char_offset(one.entry_end))
    stop = text.find("\n", last)
    return len(text) if stop < 0 else max(stop + 1, start) if stop < end or stop + 1 >= end else end


def _own_line(text: str, offset: int, line: str) -> str:
    nl = newline(text)
    before = "" if offset == 0 or text[offset - 1] == "\n" else nl
    return before + line + nl + text[offset:]


def _at_top(document: Document, pair: str) -> str:
    """A key of no table: behind the last such key, else before the first heading and the comment above it, else at the end."""
    text, source, nl = document.text, document.source, newline(document.text)
    top = [
        place
        for route, place in document.places().items()
        if route and place.kind not in ("section", "sections", "implied")
    ]
    headings = [
        place.entry_start
        for place in document.places().values()
        if place.kind in ("section", "sections") and place.key_end
    ]
    first = min(headings, default=len(source.data))
    keys = [place.entry_end for place in top if place.entry_start < first]
    if keys:
        stop = text.find("\n", source.char_offset(max(keys)))
        offset = len(text) if stop < 0 else stop + 1
        return text[:offset] + _own_line(text, offset, pair)
    if not headings:
        return text + ("" if not text or text.endswith("\n") else nl) + pair + nl
    offset = source.char_offset(first)
    above = re.compile(r"(?:^[ \t]*#[^\n]*\n)+\Z", re.MULTILINE).search(text, 0, offset)
    if above and above.start() > 0:
        offset = above.start()
    return text[:offset] + pair + nl + nl + text[offset:]


def _dotted(document: Document, route: Route, value: str) -> Iterator[str]:
    """Beside a sibling that is written as a dotted key (``proxy.network.deny = []``), in the same way."""
    text, source = document.text, document.source
    for depth in range(len(route) - 1, 0, -1):
        for other, place in document.places().items():
            if (
                other[:depth] != route[:depth]
                or len(other) <= depth
                or place.kind in ("section", "sections", "implied")
            ):
                continue
            entry = text[source.char_offset(place.entry_start) : source.char_offset(place.key_end)]
            written = entry.count(".") + 1
            base = len(other) - written
            if written < 2 or base < 0 or base > depth:
                continue
            dotted = ".".join(key_text(str(step)) for step in route[base:])
            stop = text.find("\n", source.char_offset(place.entry_end))
            offset = len(text) if stop < 0 else stop + 1
            line = _indent(text, source.char_offset(place.entry_start)) + f"{dotted} = [{value}]"
            yield text[:offset] + _own_line(text, offset, line)
            end = source.char_offset(place.entry_end)
            yield text[:end] + f", {dotted} = [{value}]" + text[end:]
