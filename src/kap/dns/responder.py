"""From a client's message to what is to be done about it: a finished reply, or a question for the upstream. No I/O.

Rules of the module: every name is judged by ``policy.decide`` and by nothing else; what this file adds is form: which RCODE says a
verdict, and which record types a mode can answer at all. A denied name is NXDOMAIN, because a stub resolver takes that as final
where REFUSED makes it try again; without an SOA record no cache keeps it (RFC 2308 5), so a change of policy shows at once. A
refused *type* of an allowed name is REFUSED: NXDOMAIN would deny the name for every type.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from kap.audit.event import Event
from kap.dns import wire
from kap.dns.answer import Answer
from kap.dns.wire import BadQuery, Query, Record
from kap.names.addresses import canonical
from kap.names.hosts import BadTarget, Host, Target, parse_host
from kap.policy.compiler import Policy
from kap.policy.decision import Decision
from kap.policy.request import AddressRequest, NameRequest

if TYPE_CHECKING:
    from kap.policy.live import Live

Mode = Literal["self", "forward"]

_VETTED_ENTRIES: Final = 4096
SELF_TTL: Final = 60
"""Seconds a client may keep the sidecar's own address; the sidecar judges every connection again anyway."""

_METHODS: Final = {wire.A: "A", wire.AAAA: "AAAA"}
_EMPTY_TYPES: Final = frozenset({wire.SVCB, wire.HTTPS})
_TYPES: Final = frozenset({wire.A, wire.AAAA, wire.TXT})


class Asking(msgspec.Struct, gc=False):
    """A question for the upstream: the client's, its question section rebuilt, the policy that allowed it and its decision.

    `answer`, `outcomes`: what `Responder.finish` made of the last answer, so that the same answer need not be judged again.
    """

    query: Query
    key: tuple[str, int]
    section: bytes
    host: Host
    policy: Policy
    decision: Decision
    answer: Answer | None = None
    outcomes: list[Outcome] = []


class Outcome(msgspec.Struct, gc=False):
    """`reply`: octets for the client, None for silence. `event`: what to record. `ask`: instead of a reply, ask the upstream this.
    `lasting`: while the policy stays, the same message has the same outcome, but for its id."""

    reply: bytes | None
    event: Event
    ask: Asking | None = None
    lasting: bool = False


