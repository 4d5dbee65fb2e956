"""Put layers together: builtin < global < project < run.

Rules add up and keep their provenance; a deny of any layer wins when they are judged, so order decides nothing. Scalars: the project's
value stands where it set one, except where the machine's owner has the say – where traffic and logs go (`[proxy]`, `[proxy.upstream]`,
`[proxy.observe]`) what the global file sets stays, and a limit can be lowered but not raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from kap.config import presets
from kap.config.effective import Config, Effect, Layer, LayerName, Rule, digest
from kap.config.model import Cli, CliTool, File, Limits, Mcp, McpServer, Network, Proxy, Run
from kap.config.problem import Problem

EFFECTS: tuple[Effect, ...] = ("allow", "deny", "private", "ech")


class Part(msgspec.Struct, frozen=True):
    """One layer's file: its meaning, and the raw tables, which say what was written and what is a default."""

    layer: Layer
    file: File
    raw: dict[str, Any]


def builtin_rules() -> Iterator[Rule]:
    """What is denied unless a rule names it (``[preset.never]`` of the data)."""
    never = presets.never()
    for kind, texts in (("hosts", never.hosts), ("cidr", never.cidr)):
        for count, text in enumerate(texts):
            yield Rule("deny", text, "builtin", ("preset", "never", kind, count), "never")


def file_rules(file: File, layer: LayerName) -> Iterator[Rule]:
    """The rules of one file: those written out, then those its presets stand for."""
    for effect in EFFECTS:
        for count, text in enumerate(getattr(file.proxy.network, effect)):
            yield Rule(effect, text, layer, ("proxy", "network", effect, count))
    for count, entry in enumerate(file.presets):
        for text in presets.expand(entry) or ():
            yield Rule("allow", text, layer, ("presets", count), entry)


def run_rules(grants: Sequence[tuple[str, str]]) -> Iterator[Rule]:
    """Grants of one run, from the command line: (effect, text)."""
    for count, (effect, text) in enumerate(grants):
        for known in EFFECTS:
            if effect == known:
                yield Rule(known, text, "run", (effect, count))


def merge(parts: Sequence[Part], grants: Sequence[tuple[str, str]]) -> tuple[Config, tuple[Problem, ...]]:
    """The `Config` of the layers' files (global first, then project) and what the merge itself had to refuse or hold back."""
    problems: list[Problem] = []
    upper = next((part for part in parts if part.layer.name == "global"), None)
    lower = next((part for part in parts if part.layer.name == "project"), None)
    rules = [*builtin_rules()]
    for part in parts:
        rules.extend(file_rules(part.file, part.layer.name))
    rules.extend(run_rules(grants))
    layers = [Layer("builtin", presets.DATA_NAME), *(part.layer for part in parts)]
    if grants:
        layers.append(Layer("run", "command line"))
    files = [part.file for part in parts]
    own = lower.file if lower else File()
    config = Config(
        layers=tuple(layers),
        rules=tuple(rules),
        proxy=_proxy(upper, lower, rules, problems),
        run=Run(
            env=_union(file.run.env for file in files),
            read_only=_union(file.run.read_only for file in files),
            hide=_union(file.run.hide for file in files),
        ),
        presets=_union(file.presets for file in files),
        ssh_agent=_chosen("ssh_agent", upper, lower),
        ssh_signing=_chosen("ssh_signing", upper, lower),
        trust=upper.file.trust if upper else "approve",
        mcp=_mcp(parts),
        cli=_cli(parts),
        compose=own.compose if lower and "compose" in lower.raw else (upper.file.compose if upper else own.compose),
        setup=own.setup if lower and "setup" in lower.raw else (upper.file.setup if upper else own.setup),
        env={name: value for file in files for name, value in file.env.items()},
    )
    return msgspec.structs.replace(config, digest=digest(config)), tuple(problems)


def _union(lists: Iterator[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for many in lists for one in many))


def _chosen(name: str, upper: Part | None, lower: Part | None) -> Any:
    """The project's value where it wrote one, else the global file's, else the default."""
    for part in (lower, upper):
        if part is not None and name in part.raw:
            return getattr(part.file, name)
    return getattr(File(), name)


