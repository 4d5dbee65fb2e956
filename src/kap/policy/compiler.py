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
from kap.policy.engine import EVERY_PORT, Rulebook, decide
from kap.policy.index import NameRules, NetworkRules, Refusal, Table
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
    refs = [(rule.effect, pattern, RuleRef(rule.layer, rule.route, rule.text, rule.via)) for rule, pattern in parsed]
    names, networks, grants = NameRules(), NetworkRules(), NetworkRules()
    ech: dict[int, Table[bool]] = {}
    for effect, pattern, ref in refs:
        if pattern.kind == "network" and effect in ("allow", "private"):
            _add_grant(grants, pattern, ref, every_port=effect == "private")
    loopback = any(grants.find(version, value) for version, value in _LOOPBACK.items())
    for effect, pattern, ref in refs:
        if effect == "deny":
            _add_refusal(names, networks, pattern, ref)
        elif effect == "ech":
            for port, _ in pattern.ports() if pattern.kind != "network" else ():
                ech.setdefault(port, Table()).put(pattern, True)
        elif effect == "allow" and pattern.kind == "network":
            networks.entry(pattern).allow(pattern, ref)
        elif effect == "allow" and is_loopback_name(pattern.host) and not (loopback and pattern.kind == "host"):
            names.close(pattern, ref)  # localhost opens only where it is written out *and* loopback is granted
        elif effect == "allow":
            names.allow(pattern, ref)
    twins = _twins(names) if ech else {}
    return Policy(_digest(parsed), config, Rulebook(names, networks, grants, ech, twins))


def _add_refusal(names: NameRules, networks: NetworkRules, pattern: Pattern, ref: RuleRef) -> None:
    """A deny rule, or a built-in denial. A denied ``*`` is everything: every name, local ones too, and every address."""
    places: list[Refusal] = [networks.entry(pattern) if pattern.kind == "network" else names.refusal(pattern)]
    if pattern.kind == "any":
        places += [networks.entry(parse_pattern(everything)) for everything in ("0.0.0.0/0", "::/0")]
    for place in places:
        if ref.layer == "builtin":
            place.add_always(ref)
        else:
            place.add_deny(pattern, ref)


def _twins(names: NameRules) -> dict[int, Decision]:
    """The allow decisions of names, by identity, with ECH let through."""
    return {
        id(one): msgspec.structs.replace(one, ech=True)
        for table in names.ports.values()
        for one in (*table.exact.values(), *table.suffix.values(), *((table.any,) if table.any else ()))
    }


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


def _add_grant(grants: NetworkRules, pattern: Pattern, ref: RuleRef, *, every_port: bool) -> None:
    """Record a network that is spelled out as non-global."""
    network = pattern.network
    if network is None or not special_range(network):
        return
    entry = grants.entry(pattern)
    for port, wire in ((EVERY_PORT, "tls"),) if every_port else pattern.ports():
        entry.allow_port(port, ref, wire)


def _digest(parsed: Sequence[tuple[Rule, Pattern]]) -> str:
    rules = sorted([rule.effect, pattern.text, rule.layer, rule.via] for rule, pattern in parsed)
    text = json.dumps([_FORMAT, rules], separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
