"""Unknown keys: what was probably meant, by spelling and by the table a key belongs in."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import Any

from kap.config.problem import Edit, Fix, Problem
from kap.document.route import Route

# Words of other tools, and older words of this one, for which no spelling distance finds ours.
_MEANT = {
    "allowed": "allow",
    "allowlist": "allow",
    "whitelist": "allow",
    "allowed_domains": "allow",
    "domains": "allow",
    "hosts": "allow",
    "denied": "deny",
    "denylist": "deny",
    "blocklist": "deny",
    "blacklist": "deny",
    "block": "deny",
    "denied_domains": "deny",
    "preset": "presets",
}


def tables(schema: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    """The tables of the schema by heading (``proxy.network``, "" for the top) with the names of their keys."""
    found: dict[str, tuple[str, ...]] = {}
    stack: list[tuple[str, dict[str, Any]]] = [("", schema)]
    while stack:
        heading, node = stack.pop()
        properties = node.get("properties", {})
        if properties:
            found[heading] = tuple(properties)
        for key, child in properties.items():
            inner = child["items"] if child.get("type") == "array" and "items" in child else child
            if "$ref" in inner:
                inner = schema["$defs"][inner["$ref"].rpartition("/")[2]]
            stack.append((f"{heading}.{key}" if heading else key, inner))
    return found


def unknown_key(schema: dict[str, Any], route: Route, known: tuple[str, ...], present: Collection[str] = ()) -> Problem:
    """The Problem of a key that is not in the schema at `route` (its last step), with a rename where the meaning is clear.

    `known`: the keys the schema has there; `present`: those the file has there (a rename must not meet one).
    """
    key = str(route[-1])
    here = _heading(route[:-1])
    message = f"there is no key `{_short(key)}` {_place(route[:-1])}"
    meant = _closest(key, known)
    if meant:
        rename = Fix(f"rename it to {meant}", (Edit("rename", route, meant),))
        fixes = () if meant in present else (rename,)
        hint = f"did you mean `{meant}`?"
        return Problem("config.unknown-key", message, route=route, on_key=True, hint=hint, fixes=fixes)
    all_tables = tables(schema)
    are_tables = {heading.rpartition(".")[2] for heading in all_tables}
    others = {heading: names for heading, names in all_tables.items() if heading != here}
    homes = [heading for heading, names in others.items() if _MEANT.get(key, key) in names]
    homes.sort(key=lambda heading: (heading != "proxy.network", heading))
    if homes:
        name = _MEANT.get(key, key)
        named = " or ".join(_bracketed(schema, heading) for heading in homes)
        hint = f"`{name}` belongs {named}"
        if name in are_tables and len(homes) == 1:
            hint = f"write {_bracketed(schema, f'{homes[0]}.{name}' if homes[0] else name).removeprefix('in ')}"
        return Problem("config.unknown-key", message, route=route, on_key=True, hint=hint)
    hint = "the keys here are: " + ", ".join(known)
    return Problem("config.unknown-key", message, route=route, on_key=True, hint=hint)


def _closest(key: str, known: tuple[str, ...]) -> str:
    folded = key.lower().replace("-", "_")
    if folded in known:
        return folded
    if _MEANT.get(folded) in known:
        return _MEANT[folded]
    close = difflib.get_close_matches(folded[:100], known, n=1, cutoff=0.6)
    return close[0] if close else ""


def _heading(route: Route) -> str:
    return ".".join(str(step) for step in route if isinstance(step, str))


def _place(route: Route) -> str:
    heading = _heading(route)
    if not heading:
        return "at the top"
    return f"in [[{heading}]]" if isinstance(route[-1], int) else f"in [{heading}]"


def _bracketed(schema: dict[str, Any], heading: str) -> str:
    if not heading:
        return "at the top, before the first [table]"
    node = schema
    for step in heading.split("."):
        node = node["properties"][step]
        if node.get("type") == "array":
            return f"in [[{heading}]]"
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
    return f"in [{heading}]"


def _short(key: str) -> str:
    return key if len(key) <= 60 else key[:57] + "..."