class Responder:
    """Judge messages by the policy in `live`. `addresses` answer for allowed names in mode ``self``; `names` are the sidecar's own
    names with their addresses, answered whatever the policy. Raises `ValueError` for an address or a name that is none."""

    def __init__(
        self, live: Live, mode: Mode, addresses: Iterable[str], names: Mapping[str, str | Iterable[str]]
    ) -> None:
        self._live = live
        self._mode = mode
        self._addresses = _by_type(addresses)
        self._names = {
            parse_host(name).text: _by_type([value] if isinstance(value, str) else value)
            for name, value in names.items()
        }
        self._vetted: dict[tuple[str, bytes], tuple[str, Decision]] = {}
        self._vetted_by: Policy | None = None

    def respond(self, message: bytes, tcp: bool) -> Outcome:
        """What to do about `message`, which came over TCP or UDP."""
        try:
            query = wire.decode_query(message)
        except BadQuery as bad:
            return self._refuse_malformed(message, bad)
        own = self._names.get(query.name)
        if own is not None:
            return self._reply(query, tcp, Decision("allow", "dns.allowed"), records=_records(query, own))
        policy = self._live.policy
        if policy is None:
            return self._reply(query, tcp, Decision("deny", "egress.no-policy"), wire.REFUSED, wire.NOT_READY)
        try:
            host = parse_host(query.name)
        except BadTarget as bad_target:
            decision = Decision("deny", "dns.bad-query")
            return self._reply(query, tcp, decision, wire.REFUSED, wire.BLOCKED, detail=str(bad_target))
        decision = policy.decide(_request(host, query))
        if not decision.allowed or host.is_ip:
            return self._refuse(query, tcp, decision)
        return self._answer(query, tcp, host, policy, decision)

    def finish(self, asking: Asking, tcp: bool, answer: Answer) -> list[Outcome]:
        """The outcome for a question the upstream answered; every outcome is recorded, the first one holds the reply.

        Judges the name again where the policy has changed while the question was out.
        """
        if answer is not asking.answer or self._live.policy is not asking.policy:
            asking.answer, asking.outcomes = answer, self._judge(asking, tcp, answer)
        return asking.outcomes

    def _judge(self, asking: Asking, tcp: bool, answer: Answer) -> list[Outcome]:
        query, decision, policy = asking.query, asking.decision, self._live.policy
        if policy is None:
            return [self._reply(query, tcp, Decision("deny", "egress.no-policy"), wire.REFUSED, wire.NOT_READY)]
        if policy is not asking.policy:
            decision = policy.decide(_request(asking.host, query))
            if not decision.allowed:
                return [self._refuse(query, tcp, decision)]
        if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN):
            return [self.fail(query, tcp, f"the upstream answered with RCODE {answer.rcode}")]
        kept, withheld = self._guard(policy, asking.host, answer.records)
        if not withheld:
            return [self._reply(query, tcp, decision, answer.rcode, records=answer.records)]
        address, verdict = withheld[0]
        notes = f"{len(withheld)} of {len(answer.records)} records withheld"
        if not any(record.rtype == query.qtype for record in kept):
            return [self._reply(query, tcp, verdict, info=wire.BLOCKED, detail=notes, address=address)]
        told = self._event(query, verdict, notes)
        told.address = address
        return [self._reply(query, tcp, decision, records=kept), Outcome(None, told)]

    def fail(self, query: Query, tcp: bool, detail: str, code: str = "dns.upstream-failure") -> Outcome:
        """SERVFAIL, for a reason that is not in the query."""
        info = wire.OTHER_ERROR if code == "dns.internal-error" else wire.NETWORK_ERROR
        return self._reply(query, tcp, Decision("deny", code), wire.SERVFAIL, info, detail=detail)

    def overload(self, query: Query, tcp: bool) -> Outcome:
        """Too many questions are out: SERVFAIL, which a stub takes as "try again"."""
        return self._reply(query, tcp, Decision("deny", "dns.limit"), wire.SERVFAIL, wire.PROHIBITED)

    def _answer(self, query: Query, tcp: bool, host: Host, policy: Policy, decision: Decision) -> Outcome:
        """The reply to an allowed question, by type."""
        if query.qtype in _EMPTY_TYPES:
            # No HTTPS record, no ECH keys: the name in the ClientHello stays readable for the egress plane.
            return self._reply(query, tcp, decision, lasting=True)
        if query.qtype not in _TYPES:
            return self._refuse(query, tcp, Decision("deny", "dns.type-refused", decision.rule))
        if self._mode == "self":  # there is no TXT of our own: that reply is empty
            return self._reply(query, tcp, decision, records=_records(query, self._addresses), lasting=True)
        asking = Asking(
            query, (host.text, query.qtype), wire.encode_question(host.text, query.qtype), host, policy, decision
        )
        return Outcome(None, self._event(query, decision), asking, lasting=True)

    def _refuse(self, query: Query, tcp: bool, decision: Decision) -> Outcome:
        if decision.allowed:
            decision = Decision("deny", "dns.not-listed")
        if decision.code != "dns.type-refused":
            return self._reply(query, tcp, decision, wire.NXDOMAIN, wire.BLOCKED, lasting=True)
        return self._reply(query, tcp, decision, wire.REFUSED, wire.PROHIBITED, lasting=True)

    def _refuse_malformed(self, message: bytes, bad: BadQuery) -> Outcome:
        event = Event("decision", "dns", bad.code, verdict="deny", detail=str(bad))
        if bad.query is not None:
            event.host, event.method = bad.query.name, method(bad.query.qtype)
        if bad.rcode is None:
            return Outcome(None, event)
        if bad.query is None:
            return Outcome(wire.encode_error(message, bad.rcode), event)
        error = (wire.OTHER_ERROR, bad.code)
        return Outcome(wire.encode_reply(bad.query, bad.rcode, limit=wire.MIN_UDP, error=error), event)

    def _guard(
        self, policy: Policy, host: Host, records: Sequence[Record]
    ) -> tuple[tuple[Record, ...], list[tuple[str, Decision]]]:
        """The records a client may see, and the addresses withheld with the verdict on each (invariant 3: no rebinding)."""
        if policy is not self._vetted_by or len(self._vetted) > _VETTED_ENTRIES:
            self._vetted_by = policy
            self._vetted.clear()
        kept: list[Record] = []
        withheld: list[tuple[str, Decision]] = []
        for record in records:
            data = record.data
            if record.rtype in _METHODS and isinstance(data, bytes):
                vetted = self._vetted.get((host.text, data))
                if vetted is None:
                    vetted = self._vetted[host.text, data] = _vet(policy, host, data)
                if not vetted[1].allowed:
                    withheld.append(vetted)
                    continue
            kept.append(record)
        return tuple(kept), withheld

    def _reply(
        self,
        query: Query,
        tcp: bool,
        decision: Decision,
        rcode: int = wire.NOERROR,
        info: int | None = None,
        *,
        records: tuple[Record, ...] = (),
        detail: str = "",
        address: str = "",
        lasting: bool = False,
    ) -> Outcome:
        error = None if info is None else (info, decision.code)
        event = self._event(query, decision, detail)
        event.address = address
        limit = wire.MAX_TCP if tcp else query.payload or wire.MIN_UDP
        return Outcome(wire.encode_reply(query, rcode, records, limit=limit, error=error), event, lasting=lasting)

    def _event(self, query: Query, decision: Decision, detail: str = "") -> Event:
        policy = self._live.policy
        return Event(
            "decision",
            "dns",
            decision.code,
            verdict=decision.verdict,
            host=query.name,
            method=method(query.qtype),
            rule=decision.rule,
            policy="" if policy is None else policy.digest[:12],
            detail=detail,
        )


