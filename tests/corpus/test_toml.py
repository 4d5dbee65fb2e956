"""The TOML corpus: `parse` gives every file the verdict of TOML 1.0, and every value of a valid file a place that reads back as it."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

from kap.config import files
from kap.document.toml import Document, parse


def _is_newer(path: Path, text: str) -> bool:
    """A valid file that plain tomllib refuses too is TOML 1.1."""
    try:
        tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError:
        return path.parts[-3:-2] == ("valid",)
    return False


def _same(left: Any, right: Any) -> bool:
    return bool(left == right) or (
        isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right)
    )


def _check_places(document: Document, name: str) -> None:
    for route in document.routes():
        span = document.span(route)
        assert span is not None, f"{name}: no place for {route}"
        value = document.at(route)
        if not isinstance(value, dict | list):
            written = document.text[span.start : span.end]
            assert _same(tomllib.loads(f"k = {written}")["k"], value), f"{name}: {route} reads back as {written!r}"
        if isinstance(route[-1], str):
            key = document.span(route, key=True)
            assert key is not None
            written = document.text[key.start : key.end]
            assert next(iter(tomllib.loads(f"{written} = 1"))) == route[-1], f"{name}: key of {route}"


def test_valid_files_have_values_and_a_place_for_each(corpora: Path) -> None:
    paths = sorted((corpora / "toml" / "tests" / "valid").rglob("*.toml"))
    assert len(paths) > 100
    newer = set()
    for path in paths:
        text = path.read_bytes().decode()
        document = parse(text)
        name = path.relative_to(corpora / "toml" / "tests").as_posix()
        if _is_newer(path, text):
            newer.add(name)
            assert document.value is None and len(document.syntax_errors) == 1
            continue
        assert document.syntax_errors == (), name
        assert document.value == tomllib.loads(text.removeprefix("\ufeff")) or "nan" in text, name
        _check_places(document, name)
    assert len(newer) <= 20, (
        "tomllib, which says what a kap.toml means, speaks TOML 1.0; few files of the corpus are newer"
    )


def test_invalid_files_have_one_syntax_error_with_a_place_in_the_text(corpora: Path, tmp_path: Path) -> None:
    paths = sorted((corpora / "toml" / "tests" / "invalid").rglob("*.toml"))
    assert len(paths) > 200
    undecodable = 0
    for path in paths:
        reading = files.read(path)
        if reading.text is None:
            undecodable += 1
            assert reading.problem is not None and reading.problem.code == "config.not-utf8"
            assert reading.problem.span is not None
            continue
        document = parse(reading.text)
        assert document.value is None, path.name
        (error,) = document.syntax_errors
        assert (error.message and error.message[0].islower()) or error.message[0] in "`\\", path.name
        assert 0 <= error.span.start <= error.span.end <= len(reading.text), path.name
        assert error.span.line <= reading.text.count("\n")
        document.places()
    assert undecodable >= 1
