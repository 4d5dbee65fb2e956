"""Grants of the command line (`kap run --allow ...`): judged like rules of a file, as layer ``run``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kap.config.problem import Problem
from kap.names.patterns import BadPattern, parse_network, parse_pattern


def check_grants(grants: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    """A Problem for each (effect, text) that is not a rule; the route is (effect, position), there is no file."""
    for count, (effect, text) in enumerate(grants):
        route = (effect, count)
        if effect not in ("allow", "deny", "private", "ech"):
            yield Problem("config.value", f"there is no rule `{effect}`", route=route, layer="run", path="command line")
            continue
        try:
            if effect == "private":
                parse_network(text)
            else:
                parse_pattern(text, effect)
        except BadPattern as error:
            hint = f"write {error.suggestion}" if error.suggestion else ""
            yield Problem("config.pattern", error.message, route=route, hint=hint, layer="run", path="command line")
