"""What only shows when layers meet: an allow rule of the project that a deny rule of the global file takes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from kap.config.lints.conflicts import defeated
from kap.config.lints.context import Context
from kap.config.merge import Part
from kap.config.problem import Problem


def across(parts: Sequence[Part]) -> Iterator[Problem]:
    """Warnings about the project's rules (``config.defeated-rule``), given the global file's."""
    contexts = {
        part.layer.name: (part, Context(part.layer.document, part.file, part.layer.name))
        for part in parts
        if part.layer.document is not None
    }
    if "global" not in contexts or "project" not in contexts:
        return
    (_, upper), (part, lower) = contexts["global"], contexts["project"]
    for problem in defeated(lower.of("allow"), upper.of("deny"), "a deny rule of the global file"):
        yield msgspec.structs.replace(problem, layer="project", path=part.layer.path)
