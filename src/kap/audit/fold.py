"""From a stream of events to what a person wants to know: what was refused, how often, and since when.

Rules: one `Denial` per host, port and reason; a refused DNS query and the refused connection to the same host are one denial (the
query is usually the first symptom, the connection names the port). Health probes are not denials. Bounded: of a flood of different
hosts the newest 10,000 denials are kept and the rest counted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

import msgspec

from kap.audit.event import Event
from kap.policy.decision import RuleRef

MAX_DENIALS = 10_000
_NAMES_KEPT = 8

_SAME_REASON = frozenset({"not-listed", "deny-rule", "always-denied", "no-policy"})
"""Reasons that are one policy fact seen by two planes: ``dns.not-listed`` is ``egress.not-listed`` seen earlier."""


class Denial(msgspec.Struct):
    """What was refused. `first` and `last` are seconds since the epoch; `port` is 0 where only a DNS query was seen.

    `methods`, `processes` and `addresses`: the first eight different ones, in order. `rule`, `policy` and `detail` are those of the
    newest event (`policy`: first 12 hex digits of the digest in force then).
    """

    host: str
    port: int
    code: str
    plane: str = "egress"
    count: int = 0
    first: float = 0.0
    last: float = 0.0
    methods: list[str] = []
    processes: list[str] = []
    addresses: list[str] = []
    rule: RuleRef | None = None
    policy: str = ""
    detail: str = ""
    capsules: list[str] = []

    @property
    def by_name_only(self) -> bool:
        """True where only a DNS query was refused and no connection was tried."""
        return self.plane == "dns"


def is_denial(event: Event) -> bool:
    """True for an event a person may ask "why?" about: something was refused or cut, and not by our own health probe."""
    if event.kind == "notice" or event.subject == "probe":
        return False
    return event.verdict == "deny" or event.code == "egress.revoked"


class Fold:
    """Folds events as they come; `denials` gives the result, the newest last. `forgotten` counts what the bound threw away."""

    def __init__(self, limit: int = MAX_DENIALS) -> None:
        self.forgotten = 0
        self._limit = limit
        self._kept: OrderedDict[tuple[str, int, str], Denial] = OrderedDict()
        self._port: OrderedDict[tuple[str, str], int] = OrderedDict()

    def add(self, event: Event) -> Denial | None:
        """Take one event; gives the denial it belongs to, or None where it is no denial. ``count == 1`` means a new one."""
        if not is_denial(event):
            return None
        key = self._key(event)
        denial = self._kept.get(key)
        if denial is None:
            denial = self._kept[key] = Denial(event.host, key[1], event.code, event.plane, first=event.ts)
            if len(self._kept) > self._limit:
                self._forget()
        self._kept.move_to_end(key)
        _count(denial, event)
        return denial

    def denials(self) -> list[Denial]:
        """What was folded so far, the newest last."""
        return sorted(self._kept.values(), key=lambda denial: denial.last)

    def _key(self, event: Event) -> tuple[str, int, str]:
        reason = event.code.partition(".")[2]
        if reason not in _SAME_REASON:
            return event.host, event.port, event.code
        pair = (event.host, reason)
        known = self._port.get(pair)
        if event.plane == "dns":
            return event.host, known or 0, reason
        if known is None:
            self._port[pair] = event.port
            earlier = self._kept.pop((event.host, 0, reason), None)
            if earlier is not None:  # the connection that follows the refused query: same denial, now with its port
                earlier.port, earlier.code, earlier.plane = event.port, event.code, event.plane
                self._kept[event.host, event.port, reason] = earlier
        return event.host, event.port, reason

    def _forget(self) -> None:
        (host, port, reason), _ = self._kept.popitem(last=False)
        if self._port.get((host, reason)) == port:
            del self._port[host, reason]
        self.forgotten += 1


def fold(events: Iterable[Event]) -> list[Denial]:
    """The denials in `events`, the newest last."""
    folded = Fold()
    for event in events:
        folded.add(event)
    return folded.denials()


def _count(denial: Denial, event: Event) -> None:
    denial.count += 1
    denial.first = min(denial.first, event.ts)
    _keep(denial.methods, event.method)
    _keep(denial.processes, event.process)
    _keep(denial.addresses, event.address)
    _keep(denial.capsules, event.capsule)
    if event.ts >= denial.last:
        denial.last = event.ts
        denial.rule, denial.policy = event.rule, event.policy
        denial.detail = event.detail or denial.detail


def _keep(names: list[str], name: str) -> None:
    if name and len(names) < _NAMES_KEPT and name not in names:
        names.append(name)
