"""The engine against a slow reading of its own rules: any small policy, any host near it, the same code by both."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kap.names.hosts import Host, Target, parse_authority
from kap.names.patterns import Pattern, parse_pattern
from kap.policy.compiler import compile_rules
from kap.policy.request import EgressRequest, NameRequest

names = st.lists(st.sampled_from(["a", "b", "example", "com", "local"]), min_size=1, max_size=4).map(".".join)
ports = st.sampled_from(["", ":22", ":443", ":80", ":9000/tcp"])
hosts = st.one_of(names, names.filter(lambda name: "." in name).map("*.".__add__), st.just("*"))
networks = st.sampled_from(["10.0.0.0/8", "10.1.0.0/16", "10.1.1.1", "8.8.0.0/16", "0.0.0.0/0"])
rules = st.lists(st.tuples(st.one_of(hosts, networks), ports).map("".join), max_size=6)
addresses = st.sampled_from(["10.1.1.1", "10.1.2.2", "10.9.9.9", "8.8.8.8", "9.9.9.9"])
targets = st.tuples(st.one_of(names, addresses), st.sampled_from([22, 80, 443, 9000])).map(
    lambda pair: f"{pair[0]}:{pair[1]}"
)


def slow(allow: list[str], deny: list[str], target: Target) -> str:
    """Precedence read off its documentation, rule by rule. No name here is one that is always denied."""
    listed = [parse_pattern(text) for text in allow]
    for pattern in map(parse_pattern, deny):
        everything = pattern.kind == "any"  # a denied * is everything, an allowed one is public names
        if (everything or pattern.matches_host(target.host)) and pattern.port in (None, target.port):
            return "egress.deny-rule"
    covering = [pattern for pattern in listed if pattern.matches_host(target.host)]
    open_here = [pattern for pattern in covering if pattern.matches(target)]
    if target.host.is_ip and target.host.text.startswith("10."):
        spelled = [pattern for pattern in covering if str(pattern.network).startswith("10.")]
        if not any(pattern.matches(target) for pattern in spelled):
            if open_here:
                return "egress.address-not-global"
            return "egress.port-not-listed" if spelled else "egress.ip-not-listed"
    if open_here:
        return "egress.allowed"
    if covering:
        return "egress.port-not-listed"
    return "egress.ip-not-listed" if target.host.is_ip else "egress.not-listed"


@given(rules, rules, targets)
def test_the_engine_says_what_a_slow_reading_says(allow: list[str], deny: list[str], authority: str) -> None:
    target = parse_authority(authority)
    decision = compile_rules(allow=allow, deny=deny).decide(EgressRequest(target))
    assert decision.code == slow(allow, deny, target)
    if decision.rule is not None and decision.code != "egress.deny-rule":
        assert parse_pattern(decision.rule.text).matches_host(target.host), "the rule named is one about this host"


@given(rules, rules, targets)
def test_the_order_of_rules_and_a_longer_deny_list_never_open_anything(
    allow: list[str], deny: list[str], authority: str
) -> None:
    request = EgressRequest(parse_authority(authority))
    policy, shuffled = compile_rules(allow=allow, deny=deny), compile_rules(allow=allow[::-1], deny=deny[::-1])
    assert policy.digest == shuffled.digest
    assert policy.decide(request).verdict == shuffled.decide(request).verdict
    stricter = compile_rules(allow=allow, deny=[*deny, "*.example.com"])
    assert policy.decide(request).allowed or not stricter.decide(request).allowed


def specificity(pattern: Pattern) -> int:
    return {"host": 1000, "suffix": len(pattern.host), "any": 0}.get(pattern.kind, 0)


@given(rules, names)
def test_a_name_resolves_where_some_port_is_open(allow: list[str], name: str) -> None:
    policy = compile_rules(allow=allow)
    resolved = policy.decide(NameRequest(Host(name)))
    reachable = any(policy.decide(EgressRequest(Target(Host(name), port))).allowed for port in (22, 80, 443, 9000))
    assert resolved.allowed == reachable
    if resolved.rule is not None:
        best = max(specificity(parse_pattern(text)) for text in allow if parse_pattern(text).matches_host(Host(name)))
        assert specificity(parse_pattern(resolved.rule.text)) == best
