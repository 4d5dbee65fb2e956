"""What ``kap uninit`` would do: every file as it was before ``kap init``, byte for byte, where nothing else changed since. Writes nothing.

Rules: a file that stands as init wrote it becomes what it was; one that was changed since loses what is recognisably kap's and keeps the
rest; a policy that a person has edited is theirs and stays; without a record (another machine) only what is recognisable is taken out.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any

import msgspec

from kap.devcontainer import edit_jsonc, init_files, init_plan, jsonc_tree, overlay, wire
from kap.devcontainer.discover import OVERLAY, DevContainer
from kap.devcontainer.init_files import Change, Record
from kap.errors import ConfigError

_LINES = re.compile(r"[^\n]*\n|[^\n]+")
_WORDS = re.compile(r"\w+|\s|[^\w\s]")
_PARTS = 4000
"""More lines or words than these are not compared: the time grows with their square."""


class Undoing(msgspec.Struct, frozen=True):
    """`changes`: what is written or removed (`after` None). `notes`: what stays, and why."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def make(project: Path, state: Path) -> Undoing:
    """What uninit does to `project` (a real path). Raises `KapError` for a file that cannot be read or edited."""
    record = init_files.load(state)
    known = {one.path: one for one in record.files}
    changes: list[Change] = []
    notes: list[str] = []
    for one in record.files:
        if Path(one.path).name in ("devcontainer.json", ".devcontainer.json"):
            continue
        change, note = _plain_file(one, project)
        changes += [change] if change else []
        notes += [note] if note else []
    for path in init_plan.configs(project):
        config = str(init_files.target(path, project))
        content = init_files.read(path, project)
        if content is not None:
            changes += _config(path, content, known.get(config), project)
    changes += [c for c in _overlays(project) if c.path not in known]
    changes = [c for c in changes if c.before != c.after]
    if not record.files and changes:
        notes.append("kap init did not run on this machine: kap.toml stays, and what it took out is not put back")
    return Undoing(tuple(changes), tuple(notes))


def _plain_file(one: Change, project: Path) -> tuple[Change | None, str]:
    """A file of the record that is no devcontainer.json."""
    path = Path(one.path)
    now = init_files.read(path, project)
    if now == one.before or now is None:
        return None, ""
    if now == one.after or (path.name == OVERLAY and _is_overlay(now)):
        return Change(one.path, now, one.before), ""
    return None, f"{path.relative_to(project)} was changed since, so it stays as it is"


def _config(path: Path, content: bytes, one: Change | None, project: Path) -> list[Change]:
    real = str(init_files.target(path, project))
    if one is not None and content == one.after:
        return [Change(real, content, one.before)]
    try:
        text = content.decode("utf-8")
        root = jsonc_tree.parse(text)
    except (UnicodeDecodeError, jsonc_tree.BadJson) as error:
        raise ConfigError(
            f"{path}: {error}", "correct it first: kap takes its part out of a file it can read"
        ) from error
    if root.kind != "object" or not (wire.is_wired(root.value) or _lists_overlay(root.value)):
        return []
    return [Change(real, content, _taken_out(text, one, path, project).encode("utf-8"))]


def _lists_overlay(value: dict[str, Any]) -> bool:
    listed = value.get("dockerComposeFile")
    return any(str(name).endswith(OVERLAY) for name in (listed if isinstance(listed, list) else [listed]) if name)


def _taken_out(text: str, one: Change | None, path: Path, project: Path) -> str:
    """`text` without kap's part. With the lines of the record put back, where that means the same as taking the part out."""
    before = (one.before or b"").decode("utf-8", "replace") if one is not None else ""
    old = jsonc_tree.parse(before).value if before else None
    overlay_path = DevContainer(path, project, (), "", False).overlay
    name = str(overlay_path.relative_to(path.parent)) if overlay_path.is_relative_to(path.parent) else OVERLAY
    shorter = wire.unwire(text, name, old)
    if one is None or not before:
        return shorter
    shorter = _put_back(shorter, (one.after or b"").decode("utf-8", "replace"), before)
    for parts in (_LINES, _WORDS):
        merged = _reversed(text, (one.after or b"").decode("utf-8", "replace"), before, parts)
        try:
            if merged is not None and jsonc_tree.parse(merged).value == jsonc_tree.parse(shorter).value:
                return merged
        except jsonc_tree.BadJson:
            continue
    return shorter


def _put_back(text: str, after: str, before: str) -> str:
    """Members and elements that init took out as unsafe are there again, where their place is still there."""
    was, became = jsonc_tree.parse(before).value, jsonc_tree.parse(after).value
    for key, value in was.items():
        now = jsonc_tree.parse(text).value
        if key not in became and key not in now:
            text = edit_jsonc.put(text, (key,), value, raw=edit_jsonc.raw(before, (key,)))
        elif isinstance(value, list) and isinstance(now.get(key), list):
            for index, one in enumerate(value):
                if one not in became.get(key, []) and one not in edit_jsonc.get(jsonc_tree.parse(text).value, (key,)):
                    text = edit_jsonc.add(text, (key,), [one], at=index)
        elif isinstance(value, dict) and isinstance(now.get(key), dict):
            for name in (n for n in value if n not in became.get(key, {}) and n not in now[key]):
                text = edit_jsonc.put(text, (key, name), value[name], raw=edit_jsonc.raw(before, (key, name)))
    return text


def _reversed(now: str, after: str, before: str, parts: re.Pattern[str]) -> str | None:
    """`now` with what led from `before` to `after` undone, part by part; None where the parts in question were changed."""
    a, b, c = (parts.findall(t) for t in (after, now, before))
    if max(len(a), len(b), len(c)) > _PARTS:
        return None
    place: dict[int, int] = {}
    for tag, i1, i2, j1, _ in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            place |= {i: j1 + i - i1 for i in range(i1, i2)}
    result = list(b)
    for tag, i1, i2, j1, j2 in reversed(difflib.SequenceMatcher(None, a, c, autojunk=False).get_opcodes()):
        if tag == "equal":
            continue
        spots = [place.get(i) for i in range(i1, i2)]
        start = place.get(i1, len(b) if i1 == len(a) else None)
        if start is None or spots != list(range(start, start + i2 - i1)):
            return None
        result[start : start + i2 - i1] = c[j1:j2]
    return "".join(result)


def _overlays(project: Path) -> list[Change]:
    """Overlays of kap's, wherever a devcontainer.json may have one."""
    places = {DevContainer(path, project, (), "", False).overlay for path in init_plan.configs(project)}
    found = []
    for path in sorted(places):
        now = init_files.read(path, project)
        if now is not None and _is_overlay(now):
            found.append(Change(str(init_files.target(path, project)), now, None))
    return found


def _is_overlay(content: bytes) -> bool:
    return bool(overlay.recorded(content.decode("utf-8", "replace"))[0])


__all__ = ["Record", "Undoing", "make"]
