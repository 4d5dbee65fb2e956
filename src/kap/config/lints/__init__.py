"""What a well-formed kap.toml may still get wrong, one small file per group; each is a pure function of the tables.

A new group is a module with ``lint(context) -> Iterator[Problem]`` and a line in `GROUPS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kap.config.lints import conflicts, empty, preset_names, private, rule_texts, services, values, wide
from kap.config.lints.context import Context
from kap.config.problem import Problem

GROUPS: tuple[Callable[[Context], Iterator[Problem]], ...] = (
    rule_texts.lint,
    conflicts.lint,
    private.lint,
    preset_names.lint,
    empty.lint,
    values.lint,
    services.lint,
)
ADVICE: tuple[Callable[[Context], Iterator[Problem]], ...] = (wide.lint,)
"""Groups that only warn and take time (a table of public suffixes): for who checks a file, not for who runs on it."""


def run_lints(context: Context, advice: bool = True) -> Iterator[Problem]:
    """Every group's Problems in order; without `advice` the quick ones only (all errors are among them)."""
    for group in (*GROUPS, *ADVICE) if advice else GROUPS:
        yield from group(context)
