"""Config -> `Policy`: a frozen value with a digest. Compiling the same rules gives the same digest, whatever their order.

A network rule counts as a grant of non-global addresses only where it lies wholly inside one special-purpose block: ``10.1.0.0/16``
is spelled out, ``0.0.0.0/0`` is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

import msgspec

from kap.config.effective import Config, Effect, LayerName, Rule
from kap.config.merge import builtin_rules
from kap.errors import ConfigError
from kap.names.addresses import special_range
from kap.names.hosts import is_loopback_name
from kap.names.patterns import BadPattern, Pattern, parse_pattern
from kap.policy.decision import Decision, RuleRef
from kap.policy.engine import Rulebook, decide
from kap.policy.index import Entry, NameIndex, NetworkIndex
from kap.policy.request import Request

_LOOPBACK = {4: 0x7F000001, 6: 1}
_FORMAT = "kap-policy-1"  # part of every digest: a change of meaning is a change of policy


class Policy(msgspec.Struct, frozen=True):
    """Compiled rules, frozen. `digest`: sha256 (hex) over the canonical rules. `config`: what it was compiled from."""

    digest: str
    config: Config
    book: Rulebook

    def decide(self, request: Request) -> Decision:
        """The decision for any request; never raises, ends in deny. Precedence: `kap.policy.engine`."""
        return decide(self.book, request)


def compile(config: Config) -> Policy:  # the verb of the contract
    """Compile checked rules; raises `ConfigError` on a pattern that does not parse (a loaded Config has none)."""
    parsed = [(rule, _pattern(config, rule)) for rule in config.rules]
    names, networks, grants, ech = NameIndex(), NetworkIndex(), NetworkIndex(), NameIndex()
    for rule, pattern in parsed:
        ref = RuleRef(rule.layer, rule.route, rule.text, rule.via)
        network = pattern.kind == "network"
        if rule.effect == "private" or (rule.effect == "allow" and network):
            _add_grant(grants, pattern, ref, every_port=rule.effect == "private")
        if rule.effect == "deny" and rule.layer == "builtin":
            _entry(names, networks, pattern).add_always(ref)
        elif rule.effect == "deny":
            _entry(names, networks, pattern).add_deny(pattern, ref)
        elif rule.effect == "allow":
            _entry(names, networks, pattern).add_allow(pattern, ref)
        elif rule.effect == "ech" and not network:
            ech.entry(pattern).add_allow(pattern, ref)
    _close_loopback_names(names, grants)
    has_ech = ech.any is not None or bool(ech.exact) or bool(ech.suffix)
    return Policy(_digest(parsed), config, Rulebook(names, networks, grants, ech if has_ech else None))


def compile_rules(
    allow: Iterable[str] = (),
    deny: Iterable[str] = (),
    private: Iterable[str] = (),
    ech: Iterable[str] = (),
    *,
    layer: LayerName = "project",
) -> Policy:
    """A policy of plain texts and the built-in rules, with the routes the texts would have in a file; raises as `compile` does."""
    lists: tuple[tuple[Effect, Iterable[str]], ...] = (
        ("allow", allow),
        ("deny", deny),
        ("private", private),
        ("ech", ech),
    )
    rules = tuple(
        Rule(effect, text, layer, ("proxy", "network", effect, index))
        for effect, texts in lists
        for index, text in enumerate(texts)
    )
    return compile(Config(layers=(), rules=(*builtin_rules(), *rules)))


def _pattern(config: Config, rule: Rule) -> Pattern:
    try:
        pattern = parse_pattern(rule.text, rule.effect)
        if rule.effect == "private" and (pattern.kind != "network" or pattern.port is not None):
            raise BadPattern('a private grant is a range of addresses without port, such as "10.1.0.0/16"')
        return pattern
    except BadPattern as bad:
        path, line = config.locate(rule.layer, rule.route)
        where = f"{path}:{line}: " if path else ""
        raise ConfigError(
            f"{where}{rule.text!a} is not a rule: {bad.message}", f'write "{bad.suggestion}"' if bad.suggestion else ""
        ) from bad


def _entry(names: NameIndex, networks: NetworkIndex, pattern: Pattern) -> Entry:
    return networks.entry(pattern) if pattern.kind == "network" else names.entry(pattern)


def _add_grant(grants: NetworkIndex, pattern: Pattern, ref: RuleRef, *, every_port: bool) -> None:
    """Record a network that is spelled out as non-global. Port 0 stands for every port of a private grant."""
    network = pattern.network
    if network is None or not special_range(network):
        return
    entry = grants.entry(pattern)
    entry.exact = network.prefixlen == network.max_prefixlen
    for port, wire in ((0, "tls"),) if every_port else pattern.ports():
        if port not in entry.ports:
            entry.allow_port(port, ref, wire)


def _close_loopback_names(names: NameIndex, grants: NetworkIndex) -> None:
    """``localhost`` and what is below it open only where the name is written *and* loopback is granted (RFC 6761 6.3)."""
    granted = any(grants.find(version, value) for version, value in _LOOPBACK.items())
    for table in (names.exact, names.suffix):
        for name, entry in table.items():
            if is_loopback_name(name) and entry.listed is not None and not (granted and table is names.exact):
                refused = Decision("deny", "egress.address-not-global", entry.listed.rule)
                entry.close(refused, Decision("deny", "dns.not-listed", refused.rule))


def _digest(parsed: Sequence[tuple[Rule, Pattern]]) -> str:
    rules = sorted([rule.effect, pattern.text, rule.layer, rule.via] for rule, pattern in parsed)
    text = json.dumps([_FORMAT, rules], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
