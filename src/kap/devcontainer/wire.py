"""Write kap into a devcontainer.json, and take it out again: which keys, what in them. Pure; text in, text out.

Rules: a command of the user's is kept as it is written, beside kap's; kap's overlay is the last compose file, kap's arguments are the
first of "runArgs"; doing it twice changes nothing; taking it out removes what is recognisably kap's, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from kap import __version__
from kap.devcontainer import edit_jsonc, run_args
from kap.devcontainer.edit_jsonc import Route
from kap.devcontainer.jsonc_tree import parse
from kap.devcontainer.unsafe import feature_name
from kap.errors import ConfigError

FEATURE = f"ghcr.io/kap/features/kap:{__version__}"
"""The published Feature; the one place that names it."""

_ANCHORS = ("service", "dockerComposeFile", "build", "dockerFile", "image", "name")
_REFRESH = ["kap", "overlay", "--refresh"]
_OWN, _THEIRS = "kap", "project"


def command(config: str = "") -> list[str]:
    """The initializeCommand; `config`: the devcontainer.json, relative to the project, where the project may have several."""
    return [*_REFRESH, "-C", "${localWorkspaceFolder}", *(["--config", config] if config else [])]


def compose(text: str, overlay: str, argv: Sequence[str], feature: str) -> str:
    """`text` with the `overlay` last in "dockerComposeFile", kap's initializeCommand and its Feature."""
    listed = parse(text).value["dockerComposeFile"]
    if isinstance(listed, str):
        if listed != overlay:
            both = [listed, overlay]
            raw = f"[{edit_jsonc.raw(text, ('dockerComposeFile',))}, {json.dumps(overlay)}]"
            text = edit_jsonc.put(text, ("dockerComposeFile",), both, raw=raw)
    elif listed[-1:] != [overlay]:
        for index in reversed([i for i, name in enumerate(listed) if name == overlay]):
            text = edit_jsonc.remove(text, ("dockerComposeFile", index))
        text = edit_jsonc.add(text, ("dockerComposeFile",), [overlay])
    return _feature(_initialize(text, argv), feature)


def single(text: str, arguments: Sequence[str], argv: Sequence[str], feature: str) -> str:
    """`text` with kap's `arguments` first in "runArgs", its initializeCommand and its Feature."""
    text = _initialize(text, argv)
    there = parse(text).value.get("runArgs")
    if there is None:
        text = edit_jsonc.put(text, ("runArgs",), list(arguments), after=("initializeCommand",))
    elif not isinstance(there, list):
        raise ConfigError('"runArgs" is no list', "make it a list of texts, or remove it")
    elif there[: len(arguments)] != list(arguments):
        text = edit_jsonc.add(_without_arguments(text), ("runArgs",), arguments, at=0)
    return _feature(text, feature)


def cut(text: str, routes: Iterable[Route]) -> str:
    """`text` without the members and elements at `routes`."""
    for route in sorted(
        set(routes), key=lambda r: tuple((isinstance(s, int), str(s).zfill(9)) for s in r), reverse=True
    ):
        text = edit_jsonc.remove(text, route)
    return text


def is_kaps(name: str) -> bool:
    """Whether a reference is that of kap's Feature, wherever it was published."""
    return feature_name(name) == "kap"


def is_wired(value: dict[str, Any]) -> bool:
    """Whether anything of kap's is in the value of a devcontainer.json."""
    features = value.get("features")
    return (
        any(is_kaps(name) for name in (features if isinstance(features, dict) else ()))
        or _is_own_command(value.get("initializeCommand"))
        or (isinstance(value.get("runArgs"), list) and run_args.span(value["runArgs"]) is not None)
    )


