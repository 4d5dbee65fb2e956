"""Where rules are looked up: names by their labels, addresses by their prefix lengths. The cost does not grow with the rules.

Every decision a rule can lead to is built here, once; `Entry` hands it out by reference.
"""

from __future__ import annotations

from kap.names.patterns import Pattern, is_public_name
from kap.policy.decision import Decision, RuleRef, Wire

Choice = tuple[Decision, Decision]
"""The same decision without and with Encrypted ClientHello let through."""


class Entry:
    """All that rules say about one pattern. Written while compiling, only read afterwards."""

    __slots__ = ("allow", "always", "deny", "deny_ports", "exact", "explicit", "listed", "name")

    def __init__(self) -> None:
        self.allow: dict[int, Choice] = {}
        self.explicit: set[int] = set()  # ports whose wire a rule wrote out; that beats a port's default wire
        self.listed: Decision | None = None  # port-not-listed, naming the first rule that allows the host elsewhere
        self.name: Decision | None = None  # dns.allowed
        self.exact = False  # a rule of a person names exactly this host: it opens what is always denied otherwise
        self.deny: tuple[Decision, Decision] | None = None  # (egress, dns), every port
        self.deny_ports: dict[int, Decision] = {}
        self.always: tuple[Decision, Decision] | None = None  # (egress, dns)

    def add_allow(self, pattern: Pattern, rule: RuleRef) -> None:
        """Let the pattern's ports through; the first rule to name a port keeps it, unless a later one writes out the wire."""
        for port, wire in pattern.ports():
            if port in self.allow and (port in self.explicit or not pattern.wire):
                continue
            self.allow[port] = allowed(rule, wire)
            if pattern.wire:
                self.explicit.add(port)
        self.listed = self.listed or Decision("deny", "egress.port-not-listed", rule)
        self.name = self.name or Decision("allow", "dns.allowed", rule)
        self.exact = self.exact or (pattern.kind == "host" and rule.layer != "builtin")

    def add_deny(self, pattern: Pattern, rule: RuleRef) -> None:
        """Refuse every port, or only the one the pattern writes."""
        if pattern.port is not None:
            self.deny_ports.setdefault(pattern.port, Decision("deny", "egress.deny-rule", rule))
        elif self.deny is None:
            self.deny = (Decision("deny", "egress.deny-rule", rule), Decision("deny", "dns.deny-rule", rule))

    def add_always(self, rule: RuleRef) -> None:
        """Refuse unless an exact rule opens it."""
        if self.always is None:
            self.always = (Decision("deny", "egress.always-denied", rule), Decision("deny", "dns.always-denied", rule))


def allowed(rule: RuleRef | None, wire: Wire) -> Choice:
    """The two allow decisions of one rule and wire."""
    return (
        Decision("allow", "egress.allowed", rule, wire, False),
        Decision("allow", "egress.allowed", rule, wire, True),
    )


class NameIndex:
    """Entries by exact name and by the name a ``*.`` stands over; `any` is the entry of ``*``."""

    __slots__ = ("any", "exact", "suffix")

    def __init__(self) -> None:
        self.exact: dict[str, Entry] = {}
        self.suffix: dict[str, Entry] = {}
        self.any: Entry | None = None

    def entry(self, pattern: Pattern) -> Entry:
        """The entry of a name pattern, made where there is none."""
        if pattern.kind == "any":
            self.any = self.any or Entry()
            return self.any
        table = self.exact if pattern.kind == "host" else self.suffix
        return table.setdefault(pattern.host, Entry())

    def find(self, name: str) -> list[Entry]:
        """Entries whose pattern includes `name`, the most specific first."""
        found = []
        entry = self.exact.get(name)
        if entry is not None:
            found.append(entry)
        suffix = self.suffix
        if suffix:
            dot = name.find(".")
            while dot >= 0:
                entry = suffix.get(name[dot + 1 :])
                if entry is not None:
                    found.append(entry)
                dot = name.find(".", dot + 1)
        if self.any is not None and is_public_name(name):
            found.append(self.any)
        return found


class NetworkIndex:
    """Entries by network, one table a prefix length: a lookup costs one probe for each length in use (at most 33 + 129)."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, dict[int, Entry]]] = {4: {}, 6: {}}  # version -> shift -> prefix -> entry

    def entry(self, pattern: Pattern) -> Entry:
        """The entry of a network pattern, made where there is none."""
        assert pattern.network is not None
        net = pattern.network
        shift = net.max_prefixlen - net.prefixlen
        tables = self._tables[net.version]
        if shift not in tables:
            tables[shift] = {}
            self._tables[net.version] = dict(sorted(tables.items()))  # smallest shift first: longest prefix first
        return self._tables[net.version][shift].setdefault(int(net.network_address) >> shift, Entry())

    def find(self, version: int, value: int) -> list[Entry]:
        """Entries whose network includes the address, the longest prefix first."""
        found = []
        for shift, table in self._tables[version].items():
            entry = table.get(value >> shift)
            if entry is not None:
                found.append(entry)
        return found
