"""Presets: named sets of hosts, kept as data in ``data/presets.toml``; what a name in ``presets = [...]`` expands to.

A plain name gives `hosts`, ``name:optional`` adds the conveniences, ``name:wide`` the multi-tenant hosts. Telemetry is never given.
"""

from __future__ import annotations

import importlib.resources
import tomllib
from functools import cache
from typing import Any

import msgspec

from kap.document.toml import Document, parse

PARTS = ("optional", "wide")
DATA = "data/presets.toml"
DATA_NAME = "kap's built-in presets.toml"


class Preset(msgspec.Struct, frozen=True):
    """One preset. `source`: the vendor page its hosts were checked against on `checked` (ISO date; "" means not checked yet)."""

    name: str
    about: str = ""
    hosts: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    wide: tuple[str, ...] = ()
    telemetry: tuple[str, ...] = ()
    note: str = ""
    source: str = ""
    checked: str = ""


class Never(msgspec.Struct, frozen=True):
    """What is denied unless a rule names it: hosts that carry DNS or cloud credentials, and ranges of addresses."""

    hosts: tuple[str, ...]
    cidr: tuple[str, ...]


def _text() -> str:
    return (importlib.resources.files("kap.config") / DATA).read_text("utf-8")


@cache
def _tables() -> dict[str, Any]:
    tables: dict[str, Any] = tomllib.loads(_text())["preset"]
    return tables


@cache
def catalogue() -> dict[str, Preset]:
    """Every preset by name, in the order of the file."""
    return {
        name: msgspec.convert({"name": name, **table, "checked": str(table.get("checked", ""))}, Preset)
        for name, table in _tables().items()
        if name != "never"
    }


@cache
def never() -> Never:
    """The built-in denials."""
    table = _tables()["never"]
    return Never(tuple(table["hosts"]), tuple(table["cidr"]))


@cache
def document() -> Document:
    """The data file with positions, for those who show where a built-in rule stands."""
    return parse(_text())


def split(entry: str) -> tuple[str, str]:
    """``"python:optional"`` as name and part; the part is "" for a plain name."""
    name, _, part = entry.partition(":")
    return name, part


def expand(entry: str) -> tuple[str, ...] | None:
    """The patterns an entry of ``presets`` stands for; None for an unknown name or part."""
    name, part = split(entry)
    preset = catalogue().get(name)
    if preset is None or (":" in entry and part not in PARTS):
        return None
    if part == "wide":
        return (*preset.hosts, *preset.wide)
    return (*preset.hosts, *preset.optional) if part == "optional" else preset.hosts
