"""What a well-formed kap.toml may still get wrong, one small file per group; each is a pure function of the tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kap.config.problem import Problem


def run_lints(value: dict[str, Any], layer: str) -> Iterator[Problem]:
    """Every lint's Problems, group by group."""
    yield from ()
