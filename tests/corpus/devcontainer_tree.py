"""Copies of the devcontainer samples, made complete: what a sample's files name and the corpus leaves out is stubbed."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from kap.devcontainer import jsonc_tree

STUB = "services:\n  {service}:\n    image: debian:12\n    volumes:\n      - ..:/workspace:cached\n"


def copy(sample: Path, place: Path, *, stub: bool = True) -> Path:
    """The sample at `place`, writable; with `stub`, compose files and Dockerfiles it names are there."""
    shutil.copytree(sample, place, copy_function=shutil.copyfile)
    for path in place.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    place.chmod(0o755)
    for config in configs(place) if stub else ():
        complete(config)
    return place


def configs(place: Path) -> list[Path]:
    return sorted([*place.rglob("devcontainer.json"), *place.rglob(".devcontainer.json")])


def complete(config: Path) -> None:
    value = jsonc_tree.parse(config.read_bytes().decode()).value
    listed = value.get("dockerComposeFile")
    for name in [listed] if isinstance(listed, str) else listed or ():
        path = Path(os.path.normpath(config.parent / name))
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(STUB.format(service=value.get("service", "app")))


def tree(place: Path) -> dict[str, bytes]:
    """Every file and its content; directories too."""
    return {
        str(p.relative_to(place)): p.read_bytes() if p.is_file() else b"<directory>" for p in sorted(place.rglob("*"))
    }


def index(corpora: Path) -> list[dict[str, object]]:
    loaded: list[dict[str, object]] = json.loads((corpora / "devcontainer_samples" / "index.json").read_text())
    return loaded


def rewritten(text: str, how: str) -> str:
    """The same value in another dress: ``crlf``, ``tabs``, ``bare``, ``bom``, ``comments``, ``one-line``, ``escapes``, ``commas``."""
    if how in ("crlf", "tabs", "bare", "bom"):
        return {
            "crlf": re.sub(r"\r?\n", "\r\n", text),
            "tabs": re.sub(r"(?m)^(?: {2})+", lambda m: "\t" * (len(m.group()) // 2), text),
            "bare": text.rstrip(),
            "bom": "\ufeff" + text.removeprefix("\ufeff"),
        }[how]
    return _written(jsonc_tree.parse(text).value, how, 0)


def _written(value: object, how: str, depth: int) -> str:
    comment = ' /* \u00fc, } " ] */ ' if how == "comments" else ""
    line = "" if how == "one-line" else "\n" + "  " * (depth + 1)
    end = "" if how == "one-line" else "\n" + "  " * depth
    if isinstance(value, dict):
        parts = [f"{comment}{_key(k, how)}{comment}:{comment}{_written(v, how, depth + 1)}" for k, v in value.items()]
        braces = "{}"
    elif isinstance(value, list):
        parts, braces = [comment + _written(v, how, depth + 1) for v in value], "[]"
    else:
        return json.dumps(value, ensure_ascii=how == "escapes")
    after = "," if how == "commas" and parts else ""
    if how == "comments":
        parts = [f"{part} // {{ to the end" for part in parts]
        body = "".join(f"{line}{part}{line}{',' if i + 1 < len(parts) else ''}" for i, part in enumerate(parts))
    else:
        body = ",".join(line + part for part in parts) + after
    return braces[0] + body + (end if parts else "") + braces[1]


def _key(key: str, how: str) -> str:
    if how == "escapes":
        return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in key) + '"'
    return json.dumps(key, ensure_ascii=False)
