"""Where rules are looked up: names by their labels, addresses by their prefix lengths. The cost does not grow with the rules.

Every decision a rule can lead to is built here, once, and handed out by reference. What a lookup costs among many rules is the memory
it walks over, so the way of an allowed name is short: one probe of its port's table gives the decision itself.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from kap.names.patterns import Pattern, is_public_name
from kap.policy.decision import Decision, RuleRef, Wire

T = TypeVar("T")

_NOTHING: list[Any] = []  # what most names find among the denials; never written

_NO_PORTS: dict[int, Decision] = {}  # shared in the same way


class Table(Generic[T]):
    """Values by name pattern: by exact name, by the name a ``*.`` stands over, and the one of ``*``."""

    __slots__ = ("any", "exact", "suffix")

    def __init__(self) -> None:
        self.exact: dict[str, T] = {}
        self.suffix: dict[str, T] = {}
        self.any: T | None = None

    def put(self, pattern: Pattern, value: T, *, replace: bool = False) -> T:
        """Set the value of a pattern that has none (or, with `replace`, in place of it); gives the one that holds now."""
        if pattern.kind == "any":
            self.any = value if replace or self.any is None else self.any
            return self.any
        table = self.exact if pattern.kind == "host" else self.suffix
        if replace:
            table[pattern.host] = value
        return table.setdefault(pattern.host, value)

    def find(self, name: str) -> T | None:
        """The value of the most specific pattern that includes `name`: exact, then the longest ``*.``, then ``*`` (public names)."""
        value = self.exact.get(name)
        if value is not None:
            return value
        suffix = self.suffix
        if suffix:
            rest = name.partition(".")[2]
            while rest:
                value = suffix.get(rest)
                if value is not None:
                    return value
                rest = rest.partition(".")[2]
        return self.any if self.any is not None and is_public_name(name) else None

    def every(self, name: str) -> list[T]:
        """The values of all patterns that include `name`, the most specific first; here ``*`` includes every name."""
        value = self.exact.get(name)
        found = _NOTHING if value is None else [value]
        get = self.suffix.get
        rest = name.partition(".")[2]
        while rest:
            value = get(rest)
            if value is not None:
                found = [*found, value]
            rest = rest.partition(".")[2]
        return found if self.any is None else [*found, self.any]


class Refusal:
    """What refuses a pattern. `deny` and `always` are pairs: the decision for a connection, and the one for the name."""

    __slots__ = ("always", "deny", "deny_ports")

    def __init__(self) -> None:
        self.deny: tuple[Decision, Decision] | None = None  # every port
        self.deny_ports = _NO_PORTS
        self.always: tuple[Decision, Decision] | None = None  # unless a rule of a person names exactly the host

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


class NameRules:
    """What rules say about names. `ports`: allow decisions by port. `known`: for hosts allowed on any port, the decisions
    "port not listed" and "name allowed". `opened`: hosts a person's rule names exactly. `refusals`: deny rules and built-in denials.
    """

    __slots__ = ("_written", "known", "opened", "ports", "refusals")

    def __init__(self) -> None:
        self.ports: dict[int, Table[Decision]] = {}
        self.known: Table[tuple[Decision, Decision]] = Table()
        self.opened: set[str] = set()
        self.refusals: Table[Refusal] = Table()
        self._written: set[tuple[int, str, str]] = set()  # port and pattern whose wire a rule wrote out

    def allow(self, pattern: Pattern, rule: RuleRef) -> None:
        """Let the pattern's ports through; the first rule to name a port keeps it, unless a later one is the first to write the wire."""
        for port, wire in pattern.ports():
            place = (port, pattern.kind, pattern.host)
            table = self.ports.setdefault(port, Table())
            table.put(pattern, allowed(rule, wire), replace=bool(pattern.wire) and place not in self._written)
            if pattern.wire:
                self._written.add(place)
        self.known.put(
            pattern, (Decision("deny", "egress.port-not-listed", rule), Decision("allow", "dns.allowed", rule))
        )
        if pattern.kind == "host" and rule.layer != "builtin":
            self.opened.add(pattern.host)

    def close(self, pattern: Pattern, rule: RuleRef) -> None:
        """A rule for a name that means the machine itself and is not granted: known, and refused."""
        refused = Decision("deny", "egress.address-not-global", rule)
        self.known.put(pattern, (refused, Decision("deny", "dns.not-listed", rule)))

    def refusal(self, pattern: Pattern) -> Refusal:
        """The refusal of a name pattern, made where there is none."""
        return self.refusals.put(pattern, Refusal())


class NetworkEntry(Refusal):
    """All that rules say about one network. `listed`: port-not-listed, naming the first rule. `single`: it is one address."""

    __slots__ = ("listed", "ports", "single")

    def __init__(self) -> None:
        super().__init__()
        self.ports = _NO_PORTS
        self.listed: Decision | None = None
        self.single = False

    def allow(self, pattern: Pattern, rule: RuleRef) -> None:
        """Let the pattern's ports through; the first rule to name a port keeps it."""
        for port, wire in pattern.ports():
            self.allow_port(port, rule, wire)
        self.listed = self.listed or Decision("deny", "egress.port-not-listed", rule)

    def allow_port(self, port: int, rule: RuleRef, wire: Wire) -> None:
        """Let one port through, where no earlier rule does."""
        self.ports = {port: allowed(rule, wire), **self.ports}


class NetworkRules:
    """Entries by network, one table a prefix length: a lookup costs one probe for each length in use (at most 33 + 129)."""

    __slots__ = ("_tables",)

    def __init__(self) -> None:
        self._tables: dict[int, dict[int, dict[int, NetworkEntry]]] = {4: {}, 6: {}}  # version -> shift -> prefix

    def entry(self, pattern: Pattern) -> NetworkEntry:
        """The entry of a network pattern, made where there is none."""
        assert pattern.network is not None
        net = pattern.network
        shift = net.max_prefixlen - net.prefixlen
        tables = self._tables[net.version]
        if shift not in tables:
            tables[shift] = {}
            self._tables[net.version] = dict(sorted(tables.items()))  # smallest shift first: longest prefix first
        entry = self._tables[net.version][shift].setdefault(int(net.network_address) >> shift, NetworkEntry())
        entry.single = shift == 0
        return entry

    def find(self, version: int, value: int) -> list[NetworkEntry]:
        """Entries whose network includes the address, the longest prefix first."""
        found = []
        for shift, table in self._tables[version].items():
            entry = table.get(value >> shift)
            if entry is not None:
                found.append(entry)
        return found


def allowed(rule: RuleRef, wire: Wire) -> Decision:
    """The allow decision of one rule and wire, without ECH."""
    return Decision("allow", "egress.allowed", rule, wire)
