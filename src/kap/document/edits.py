"""Carry out edits on TOML text: minimal and lossless, so comments, order, line ends and layout stay as they are.

Each edit is tried in the ways TOML allows, most natural first, and the first result whose *parsed value* is exactly the intended one
is taken; where none is, nothing is changed and `KapError` says so. What an edit means is thus never in doubt, only where it is written.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kap.document.edit import Edit as Edit
from kap.document.insert import appended, comma_after, created
from kap.document.positions import Place
from kap.document.quoting import key_text, value_text
from kap.document.route import Route
from kap.document.toml import Document, parse
from kap.errors import KapError

_BARE_LINE = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\r?\n|$)")


def apply(text: str, edits: Sequence[Edit]) -> str:
    """`text` with `edits` carried out one after the other; raises `KapError` (and changes nothing) where one cannot be.

    Routes are those of the text as it is when the edit's turn comes: a removal moves the later items of its array up.
    """
    for edit in edits:
        text = _apply_one(text, edit)
    return text


def _apply_one(text: str, edit: Edit) -> str:
    document = parse(text)
    if document.value is None:
        raise KapError("the file is not valid TOML, so it cannot be edited", document.syntax_errors[0].message)
    wanted = _intended(document.value, edit)
    if wanted is None:
        raise KapError(
            f"cannot {edit.op} at {_shown(edit.route)}: the file has no place for it", "make the change by hand"
        )
    for candidate in _candidates(document, edit):
        value = parse(candidate).value
        if value is not None and same(value, wanted):
            return candidate
    raise KapError(
        f"cannot {edit.op} at {_shown(edit.route)} without changing the file's layout", "make the change by hand"
    )


def same(left: Any, right: Any) -> bool:
    """Equal in value, type and order of keys; ``nan`` equals ``nan``, ``1`` does not equal ``true`` or ``1.0``."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right or (left != left and right != right))


def _intended(value: dict[str, Any], edit: Edit) -> dict[str, Any] | None:
    """The tables after the edit; None where the edit makes no sense on them."""
    root = copy.deepcopy(value)
    if not edit.route:
        return None
    node: Any = root
    for step in edit.route[:-1]:
        if isinstance(node, dict) and isinstance(step, str):
            if edit.op == "append":
                node = node.setdefault(step, {})
            elif step in node:
                node = node[step]
            else:
                return None
        elif isinstance(node, list) and isinstance(step, int) and 0 <= step < len(node):
            node = node[step]
        else:
            return None
    return root if _change(node, edit.route[-1], edit) else None


def _change(node: Any, last: str | int, edit: Edit) -> bool:
    if isinstance(node, list):
        if not isinstance(last, int) or not 0 <= last < len(node) or edit.op == "rename":
            return False
    elif not isinstance(node, dict) or not isinstance(last, str):
        return False
    if edit.op == "append":
        if isinstance(node, dict):
            node.setdefault(last, [])
        if not isinstance(node[last], list):
            return False
        node[last].append(edit.value)
        return True
    if isinstance(node, dict) and last not in node:
        return False
    if edit.op == "replace":
        node[last] = edit.value
    elif edit.op == "remove":
        del node[last]
    else:
        if edit.value in node or not isinstance(edit.value, str):
            return False
        node[edit.value] = node.pop(last)
    return True


def _candidates(document: Document, edit: Edit) -> Iterator[str]:
    place: Place | None = document.places().get(edit.route)
    if edit.op == "append":
        if place is not None:
            yield from appended(document, place, value_text(edit.value))
        else:
            yield from created(document, edit.route, value_text(edit.value))
    elif place is None:
        return
    elif edit.op == "replace":
        yield splice(document, place.start, place.end, value_text(edit.value))
    elif edit.op == "rename":
        yield splice(document, place.key_start, place.key_end, key_text(str(edit.value)))
    elif isinstance(edit.route[-1], int) and place.kind != "section":
        yield from _without_item(document, edit.route, place)
    else:
        yield from _without_entry(document, place)


def splice(document: Document, start: int, end: int, new: str) -> str:
    """The text with the bytes `start` to `end` replaced by `new`."""
    text, source = document.text, document.source
    return text[: source.char_offset(start)] + new + text[source.char_offset(end) :]


def _without_item(document: Document, route: Route, place: Place) -> Iterator[str]:
    """Take an item out of an array with its comma, and its whole line where it has one to itself."""
    text, source = document.text, document.source
    start, end = source.char_offset(place.start), source.char_offset(place.end)
    array = document.places()[route[:-1]]
    opening, closing = source.char_offset(array.start) + 1, source.char_offset(array.end) - 1
    comma = re.compile(r"[ \t]*,").match(text, end, closing)
    after = comma.end() if comma else end
    line_start = text.rfind("\n", 0, start) + 1
    rest = _BARE_LINE.match(text, after)
    if line_start > opening and not text[line_start:start].strip() and rest and rest.end() <= closing:
        yield text[:line_start] + text[rest.end() :]
    if comma:
        spaces = re.compile(r"[ \t]*").match(text, after, closing)
        yield text[:start] + text[spaces.end() if spaces else after :]
    before = re.compile(r",[ \t]*\Z").search(text, opening, start)
    if before:
        yield text[: before.start()] + text[end:]
    yield text[:start] + text[after:]
    far = comma_after(text, end, closing)
    if far:  # the comma stands on a later line, behind comments that stay
        yield text[:start] + text[end : far - 1] + text[far:]


def _without_entry(document: Document, place: Place) -> Iterator[str]:
    """Take out a key with its value (and its line, with the comment on it), or a whole ``[table]`` with its keys."""
    text, source = document.text, document.source
    start, end = source.char_offset(place.entry_start), source.char_offset(place.entry_end)
    line_start = text.rfind("\n", 0, start) + 1
    rest = _BARE_LINE.match(text, end)
    if not text[line_start:start].strip() and rest:
        yield text[:line_start] + text[rest.end() :]
        if place.kind == "section":
            yield text[:line_start] + text[end:]
    comma = re.compile(r"[ \t]*,[ \t]*").match(text, end)
    if comma:
        yield text[:start] + text[comma.end() :]
    before = re.compile(r",[ \t]*\Z").search(text, 0, start)
    if before:
        yield text[: before.start()] + text[end:]
    yield text[:start] + text[end:]


def _shown(route: Route) -> str:
    return ".".join(f"[{step}]" if isinstance(step, int) else key_text(step) for step in route) or "the file"
