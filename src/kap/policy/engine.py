"""What `Policy.decide` does: the one engine for verdicts. Total: it answers every request, never raises, and ends in deny.

Precedence for a name or an address literal:
1. a deny rule of any layer (without port: every port);
2. what is always denied (``[preset.never]`` of the built-in data), unless a rule of a person names exactly that host;
3. an allow rule that lists the port: the most specific pattern's (exact, longest ``*.``, ``*``; longest prefix of a network);
   an address literal that is not global must also be granted, by a network spelled out as non-global;
4. port-not-listed where the host is allowed on another port; 5. not-listed.
"""

from __future__ import annotations

import msgspec

from kap.names.addresses import AddressClass, classify
from kap.names.hosts import Target
from kap.policy.decision import Decision
from kap.policy.index import NameRules, NetworkRules, Table
from kap.policy.request import AddressRequest, EgressRequest, NameRequest, Request

_NOT_LISTED = Decision("deny", "egress.not-listed")
_IP_NOT_LISTED = Decision("deny", "egress.ip-not-listed")
_NOT_GLOBAL = Decision("deny", "egress.address-not-global")
_INTERNAL_ERROR = Decision("deny", "egress.internal-error")
_ADDRESS_ALLOWED = Decision("allow", "egress.allowed")
_DNS_NOT_LISTED = Decision("deny", "dns.not-listed")
_DNS_TYPE_REFUSED = Decision("deny", "dns.type-refused")
_DNS_INTERNAL_ERROR = Decision("deny", "dns.internal-error")
EVERY_PORT = 0  # in the entries of private grants
_ANSWERED_TYPES = frozenset({1, 16, 28})  # A, TXT, AAAA (RFC 1035 3.2.2, RFC 3596 2.1)


class Rulebook(msgspec.Struct, frozen=True):
    """The compiled rules. `names`, `networks`: allow and deny rules. `grants`: networks spelled out as non-global, which addresses
    behind allowed names may lie in. `ech`, by port: hosts that may use Encrypted ClientHello. `twins`: each allow decision, by its
    identity, and the same with ECH let through (both are empty where no rule speaks of ECH)."""

    names: NameRules
    networks: NetworkRules
    grants: NetworkRules
    ech: dict[int, Table[bool]]
    twins: dict[int, Decision]


def decide_egress(book: Rulebook, target: Target) -> Decision:
    """May a connection to `target` be made? For an address literal the address itself is judged too."""
    host, port = target.host, target.port
    if host.is_ip:
        return _decide_literal(book, classify(host.text), port)
    name, names = host.text, book.names
    always = None
    for refusal in names.refusals.every(name):
        if refusal.deny is not None:
            return refusal.deny[0]
        if port in refusal.deny_ports:
            return refusal.deny_ports[port]
        always = always or refusal.always
    table = names.ports.get(port)
    if always is None:
        allow = None if table is None else table.find(name)
    elif name in names.opened:  # only the exact rule counts then, not a wildcard that lists another port
        allow = None if table is None else table.exact.get(name)
    else:
        return always[0]
    if allow is None:
        known = names.known.find(name)
        return _NOT_LISTED if known is None else known[0]
    if book.ech and port in book.ech and book.ech[port].find(name):
        return book.twins[id(allow)]
    return allow


def _decide_literal(book: Rulebook, found: AddressClass, port: int) -> Decision:
    """An address literal: only a network rule lists it, and one that is not global must be spelled out."""
    allow = listed = always = None
    for entry in book.networks.find(found.version, found.value):
        if entry.deny is not None:
            return entry.deny[0]
        if port in entry.deny_ports:
            return entry.deny_ports[port]
        allow = allow or entry.ports.get(port)
        listed = listed or entry.listed
        if entry.always is not None and found.name == "metadata":
            always = always or entry.always[0]
    if allow is None:
        if not found.is_global and not book.grants.find(found.version, found.value):
            listed = None  # a rule as wide as 0.0.0.0/0 says nothing about what is not public
        return listed or always or _IP_NOT_LISTED
    if not found.is_global and _grant(book, found, port) is None:
        return Decision("deny", "egress.address-not-global", allow.rule)
    return allow


def decide_address(book: Rulebook, target: Target, address: str) -> Decision:
    """May the allowed `target` be dialled at `address`? Global: yes, unless a network is denied. Else: only where granted."""
    found = classify(address)
    for entry in book.networks.find(found.version, found.value):
        if entry.deny is not None:
            return entry.deny[0]
        if target.port in entry.deny_ports:
            return entry.deny_ports[target.port]
    if found.is_global:
        return _ADDRESS_ALLOWED
    return _grant(book, found, target.port) or _NOT_GLOBAL


def _grant(book: Rulebook, found: AddressClass, port: int) -> Decision | None:
    """The decision of the grant that covers a non-global address, and what is embedded in it; None where it is not granted.

    A metadata address takes a grant of exactly that address.
    """
    granted: Decision | None = None
    for entry in book.grants.find(found.version, found.value):
        granted = (
            entry.ports.get(port) or entry.ports.get(EVERY_PORT) if found.name != "metadata" or entry.single else None
        )
        if granted is not None:
            break
    if granted is None or not found.embedded:
        return granted
    inner = classify(found.embedded)
    return granted if inner.is_global or _grant(book, inner, port) is not None else None


def decide_name(book: Rulebook, request: NameRequest) -> Decision:
    """May the name be resolved? Allowed where a rule allows the host on any port; then only A, AAAA and TXT are answered."""
    if request.host.is_ip:
        return _DNS_NOT_LISTED
    name, names = request.host.text, book.names
    always = None
    for refusal in names.refusals.every(name):
        if refusal.deny is not None:
            return refusal.deny[1]
        always = always or refusal.always
    if always is not None and name not in names.opened:
        return always[1]
    known = names.known.find(name)
    if known is None:
        return _DNS_NOT_LISTED
    if known[1].verdict == "allow" and request.qtype not in _ANSWERED_TYPES:
        return _DNS_TYPE_REFUSED
    return known[1]


def decide(book: Rulebook, request: Request) -> Decision:
    """The decision for any request. Never raises: what goes wrong inside is a deny."""
    try:
        if isinstance(request, EgressRequest):
            return decide_egress(book, request.target)
        if isinstance(request, AddressRequest):
            return decide_address(book, request.target, request.address)
        return decide_name(book, request)
    except Exception:  # noqa: BLE001  # fail closed: whatever it is, the answer is no
        return _DNS_INTERNAL_ERROR if isinstance(request, NameRequest) else _INTERNAL_ERROR
