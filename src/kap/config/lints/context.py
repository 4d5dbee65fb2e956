"""What a lint reads: the file's typed meaning, its layer, its text, and its rules parsed once."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from kap.config.model import File
from kap.document.route import Route
from kap.document.toml import Document
from kap.names.patterns import BadPattern, Pattern, parse_network, parse_pattern


class Written:
    """A rule as written: `pattern`, or `refused` saying why it is none."""

    __slots__ = ("effect", "pattern", "refused", "route", "text")

    def __init__(self, effect: str, text: str, route: Route) -> None:
        self.effect, self.text, self.route = effect, text, route
        self.pattern: Pattern | None = None
        self.refused: BadPattern | None = None
        try:
            if effect == "private":
                parse_network(text)
            self.pattern = parse_pattern(text, effect)
        except BadPattern as error:
            self.refused = error


class Context:
    """One file under lint. `layer` is ``global`` or ``project``."""

    def __init__(self, document: Document, file: File, layer: str) -> None:
        self.document, self.file, self.layer = document, file, layer

    @cached_property
    def rules(self) -> tuple[Written, ...]:
        """The texts of ``[proxy.network]``, parsed."""
        return tuple(self._rules())

    def of(self, effect: str) -> list[Written]:
        """The well-formed rules of one effect."""
        return [rule for rule in self.rules if rule.effect == effect and rule.pattern is not None]

    def _rules(self) -> Iterator[Written]:
        network = self.file.proxy.network
        for effect in ("allow", "deny", "private", "ech"):
            for count, text in enumerate(getattr(network, effect)):
                yield Written(effect, text, ("proxy", "network", effect, count))
