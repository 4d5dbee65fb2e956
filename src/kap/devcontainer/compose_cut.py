"""Take what cannot survive isolation out of a project's compose files, line by line. Text in, text out.

Rules: only whole lines of block style go, found by the places the YAML library reports; each result is read again and has to be exactly
the value without that part, else the finding stays and init refuses; nothing else in the file is touched.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kap.devcontainer import compose_files, init_files, services
from kap.devcontainer.compose import Project
from kap.devcontainer.init_files import Change
from kap.devcontainer.unsafe import Finding

_KEYS = ("privileged", "pid", "ipc", "uts", "userns_mode", "cgroup", "network_mode", "use_api_socket")
_LISTS = ("volumes", "devices", "cap_add", "volumes_from", "env_file")


class Cut(msgspec.Struct, frozen=True):
    """`left`: the findings that could not be taken out."""

    changes: tuple[Change, ...]
    left: tuple[Finding, ...]


def cut(files: Sequence[Path], project: Path, findings: Sequence[Finding]) -> Cut:
    """The compose `files` without the parts that `findings` are about."""
    if not findings:
        return Cut((), ())
    changes: list[Change] = []
    wanted = {(f.code, f.where) for f in findings}
    gone: set[tuple[str, str]] = set()
    for path in files:
        content = init_files.read(path, project)
        if content is None:
            continue
        try:
            text, taken = _cut_file(content.decode("utf-8"), path, wanted)
        except (UnicodeDecodeError, YAMLError):
            continue
        gone |= taken
        if taken:
            changes.append(Change(str(init_files.target(path, project)), content, text.encode("utf-8")))
    return Cut(tuple(changes), tuple(f for f in findings if (f.code, f.where) not in gone))


def _cut_file(text: str, path: Path, wanted: set[tuple[str, str]]) -> tuple[str, set[tuple[str, str]]]:
    gone: set[tuple[str, str]] = set()
    tried: set[tuple[str, str, int]] = set()
    while True:
        found = next((c for c in _candidates(text, path) if c[0] in wanted and c[1] not in tried), None)
        if found is None:
            return text, gone
        reason, route = found
        tried.add(route)
        shorter = _without(text, route)
        if shorter is not None:
            text = shorter
            gone.add(reason)
            tried.clear()


def _candidates(text: str, path: Path) -> Iterator[tuple[tuple[str, str], tuple[str, str, int]]]:
    """Each part of a service alone, with what is wrong with it, if something is."""
    value = _plain(text)
    listed = value.get("services") if isinstance(value, dict) else None
    for name, service in (listed if isinstance(listed, dict) else {}).items():
        if not isinstance(service, dict):
            continue
        parts: list[tuple[str, int, Any]] = [(key, -1, service[key]) for key in _KEYS if key in service]
        parts += [(k, i, [v]) for k in _LISTS if isinstance(service.get(k), list) for i, v in enumerate(service[k])]
        for key, index, part in parts:
            normal = compose_files.normal({key: part}, path.parent)
            for finding in services.judge(Project(path.parent, (), {str(name): normal}, {}), ()):
                yield (finding.code, finding.where), (str(name), key, index)


def _without(text: str, route: tuple[str, str, int]) -> str | None:
    """`text` without the lines of one part; None where they hold something else too."""
    name, key, index = route
    wanted = copy.deepcopy(_plain(text))
    target = wanted["services"][name]
    # A list of one goes with its key: what would be left behind is null, not a list.
    whole = index < 0 or len(target[key]) == 1
    line = _line(text, route, whole)
    if line is None:
        return None
    if whole:
        del target[key]
    else:
        del target[key][index]
    lines = text.splitlines(keepends=True)
    indent = len(lines[line]) - len(lines[line].lstrip(" "))
    end = line + 1
    while end < len(lines) and _belongs(lines[end], indent, whole):
        end += 1
    shorter = "".join(lines[:line] + lines[end:])
    try:
        return shorter if _plain(shorter) == wanted else None
    except YAMLError:
        return None


def _line(text: str, route: tuple[str, str, int], whole: bool) -> int | None:
    """The line that a key of a service, or an item of its list, begins in; None where it is merged in from elsewhere."""
    name, key, index = route
    try:
        service = YAML(typ="rt").load(text)["services"][name]
        return int(service.lc.key(key)[0] if whole else service[key].lc.item(index)[0])
    except (YAMLError, KeyError, TypeError, AttributeError):
        return None


def _belongs(line: str, indent: int, key: bool) -> bool:
    """Whether a line goes on with the part that began with `indent`: deeper, or an item of the key's list at the same depth."""
    depth = len(line) - len(line.lstrip(" "))
    return bool(line.strip()) and (depth > indent or (key and depth == indent and line.lstrip().startswith("- ")))


def _plain(text: str) -> Any:
    yaml = YAML(typ="safe", pure=True)
    yaml.constructor.add_multi_constructor("!", lambda *_: None)
    return yaml.load(text)