def _written(part: Part | None, *path: str) -> dict[str, Any]:
    """The raw table at `path`, {} where there is none."""
    table: Any = part.raw if part else {}
    for name in path:
        table = table.get(name, {})
    return table if isinstance(table, dict) else {}


def _proxy(upper: Part | None, lower: Part | None, rules: Sequence[Rule], problems: list[Problem]) -> Proxy:
    base = upper.file.proxy if upper else Proxy()
    texts = {
        effect: tuple(rule.text for rule in rules if rule.effect == effect and rule.layer != "builtin")
        for effect in EFFECTS
    }
    network = Network(**texts)
    if lower is None:
        return msgspec.structs.replace(base, network=network)
    own = lower.file.proxy
    tables = {name: ("proxy", name) for name in ("upstream", "observe")}
    merged = {
        name: _owned(getattr(base, name), getattr(own, name), path, upper, lower, problems)
        for name, path in tables.items()
    }
    scalars = _owned(base, own, ("proxy",), upper, lower, problems)
    limits = _limits(upper, lower, problems)
    return msgspec.structs.replace(scalars, network=network, limits=limits, **merged)


_Table = TypeVar("_Table", bound=msgspec.Struct)


def _owned(
    base: _Table, own: _Table, path: tuple[str, ...], upper: Part | None, lower: Part, problems: list[Problem]
) -> _Table:
    """`base` with what the project wrote and the global file did not."""
    fixed, wanted = _written(upper, *path), _written(lower, *path)
    if path == ("proxy", "upstream") and fixed:
        # One owner for the whole table: credentials of one proxy never meet the address of another.
        fixed = dict.fromkeys(own.__struct_fields__)
    changes = {}
    for name in wanted:
        if isinstance(wanted[name], dict) or getattr(own, name) == getattr(base, name):
            continue
        if name in fixed:
            message = f"`{name}` is set in the global file, which has the say over it; this value is not used"
            problems.append(_held("config.global-wins", message, (*path, name), lower))
        else:
            changes[name] = getattr(own, name)
    return msgspec.structs.replace(base, **changes)


def _limits(upper: Part | None, lower: Part, problems: list[Problem]) -> Limits:
    base = upper.file.proxy.limits if upper else Limits()
    fixed, changes = _written(upper, "proxy", "limits"), {}
    for name in _written(lower, "proxy", "limits"):
        value, most = getattr(lower.file.proxy.limits, name), getattr(base, name)
        if name in fixed and value > most:
            message = f"`{name}` is limited to {most} by the global file; that is used"
            problems.append(_held("config.global-wins", message, ("proxy", "limits", name), lower))
        else:
            changes[name] = value
    return msgspec.structs.replace(base, **changes)


def _held(code: str, message: str, route: tuple[str, ...], part: Part) -> Problem:
    hint = "take the line out, or change the global file"
    return Problem(code, message, "warning", route, hint=hint, layer=part.layer.name, path=part.layer.path)


def _mcp(parts: Sequence[Part]) -> Mcp | None:
    tables = [(part, part.file.mcp) for part in parts if part.file.mcp is not None]
    if not tables:
        return None
    servers = [msgspec.structs.replace(one, layer=part.layer.name) for part, mcp in tables for one in mcp.servers]
    denied = _denied(servers)
    merged = tuple(msgspec.structs.replace(one, deny=denied[one.name]) for one in servers)
    return msgspec.structs.replace(tables[-1][1], servers=merged)


def _cli(parts: Sequence[Part]) -> Cli | None:
    tables = [(part, part.file.cli) for part in parts if part.file.cli is not None]
    if not tables:
        return None
    tools = [msgspec.structs.replace(one, layer=part.layer.name) for part, cli in tables for one in cli.tools]
    denied = _denied(tools)
    merged = tuple(msgspec.structs.replace(one, deny=denied[one.name]) for one in tools)
    return msgspec.structs.replace(tables[-1][1], tools=merged)


def _denied(entries: Sequence[McpServer] | Sequence[CliTool]) -> dict[str, tuple[str, ...]]:
    """What any layer denies, by name: it is denied in every entry of that name."""
    return {name: _union(one.deny for one in entries if one.name == name) for name in {one.name for one in entries}}
