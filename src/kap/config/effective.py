"""What the layers amount to: `Config`, with every rule's provenance, so that each can be shown where it is written."""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec

from kap.config import presets
from kap.config.model import Cli, Compose, Mcp, Network, Proxy, Run, Setup
from kap.config.problem import Problem
from kap.document.route import Route
from kap.document.toml import Document

LayerName = Literal["builtin", "global", "project", "run"]
Effect = Literal["allow", "deny", "private", "ech"]


class Layer(msgspec.Struct, frozen=True):
    """One source of rules. `path` is a file, or words ("command line"); `document` is None where there is no text of a person."""

    name: LayerName
    path: str
    document: Document | None = None


class Rule(msgspec.Struct, frozen=True):
    """A rule's `text` as written (a preset's: as kept in its data), and where: layer and route. `via`: the preset, else ""."""

    effect: Effect
    text: str
    layer: LayerName
    route: Route
    via: str = ""


class Config(msgspec.Struct, frozen=True):
    """Everything kap was told, put together. `digest`: SHA-256 (hex) of the meaning, not of the text.

    `layers` stand in the order builtin, global, project, run; `rules` keep that order.
    """

    layers: tuple[Layer, ...]
    rules: tuple[Rule, ...]
    proxy: Proxy = Proxy()
    run: Run = Run()
    presets: tuple[str, ...] = ()
    digest: str = ""
    ssh_agent: bool = False
    ssh_signing: bool = False
    trust: Literal["approve", "workspace"] = "approve"
    mcp: Mcp | None = None
    cli: Cli | None = None
    compose: Compose = Compose()
    setup: Setup = Setup()
    env: dict[str, str] = msgspec.field(default_factory=dict)

    def wrote(self, layer: str, *path: str) -> bool:
        """Whether the file of `layer` has something at the keys `path`."""
        found: object = next((one.document.value for one in self.layers if one.name == layer and one.document), None)
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return bool(found)

    def locate(self, layer: str, route: Route) -> tuple[str, int]:
        """Path and 1-based line of what stands at `route` in `layer`; line 0 where it is not known."""
        found = next((one for one in self.layers if one.name == layer), None)
        if found is None:
            return "", 0
        document = presets.document() if layer == "builtin" else found.document
        span = document.nearest(route) if document else None
        return found.path, span.line + 1 if span else 0


class Loaded(msgspec.Struct, frozen=True):
    """`config` is None when any layer has an error: nothing starts on half a policy."""

    config: Config | None
    problems: tuple[Problem, ...] = ()


def digest(config: Config) -> str:
    """SHA-256 of everything that has a meaning: the same for two files that differ in comments, order of tables or layout."""
    meaning = {name: getattr(config, name) for name in config.__struct_fields__ if name not in ("layers", "digest")}
    meaning["proxy"] = msgspec.structs.replace(config.proxy, network=Network())  # its rules are in `rules`, in no order
    rules = sorted({(rule.effect, rule.layer, rule.text, rule.via) for rule in config.rules})
    encoded = msgspec.json.encode({**meaning, "rules": rules}, order="sorted")
    return hashlib.sha256(encoded).hexdigest()
