"""Any text at all: the host parser answers with one canonical host or a `BadTarget`, and parsing again changes nothing."""

from __future__ import annotations

import re

from hypothesis import example, given
from hypothesis import strategies as st

from kap.names.addresses import classify
from kap.names.hosts import BadTarget, Host, Target, parse_authority, parse_host, parse_target
from kap.names.patterns import BadPattern, parse_pattern
from kap.policy.compiler import compile_rules
from kap.policy.request import AddressRequest, EgressRequest, NameRequest

ALLOWED = compile_rules(allow=["api.github.com", "*.example.com"])
ALPHABET = "abxn019-_.*:[]%/\\@ #\x00\u00adßıKＡ。．٣🔐\u200d\u202e"
near_hosts = st.one_of(
    st.text(alphabet=ALPHABET, max_size=40),
    st.lists(
        st.sampled_from(["api", "github", "example", "com", "xn--", "127", "0x7f", "1", "", "evil"]), max_size=6
    ).map(".".join),
    st.tuples(
        st.text(max_size=3),
        st.sampled_from(["api.github.com", "a.example.com", "127.0.0.1", "::1"]),
        st.text(max_size=3),
    ).map("".join),
    st.text(max_size=60),
    st.ip_addresses().map(str),
)


def parsed(text: str) -> Host | None:
    try:
        return parse_host(text)
    except BadTarget:
        return None


@given(near_hosts)
@example("xn--bcher-kva.example.com")
@example("faß.example.com")
def test_parsing_again_changes_nothing(text: str) -> None:
    host = parsed(text)
    if host is not None:
        assert parse_host(str(host)) == host
        assert host.text.isascii() and host.text == host.text.lower()
        assert len(host.text) <= 253
        assert host.is_ip or re.fullmatch(r"[a-z0-9_.-]+", host.text)


@given(near_hosts)
def test_an_authority_is_its_own_canonical_form(text: str) -> None:
    try:
        target = parse_authority(text, 443)
    except BadTarget:
        return
    assert parse_authority(str(target)) == target


@given(near_hosts)
@example("evil.test\u3002api.github.com")
@example("api.github.com\x00.evil.test")
@example("ａｐｉ.github.com")
def test_no_spelling_reaches_a_host_outside_the_allowlist(text: str) -> None:
    try:
        _, target = parse_target(text)
    except BadTarget:
        return
    allowed = ALLOWED.decide(EgressRequest(target)).allowed
    name = target.host.text
    listed = target.port in (80, 443) and (
        name == "api.github.com" or (name.endswith(".example.com") and len(name) > 12)
    )
    assert allowed == listed


@given(near_hosts)
def test_a_pattern_is_its_own_canonical_form_and_suggestions_are_patterns(text: str) -> None:
    try:
        pattern = parse_pattern(text)
    except BadPattern as bad:
        assert bad.message
        if bad.suggestion:
            assert parse_pattern(bad.suggestion).text == bad.suggestion
        return
    assert parse_pattern(pattern.text) == pattern


@given(near_hosts)
def test_a_host_pattern_includes_exactly_its_host(text: str) -> None:
    host = parsed(text)
    if host is not None:
        assert parse_pattern(host.text).matches_host(host)


@given(st.text(max_size=40), st.integers(-5, 70_000), st.integers(0, 300), st.booleans())
def test_decide_is_total_even_for_hosts_no_parser_made(text: str, port: int, qtype: int, is_ip: bool) -> None:
    target = Target(Host(text, is_ip), port)
    for request in (EgressRequest(target), AddressRequest(target, text), NameRequest(target.host, qtype)):
        decision = ALLOWED.decide(request)
        assert decision.verdict in ("allow", "deny")
        assert decision.code


@given(st.ip_addresses())
def test_every_address_has_a_class_and_mapped_is_the_same(address: object) -> None:
    found = classify(str(address))
    assert found.is_global == (found.name == "global")
    if ":" not in str(address):
        assert classify(f"::ffff:{address}") == found


@given(st.ip_addresses())
def test_only_public_addresses_pass_without_a_grant(address: object) -> None:
    target = parse_authority("api.github.com:443")
    decision = ALLOWED.decide(AddressRequest(target, str(address)))
    assert decision.code == ("egress.allowed" if classify(str(address)).is_global else "egress.address-not-global")
