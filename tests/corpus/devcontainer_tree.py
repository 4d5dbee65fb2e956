"""Copies of the devcontainer samples, made complete: what a sample's files name and the corpus leaves out is stubbed."""

from __future__ import annotations

import json
import os
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