def method(qtype: int) -> str:
    """The event's word for a query type: ``A``, ``AAAA``, else ``TYPE65`` (RFC 3597 5)."""
    return _METHODS.get(qtype) or f"TYPE{qtype}"


def _request(host: Host, query: Query) -> NameRequest:
    """The question for the policy. For HTTPS and SVCB it is about the name alone: their reply is empty whatever the verdict, and
    browsers ask for them beside every address, so a denial for each would bury the real ones."""
    return NameRequest(host, wire.A if query.qtype in _EMPTY_TYPES else query.qtype)


@lru_cache(maxsize=4096)
def _address(data: bytes) -> str:
    """The canonical text of an address in RDATA."""
    return canonical(str(ipaddress.ip_address(data)))


def _vet(policy: Policy, host: Host, data: bytes) -> tuple[str, Decision]:
    """The address and the verdict on it, on the ports that names are allowed on by default; the egress plane judges every dial."""
    address = _address(data)
    decision = policy.decide(AddressRequest(Target(host, 443), address))
    if not decision.allowed:
        on_http = policy.decide(AddressRequest(Target(host, 80), address))
        decision = on_http if on_http.allowed else decision
    return address, decision


def _by_type(addresses: Iterable[str]) -> dict[int, tuple[bytes, ...]]:
    parsed = [ipaddress.ip_address(text) for text in addresses]
    return {
        wire.A: tuple(ip.packed for ip in parsed if ip.version == 4),
        wire.AAAA: tuple(ip.packed for ip in parsed if ip.version == 6),
    }


def _records(query: Query, addresses: Mapping[int, tuple[bytes, ...]]) -> tuple[Record, ...]:
    return tuple(Record(query.name, query.qtype, SELF_TTL, data) for data in addresses.get(query.qtype, ()))
