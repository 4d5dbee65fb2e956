"""Change JSON with comments where it has to change, and nowhere else. Pure.

Rules: an edit splices text at places found by `jsonc_tree`; it follows the layout around it (indentation, line ends, one line or many,
trailing commas); its result is parsed again and has to be exactly the value that was meant, else nothing is changed.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from typing import Any

from kap.devcontainer.jsonc_tree import BadJson, Member, Node, parse
from kap.errors import KapError

Route = tuple[str | int, ...]

_WIDTH = 110
_REST = re.compile(r"(?:[ \t]|/\*(?:[^*\r\n]|\*(?!/))*\*/)*(?://[^\r\n]*)?(?=\r|\n|$)")
_BLANK_REST = re.compile(r"[ \t]*(?:\r\n|\r|\n|$)")


def put(text: str, route: Route, value: Any, *, after: Sequence[str] = (), raw: str | None = None) -> str:
    """`text` with `value` at `route`: replaced where there is one, else added behind the first of `after` that is there, else last.

    `raw`: how `value` is written, where that is already known. Raises `KapError` where that cannot be done.
    """
    root = parse(text)
    owner, key = _owner(root, route), str(route[-1])
    if owner.kind != "object":
        raise KapError(f"there is no object to put {key!r} in", "correct the file by hand")
    wanted = _changed(root.value, route, value)
    old = owner.member(key)
    if old is not None:
        new = raw if raw is not None else _written(text, value, old.start, 0)
        return _checked(text[: old.node.start] + new + text[old.node.end :], wanted, route)
    at = next((i for i, m in enumerate(owner.members) if m.key in after), len(owner.members) - 1)
    for name in after:  # the order of `after` decides, not that of the file
        found = [i for i, m in enumerate(owner.members) if m.key == name]
        if found:
            at = found[-1]
            break
    place = owner.members[at].start if owner.members else owner.start
    head = json.dumps(key, ensure_ascii=False) + ": "
    body = raw if raw is not None else _written(text, value, place, len(head))
    return _checked(_insert(text, owner, at, head + body), wanted, route)


def add(text: str, route: Route, values: Sequence[Any], *, at: int | None = None) -> str:
    """`text` with `values` before element `at` of the array at `route`, or behind the last."""
    root = parse(text)
    owner = _find(root, route)
    if owner is None or owner.kind != "array":
        raise KapError(f"{_shown(route)} is no list", "correct the file by hand")
    at = len(owner.members) if at is None else min(at, len(owner.members))
    wanted = _changed(root.value, route, [*owner.value[:at], *values, *owner.value[at:]])
    for index, value in enumerate(values, at):
        owner = _find(parse(text), route)
        assert owner is not None
        written = json.dumps(value, ensure_ascii=False)
        if index == 0 and owner.members:
            lead = owner.members[0].start
            between = _newline(text) + _indent(text, lead) if _own_line(text, lead) else " "
            text = text[:lead] + written + "," + between + text[lead:]
        else:
            text = _insert(text, owner, index - 1, written)
    return _checked(text, wanted, route)


def remove(text: str, route: Route) -> str:
    """`text` without the member or element at `route`, with its comma, and with its lines where nothing else is on them."""
    root = parse(text)
    owner = _owner(root, route)
    index = next((i for i, m in reversed(list(enumerate(owner.members))) if m.key == route[-1] or i == route[-1]), None)
    if index is None:
        return text
    wanted = copy.deepcopy(root.value)
    target = wanted
    for step in route[:-1]:
        target = target[step]
    del target[route[-1]]
    return _checked(_cut(text, owner, index), wanted, route)


def get(value: Any, route: Route) -> Any:
    """What stands at `route` in a plain value; None where nothing does."""
    for step in route:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
            value = value[step]
        else:
            return None
    return value


def raw(text: str, route: Route) -> str:
    """The characters of the value at `route`, comments in it included; "" where there is none."""
    node = _find(parse(text), route)
    return text[node.start : node.end] if node is not None else ""


def _insert(text: str, owner: Node, at: int, written: str) -> str:
    """`written` as a member behind member `at`, or as the only one."""
    if not owner.members:
        return _insert_only(text, owner, written)
    before = owner.members[at]
    if not _own_line(text, before.start):
        if before.comma >= 0:
            return text[: before.comma + 1] + " " + written + "," + text[before.comma + 1 :]
        return text[: before.node.end] + ", " + written + text[before.node.end :]
    line = _newline(text) + _indent(text, before.start) + written
    if before.comma >= 0:
        place = _line_end(text, before.comma + 1)
        return text[:place] + line + "," + text[place:]
    place = _line_end(text, before.node.end)
    return text[: before.node.end] + "," + text[before.node.end : place] + line + text[place:]


def _insert_only(text: str, owner: Node, written: str) -> str:
    inside = text[owner.start + 1 : owner.end - 1]
    if re.search(r"[\r\n]", inside):
        indent = _indent(text, owner.end - 1) if _own_line(text, owner.end - 1) else ""
        written = _newline(text) + indent + _unit(text) + written
    return text[: owner.start + 1] + written + text[owner.start + 1 :]


def _cut(text: str, owner: Node, index: int) -> str:
    member = owner.members[index]
    end = member.comma + 1 if member.comma >= 0 else member.node.end
    start = member.start
    whole = _BLANK_REST.match(text, end)
    if _own_line(text, start) and whole is not None:
        start -= len(_indent(text, start))
        end = whole.end()
    elif member.comma >= 0 and index > 0:
        start = len(text[:start].rstrip(" \t"))
    elif member.comma >= 0:
        end += len(text[end:]) - len(text[end:].lstrip(" \t"))
    previous = owner.members[index - 1] if index > 0 else None
    if member.comma < 0 and previous is not None:
        if start == member.start:
            start = previous.comma + 1 + len(text[previous.comma + 1 : start].rstrip(" \t"))
        return text[: previous.comma] + text[previous.comma + 1 : start] + text[end:]
    return text[:start] + text[end:]


def _checked(text: str, wanted: Any, route: Route) -> str:
    try:
        if parse(text).value == wanted:
            return text
    except BadJson:
        pass
    raise KapError(f"{_shown(route)} cannot be changed without changing something else", "make the change by hand")


def _changed(value: Any, route: Route, new: Any) -> Any:
    value = copy.deepcopy(value)
    target = value
    for step in route[:-1]:
        target = target[step]
    target[route[-1]] = new
    return value


def _find(root: Node, route: Route) -> Node | None:
    node: Node | None = root
    for step in route:
        member: Member | None = node.member(step) if node is not None else None
        node = member.node if member is not None else None
    return node


def _owner(root: Node, route: Route) -> Node:
    owner = _find(root, route[:-1])
    if owner is None:
        raise KapError(f"{_shown(route[:-1])} is not there", "correct the file by hand")
    return owner


def _written(text: str, value: Any, place: int, used: int) -> str:
    """`value` in one line where it fits or the file is one, else spread under the indentation of `place`."""
    line = json.dumps(value, ensure_ascii=False)
    indent = _indent(text, place)
    if not _own_line(text, place) or len(indent.expandtabs(4)) + used + len(line) < _WIDTH:
        return line
    if not isinstance(value, list | dict):
        return line
    inner = _newline(text) + indent + _unit(text)
    if isinstance(value, list):
        parts = [json.dumps(v, ensure_ascii=False) for v in value]
        return "[" + inner + ("," + inner).join(parts) + _newline(text) + indent + "]"
    parts = [f"{json.dumps(k, ensure_ascii=False)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items()]
    return "{" + inner + ("," + inner).join(parts) + _newline(text) + indent + "}"


def _newline(text: str) -> str:
    match = re.search(r"\r\n|\n|\r", text)
    return match.group() if match else "\n"


def _indent(text: str, at: int) -> str:
    """The blanks before `at`, where nothing else is before it on its line; else those the line begins with."""
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    match = re.compile(r"[ \t]*").match(text, start)
    return match.group() if match else ""


def _own_line(text: str, at: int) -> bool:
    """Whether only blanks stand before `at` on its line, and there is a line before."""
    lead = text[:at].rstrip(" \t")
    return lead.endswith(("\n", "\r"))


def _line_end(text: str, at: int) -> int:
    """The end of the line of `at`, where only blanks and comments are left on it; else `at`."""
    match = _REST.match(text, at)
    return match.end() if match is not None else at


def _unit(text: str) -> str:
    """One step of indentation, as the file has it."""
    match = re.search(r"(?:\r|\n)([ \t]+)\S", text)
    return match.group(1) if match else "  "


def _shown(route: Route) -> str:
    return ".".join(map(str, route)) or "the file"