def unwire(text: str, overlay: str, before: dict[str, Any] | None) -> str:
    """`text` without what is kap's. `before`: the value kap was written into, where that is known: what was not there, or was a plain
    text, is so again, if nothing was added to it since."""
    old = before or {}
    text = _without_feature(text, old)
    text = _without_command(text)
    if isinstance(parse(text).value.get("runArgs"), list) and run_args.span(parse(text).value["runArgs"]):
        text = _without_arguments(text)
        if parse(text).value["runArgs"] == [] and "runArgs" not in old:
            text = edit_jsonc.remove(text, ("runArgs",))
    listed = parse(text).value.get("dockerComposeFile")
    if isinstance(listed, list) and overlay in listed:
        for index in reversed([i for i, name in enumerate(listed) if name == overlay]):
            text = edit_jsonc.remove(text, ("dockerComposeFile", index))
        if len(listed) == 2 and isinstance(old.get("dockerComposeFile"), str):
            raw = edit_jsonc.raw(text, ("dockerComposeFile", 0))
            text = edit_jsonc.put(text, ("dockerComposeFile",), parse(text).value["dockerComposeFile"][0], raw=raw)
    return text


def _initialize(text: str, argv: Sequence[str]) -> str:
    route: Route = ("initializeCommand",)
    there = parse(text).value.get("initializeCommand")
    if there in (None, "", [], {}):
        return edit_jsonc.put(text, route, list(argv), after=_ANCHORS)
    if isinstance(there, dict):
        own = next((k for k, v in there.items() if _is_own(v)), None)
        if own is None:
            own = _OWN if _OWN not in there else "kap-capsule"
        return text if there.get(own) == list(argv) else edit_jsonc.put(text, (*route, own), list(argv))
    if _is_own(there):
        return text if there == list(argv) else edit_jsonc.put(text, route, list(argv))
    both = {_OWN: list(argv), _THEIRS: there}
    raw = f'{{ "{_OWN}": {json.dumps(list(argv))}, "{_THEIRS}": {edit_jsonc.raw(text, route)} }}'
    return edit_jsonc.put(text, route, both, raw=raw)


def _is_own(one: object) -> bool:
    if isinstance(one, list):
        return [str(part) for part in one[:3]] == _REFRESH
    return isinstance(one, str) and " ".join(_REFRESH) in one and not set(one) & set(";&|")


def _is_own_command(there: object) -> bool:
    return any(_is_own(v) for v in there.values()) if isinstance(there, dict) else _is_own(there)


def _feature(text: str, feature: str) -> str:
    there = parse(text).value.get("features")
    if there is None:
        return edit_jsonc.put(text, ("features",), {feature: {}}, after=("runArgs", "initializeCommand"))
    if not isinstance(there, dict):
        raise ConfigError('"features" is no object', 'write it as { "REFERENCE": {} }')
    return text if any(is_kaps(name) for name in there) else edit_jsonc.put(text, ("features", feature), {})


def _without_feature(text: str, old: dict[str, Any]) -> str:
    features = parse(text).value.get("features")
    own = [name for name in features if is_kaps(name)] if isinstance(features, dict) else []
    for name in own:
        text = edit_jsonc.remove(text, ("features", name))
    if own and len(own) == len(features) and "features" not in old:
        text = edit_jsonc.remove(text, ("features",))
    return text


def _without_command(text: str) -> str:
    route: Route = ("initializeCommand",)
    there = parse(text).value.get("initializeCommand")
    if not _is_own_command(there):
        return text
    if not isinstance(there, dict):
        return edit_jsonc.remove(text, route)
    own = next(k for k, v in there.items() if _is_own(v))
    if set(there) == {own, _THEIRS}:
        return edit_jsonc.put(text, route, there[_THEIRS], raw=edit_jsonc.raw(text, (*route, _THEIRS)))
    return edit_jsonc.remove(text, (*route, own))


def _without_arguments(text: str) -> str:
    place = run_args.span(parse(text).value.get("runArgs") or [])
    for index in reversed(range(*place)) if place else ():
        text = edit_jsonc.remove(text, ("runArgs", index))
    return text
