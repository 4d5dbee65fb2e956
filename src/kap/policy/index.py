"""Where rules are looked up: names by their labels, addresses by their prefix lengths. The cost does not grow with the rules.

Every decision a rule can lead to is built here, once; `Entry` hands it out by reference.
"""

from __future__ import annotations

from kap.names.patterns import Pattern, is_public_name
from kap.policy.decision import Decision, RuleRef, Wire

_NO_DENIALS: dict[int, Decision] = {}  # shared by all entries that have none; never written
_NO_PORTS: dict[int, int] = {}
_PORTS: dict[tuple[int, ...], dict[int, int]] = {(): _NO_PORTS}


class Entry:
    """All that rules say about one pattern. Written while compiling, only read afterwards.

    A lookup among many rules costs the memory it walks over, so what is alike is shared: `ports` (port -> index into `choices`) is one
    object for all entries with the same ports. At the index is the decision, at the index after it the same with ECH let through.
    """

    __slots__ = ("always", "choices", "deny", "deny_ports", "exact", "explicit", "listed", "name", "ports")

    def __init__(self) -> None:
        self.ports = _NO_PORTS
        self.choices: tuple[Decision, ...] = ()
        self.explicit: frozenset[int] = (
            frozenset()
        )  # ports whose wire a rule wrote out; that beats a port's default wire
        self.listed: Decision | None = None  # port-not-listed, naming the first rule that allows the host elsewhere
        self.name: Decision | None = None  # dns.allowed
        self.exact = False  # a rule of a person names exactly this host: it opens what is always denied otherwise
        self.deny: tuple[Decision, Decision] | None = None  # (egress, dns), every port
        self.deny_ports = _NO_DENIALS
        self.always: tuple[Decision, Decision] | None = None  # (egress, dns)

    def choice(self, port: int) -> Decision | None:
        """The allow decision for a port, without ECH."""
        index = self.ports.get(port)
        return None if index is None else self.choices[index]

    def allow_port(self, port: int, rule: RuleRef, wire: Wire) -> None:
        """Let one port through, in place of what was there."""
        made = tuple(Decision("allow", "egress.allowed", rule, wire, ech) for ech in (False, True))
        index = self.ports.get(port)
        if index is not None:
            self.choices = self.choices[:index] + made + self.choices[index + 2 :]
            return
        listed = (*self.ports, port)
        self.ports = _PORTS.setdefault(listed, {each: 2 * place for place, each in enumerate(listed)})
        self.choices += made

    def close(self, egress: Decision, name: Decision) -> None:
        """Refuse with these instead of allowing anything."""
        self.ports, self.choices, self.listed, self.name = _NO_PORTS, (), egress, name

    def add_allow(self, pattern: Pattern, rule: RuleRef) -> None:
        """Let the pattern's ports through; the first rule to name a port keeps it, unless a later one writes out the wire."""
        for port, wire in pattern.ports():
            if port in self.ports and (port in self.explicit or not pattern.wire):
                continue
            self.allow_port(port, rule, wire)
            if pattern.wire:
                self.explicit |= {port}
        self.listed = self.listed or Decision("deny", "egress.port-not-listed", rule)
        self.name = self.name or Decision("allow", "dns.allowed", rule)
        self.exact = self.exact or (pattern.kind == "host" and rule.layer != "builtin")

    def add_deny(self, pattern: Pattern, rule: RuleRef) -> None:
        """Refuse every port, or only the one the pattern writes."""
        if pattern.port is not None:
            self.deny_ports = {pattern.port: Decision("deny", "egress.deny-rule", rule), **self.deny_ports}
        elif self.deny is None:
            self.deny = (Decision("deny", "egress.deny-rule", rule), Decision("deny", "dns.deny-rule", rule))

    def add_always(self, rule: RuleRef) -> None:
        """Refuse unless an exact rule opens it."""
        if self.always is None:
            self.always = (Decision("deny", "egress.always-denied", rule), Decision("deny", "dns.always-denied", rule))


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
