"""Find the files of the layers, read and check each, and put them together. The door of this room: others import from here.

Layers: ``builtin`` (kept with kap) < ``global`` (``~/.kap/kap.toml``; ``KAP_HOME`` names another directory than ``~/.kap``) <
``project`` (``kap.toml`` or ``.devcontainer/kap.toml``) < ``run`` (the command line of one run).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from kap.config import files
from kap.config.across import across
from kap.config.check import Checked, check
from kap.config.effective import Config, Effect, Layer, LayerName, Loaded, Rule
from kap.config.grants import check_grants
from kap.config.merge import Part, merge
from kap.config.problem import Problem
from kap.document.toml import Document, parse
from kap.errors import ConfigError

__all__ = [
    "Config",
    "Effect",
    "Layer",
    "LayerName",
    "Loaded",
    "Rule",
    "find_project",
    "global_path",
    "load",
    "project_file",
]

NAME = "kap.toml"


class Review(msgspec.Struct, frozen=True):
    """What was found in the files: problems, the text of each layer's file (None of it where it cannot be read), what is usable."""

    problems: tuple[Problem, ...]
    documents: dict[str, Document]
    parts: tuple[Part, ...]


def global_path() -> Path:
    """Where the global file would be: ``$KAP_HOME/kap.toml``, else ``~/.kap/kap.toml``. It need not exist."""
    home = os.environ.get("KAP_HOME")
    return (Path(home) if home else Path.home() / ".kap") / NAME


def project_file(directory: Path) -> Path | None:
    """The kap.toml of exactly this project directory; None where there is none. Raises `ConfigError` where there are two."""
    found = [place for place in (directory / NAME, directory / ".devcontainer" / NAME) if os.path.lexists(place)]
    if len(found) > 1:
        raise ConfigError(
            f"there are two policies: {found[0]} and {found[1]}",
            "keep one of them: which one holds must not be a guess",
        )
    return found[0] if found else None


def find_project(start: Path) -> Path | None:
    """The kap.toml *file* that governs `start`: of that directory or the nearest one above it. Raises as `project_file`."""
    try:
        start = start.resolve()
    except (OSError, RuntimeError):  # links in a circle
        start = start.absolute()
    for directory in (start, *start.parents):
        found = project_file(directory)
        if found is not None:
            return found
    return None


def load(project: Path | None, *, global_path: Path | None, run: Sequence[tuple[str, str]] = ()) -> Loaded:
    """Read and merge the layers; never raises for what is in or at a file.

    `project`: the kap.toml file (a directory stands for the kap.toml in it); it has to exist. `global_path`: the global file, which
    need not exist. None leaves the layer out. `run`: grants (effect, text) of the command line; a bad one is a Problem of layer ``run``.
    """
    review = _review(project, global_path, advice=False)
    problems = [*review.problems, *check_grants(run)]
    if any(one.severity == "error" for one in problems):
        return Loaded(None, tuple(problems))
    config, held = merge(review.parts, run)
    return Loaded(config, (*problems, *held, *across(review.parts)))


def review(project: Path | None, *, global_path: Path | None) -> Review:
    """The files as `load` reads them, for who shows their problems: with every lint, and with the documents to point into."""
    found = _review(project, global_path, advice=True)
    if any(one.severity == "error" for one in found.problems):
        return found
    _, held = merge(found.parts, ())
    return msgspec.structs.replace(found, problems=(*found.problems, *held, *across(found.parts)))


def _review(project: Path | None, global_path: Path | None, *, advice: bool) -> Review:
    problems: list[Problem] = []
    wanted: list[tuple[LayerName, Path]] = []
    if global_path is not None and os.path.lexists(global_path):
        wanted.append(("global", global_path))
    if project is not None:
        wanted.append(("project", _inside(project, problems)))
    parts: list[Part] = []
    documents: dict[str, Document] = {}
    for name, path in wanted:
        document, checked = read_layer(path, name, advice=advice)
        problems.extend(checked.problems)
        if document is not None:
            documents[name] = document
            if checked.file is not None and document.value is not None:
                parts.append(Part(Layer(name, str(path), document), checked.file, document.value))
    return Review(tuple(problems), documents, tuple(parts))


def read_layer(path: Path, layer: LayerName = "project", *, advice: bool = False) -> tuple[Document | None, Checked]:
    """One file, read and checked (with `advice`: all lints); the document is None where there is no text to show."""
    reading = files.read(path, layer)
    if reading.text is None:
        shown = parse(reading.shown) if reading.shown else None
        return shown, Checked(None, (reading.problem,) if reading.problem else ())
    document = parse(reading.text)
    return document, check(document, layer, str(path), advice=advice)


def _inside(project: Path, problems: list[Problem]) -> Path:
    """A directory stands for the policy file in it, if it has one; otherwise it is reported as the directory it is."""
    try:
        if not project.is_dir():
            return project
        return project_file(project) or project
    except ConfigError as error:
        problems.append(Problem("config.two-files", error.message, hint=error.hint, path=str(project)))
        return project / NAME
    except (OSError, ValueError):
        return project
