"""A project that allows nothing at all: legal, and hardly ever meant."""

from __future__ import annotations

from collections.abc import Iterator

from kap.config.lints.context import Context
from kap.config.problem import Problem


def lint(context: Context) -> Iterator[Problem]:
    """``config.nothing-allowed``; a global file may well hold nothing but denials."""
    if context.layer != "project" or context.file.presets or context.file.proxy.network.allow:
        return
    hint = 'add presets = ["python"], or hosts to [proxy.network] allow'
    yield Problem("config.nothing-allowed", "nothing is allowed here: every host will be refused", "warning", hint=hint)
