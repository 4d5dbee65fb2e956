"""Precedence as tables: verdict, code *and* the rule that decided."""

from __future__ import annotations

import pytest

from kap.config.effective import Config, Rule
from kap.config.merge import builtin_rules
from kap.errors import ConfigError
from kap.names.hosts import Host, Target, parse_authority, parse_host
from kap.policy.codes import CODES
from kap.policy.compiler import Policy, compile, compile_rules
from kap.policy.decision import Decision
from kap.policy.engine import decide
from kap.policy.request import AddressRequest, EgressRequest, NameRequest

POLICY = compile_rules(
    allow=[
        "example.com",
        "*.example.com",
        "deep.a.example.com:8443/tcp",
        "git.example.org:22",
        "git.example.org",
        "db.example.org:5432/tcp",
        "10.1.0.0/16",
        "10.1.2.0/24:8080/http",
        "192.0.2.7:25/tcp",
        "8.8.0.0/16",
        "0.0.0.0/0:8443",
        "2001:db8::/32",
        "169.254.169.254",
        "::1",
    ],
    deny=["bad.example.com", "*.worse.example.com", "half.example.com:80", "8.8.4.0/24", "8.8.8.8:80"],
)


def egress(policy: Policy, authority: str) -> tuple[str, str]:
    """Code, and the text of the rule that decided ("" for none)."""
    decision = policy.decide(EgressRequest(parse_authority(authority, 443)))
    assert decision.allowed == (decision.code == "egress.allowed")
    assert decision.code in CODES
    return decision.code, decision.rule.text if decision.rule else ""


@pytest.mark.parametrize(
    ("authority", "code", "rule"),
    [
        ("example.com", "egress.allowed", "example.com"),
        ("example.com:80", "egress.allowed", "example.com"),
        ("example.com:22", "egress.port-not-listed", "example.com"),
        ("a.example.com", "egress.allowed", "*.example.com"),
        ("a.b.c.example.com", "egress.allowed", "*.example.com"),
        ("notexample.com", "egress.not-listed", ""),
        ("example.com.evil.test", "egress.not-listed", ""),
        ("com", "egress.not-listed", ""),
        # the most specific pattern decides
        ("deep.a.example.com:8443", "egress.allowed", "deep.a.example.com:8443/tcp"),
        ("deep.a.example.com:443", "egress.allowed", "*.example.com"),
        ("deep.a.example.com:9999", "egress.port-not-listed", "deep.a.example.com:8443/tcp"),
        ("git.example.org:22", "egress.allowed", "git.example.org:22"),
        ("git.example.org:443", "egress.allowed", "git.example.org"),
        ("db.example.org", "egress.port-not-listed", "db.example.org:5432/tcp"),
        # deny wins, with and without port
        ("bad.example.com", "egress.deny-rule", "bad.example.com"),
        ("bad.example.com:9999", "egress.deny-rule", "bad.example.com"),
        ("a.bad.example.com", "egress.allowed", "*.example.com"),
        ("a.worse.example.com", "egress.deny-rule", "*.worse.example.com"),
        ("worse.example.com", "egress.allowed", "*.example.com"),
        ("half.example.com:80", "egress.deny-rule", "half.example.com:80"),
        ("half.example.com:443", "egress.allowed", "*.example.com"),
        # address literals: only CIDR rules, and not global only where spelled out
        ("10.1.9.9", "egress.allowed", "10.1.0.0/16"),
        ("10.1.2.9:8080", "egress.allowed", "10.1.2.0/24:8080/http"),
        ("10.1.2.9:443", "egress.allowed", "10.1.0.0/16"),
        ("10.1.2.9:22", "egress.port-not-listed", "10.1.2.0/24:8080/http"),
        ("10.2.0.1:8443", "egress.address-not-global", "0.0.0.0/0:8443"),
        ("9.9.9.9:8443", "egress.allowed", "0.0.0.0/0:8443"),
        ("9.9.9.9", "egress.port-not-listed", "0.0.0.0/0:8443"),
        ("8.8.8.8", "egress.allowed", "8.8.0.0/16"),
        ("8.8.8.8:80", "egress.deny-rule", "8.8.8.8:80"),
        ("8.8.4.4", "egress.deny-rule", "8.8.4.0/24"),
        ("192.0.2.7:25", "egress.allowed", "192.0.2.7:25/tcp"),
        ("[2001:db8::9]:443", "egress.allowed", "2001:db8::/32"),
        ("[2606:4700::1]:443", "egress.ip-not-listed", ""),
        ("[::ffff:10.1.9.9]:443", "egress.allowed", "10.1.0.0/16"),
        ("[64:ff9b::a01:909]:443", "egress.ip-not-listed", ""),
        ("169.254.169.254", "egress.allowed", "169.254.169.254"),
        ("169.254.170.2:8443", "egress.address-not-global", "0.0.0.0/0:8443"),
        ("168.63.129.16", "egress.always-denied", "168.63.129.16/32"),
        ("10.2.0.1:25", "egress.ip-not-listed", ""),
        ("[fd00:ec2::254]:443", "egress.always-denied", "fd00:ec2::254/128"),
        ("[::1]:443", "egress.allowed", "::1"),
    ],
)
def test_precedence(authority: str, code: str, rule: str) -> None:
    assert egress(POLICY, authority) == (code, rule)


@pytest.mark.parametrize(
    ("authority", "wire"),
    [
        ("example.com:443", "tls"),
        ("example.com:80", "http"),
        ("git.example.org:22", "ssh"),
        ("db.example.org:5432", "tcp"),
        ("deep.a.example.com:8443", "tcp"),
        ("10.1.2.9:8080", "http"),
        ("9.9.9.9:8443", "auto"),
    ],
)
def test_what_may_be_spoken(authority: str, wire: str) -> None:
    assert POLICY.decide(EgressRequest(parse_authority(authority))).wire == wire


def test_a_written_wire_beats_a_ports_default_and_the_first_rule_beats_later_ones() -> None:
    policy = compile_rules(allow=["example.com", "example.com:443/tcp", "example.com:443/auto"])
    decision = policy.decide(EgressRequest(parse_authority("example.com:443")))
    assert decision.rule is not None
    assert (decision.wire, decision.rule.text) == ("tcp", "example.com:443/tcp")
    assert policy.decide(EgressRequest(parse_authority("example.com:80"))).wire == "http"


def test_a_star_includes_public_names_only() -> None:
    policy = compile_rules(allow=["*"])
    assert egress(policy, "anything.example.com") == ("egress.allowed", "*")
    for name in (
        "localhost",
        "a.localhost",
        "printer.local",
        "x.internal",
        "intranet",
        "192.0.2.7",
        "9.9.9.9",
        "[::1]",
    ):
        assert egress(policy, name)[0] in ("egress.not-listed", "egress.ip-not-listed"), name


ALWAYS = [
    "dns.google",
    "cloudflare-dns.com",
    "mozilla.cloudflare-dns.com",
    "x.adguard-dns.com",
    "use-application-dns.net",
]


@pytest.mark.parametrize("name", ALWAYS)
def test_encrypted_dns_is_opened_by_its_exact_name_only(name: str) -> None:
    parent = "*." + name.partition(".")[2]
    wide = ["*"] + ([parent] if parent.count(".") > 1 else [])
    assert egress(compile_rules(allow=wide), name)[0] == "egress.always-denied"
    assert egress(compile_rules(allow=[*wide, name]), name) == ("egress.allowed", name)
    assert egress(compile_rules(allow=[*wide, name], deny=[name]), name) == ("egress.deny-rule", name)


def test_an_exact_rule_opens_only_the_port_it_names() -> None:
    policy = compile_rules(allow=["*", "dns.google:853/tls"])
    assert egress(policy, "dns.google:853") == ("egress.allowed", "dns.google:853/tls")
    assert egress(policy, "dns.google:443") == ("egress.port-not-listed", "dns.google:853/tls")


@pytest.mark.parametrize("name", ["metadata.google.internal", "metadata", "instance-data", "x.google.internal"])
def test_cloud_metadata_names_are_always_denied(name: str) -> None:
    assert egress(compile_rules(allow=["*"]), name)[0] == "egress.always-denied"


def layered(*rules: Rule) -> Policy:
    return compile(Config(layers=(), rules=(*builtin_rules(), *rules)))


def test_a_deny_of_any_layer_wins_over_every_allow() -> None:
    policy = layered(
        Rule("deny", "example.com", "global", ("proxy", "network", "deny", 0)),
        Rule("allow", "example.com", "project", ("proxy", "network", "allow", 0)),
        Rule("allow", "example.com", "run", ("allow", 0)),
    )
    decision = policy.decide(EgressRequest(parse_authority("example.com:443")))
    assert (decision.code, decision.rule.layer if decision.rule else "") == ("egress.deny-rule", "global")
    policy = layered(
        Rule("allow", "*.example.com", "global", ("proxy", "network", "allow", 0)),
        Rule("deny", "*.example.com", "run", ("deny", 0)),
    )
    assert egress(policy, "a.example.com")[0] == "egress.deny-rule"


def test_a_builtin_allow_does_not_open_what_is_always_denied() -> None:
    policy = layered(Rule("allow", "dns.google", "builtin", ("x", 0)))
    assert egress(policy, "dns.google")[0] == "egress.always-denied"


@pytest.mark.parametrize(
    ("allow", "private", "code"),
    [
        (["localhost"], [], "egress.address-not-global"),
        (["localhost"], ["10.0.0.0/8"], "egress.address-not-global"),
        (["localhost"], ["127.0.0.0/8"], "egress.allowed"),
        (["localhost"], ["::1"], "egress.allowed"),
        (["*"], ["127.0.0.0/8"], "egress.not-listed"),
        (["*.a.localhost"], ["127.0.0.0/8"], "egress.not-listed"),
    ],
)
def test_localhost_needs_its_name_and_a_grant(allow: list[str], private: list[str], code: str) -> None:
    assert egress(compile_rules(allow=allow, private=private), "localhost")[0] == code


def test_below_localhost_a_wildcard_opens_nothing() -> None:
    policy = compile_rules(allow=["*.a.localhost"], private=["127.0.0.0/8"])
    assert egress(policy, "x.a.localhost")[0] == "egress.address-not-global"
    assert policy.decide(NameRequest(parse_host("x.a.localhost"))).code == "dns.not-listed"


@pytest.mark.parametrize(
    ("address", "code", "rule"),
    [
        ("9.9.9.9", "egress.allowed", ""),
        ("2606:4700::1", "egress.allowed", ""),
        ("10.9.9.9", "egress.allowed", "10.0.0.0/8"),
        ("::ffff:10.9.9.9", "egress.allowed", "10.0.0.0/8"),
        ("192.168.1.1", "egress.address-not-global", ""),
        ("127.0.0.1", "egress.address-not-global", ""),
        ("::1", "egress.address-not-global", ""),
        ("fd00::1", "egress.address-not-global", ""),
        ("172.16.0.1", "egress.allowed", "172.16.0.0/12:443"),
        ("169.254.1.1", "egress.allowed", "169.254.0.0/16"),
        ("169.254.169.254", "egress.address-not-global", ""),
        ("100.100.100.200", "egress.allowed", "100.100.100.200/32"),
        ("100.100.100.201", "egress.address-not-global", ""),
        ("64:ff9b::a09:909", "egress.allowed", "64:ff9b::/96"),
        ("64:ff9b::808:808", "egress.allowed", "64:ff9b::/96"),
        ("64:ff9b::c0a8:101", "egress.address-not-global", ""),
        ("64:ff9b::a9fe:a9fe", "egress.address-not-global", ""),
        ("2002:a09:909::1", "egress.address-not-global", ""),
        ("8.8.4.4", "egress.deny-rule", "8.8.4.0/24"),
        ("not an address", "egress.internal-error", ""),
        ("", "egress.internal-error", ""),
    ],
)
def test_addresses_behind_names(address: str, code: str, rule: str) -> None:
    policy = compile_rules(
        allow=["example.com", "172.16.0.0/12:443", "0.0.0.0/0"],
        deny=["8.8.4.0/24"],
        private=["10.0.0.0/8", "169.254.0.0/16", "100.100.100.200/32", "64:ff9b::/96", "192.168.0.0/15"],
    )
    decision = policy.decide(AddressRequest(parse_authority("example.com:443"), address))
    assert (decision.code, decision.rule.text if decision.rule else "") == (code, rule)
    assert decision.allowed == (code == "egress.allowed")


def test_a_cidr_rule_grants_its_own_ports_only() -> None:
    policy = compile_rules(allow=["example.com", "10.0.0.0/8:8443/tcp"])
    assert (
        policy.decide(AddressRequest(parse_authority("example.com:443"), "10.1.1.1")).code
        == "egress.address-not-global"
    )
    assert policy.decide(AddressRequest(parse_authority("example.com:8443"), "10.1.1.1")).code == "egress.allowed"


@pytest.mark.parametrize(
    ("name", "qtype", "code"),
    [
        ("example.com", 1, "dns.allowed"),
        ("example.com", 28, "dns.allowed"),
        ("example.com", 65, "dns.type-refused"),
        ("example.com", 64, "dns.type-refused"),
        ("example.com", 16, "dns.allowed"),
        ("example.com", 15, "dns.type-refused"),
        ("example.com", 255, "dns.type-refused"),
        ("db.example.org", 1, "dns.allowed"),
        ("half.example.com", 1, "dns.allowed"),
        ("bad.example.com", 1, "dns.deny-rule"),
        ("bad.example.com", 16, "dns.deny-rule"),
        ("evil.test", 1, "dns.not-listed"),
        ("evil.test", 16, "dns.not-listed"),
        ("dns.google", 1, "dns.always-denied"),
        ("192.0.2.7", 1, "dns.not-listed"),
    ],
)
def test_names(name: str, qtype: int, code: str) -> None:
    decision = POLICY.decide(NameRequest(parse_host(name), qtype))
    assert decision.code == code
    assert decision.allowed == (code == "dns.allowed")


def test_encrypted_client_hello_only_where_a_rule_says_so() -> None:
    policy = compile_rules(allow=["*.example.com", "example.com:8443"], ech=["ech.example.com", "*.wide.example.com"])
    for name, ech in (("ech.example.com", True), ("a.wide.example.com", True), ("other.example.com", False)):
        assert policy.decide(EgressRequest(parse_authority(name, 443))).ech is ech
    assert (
        compile_rules(ech=["example.com"]).decide(EgressRequest(parse_authority("example.com", 443))).verdict == "deny"
    )


class Exploding:
    """A rulebook part whose every use is a bug."""

    def find(self, *_: object) -> list[object]:
        raise RuntimeError("a bug in the index")


def test_a_denied_star_is_everything() -> None:
    allow = ["*", "example.com", "printer.local", "localhost", "9.9.9.9", "10.0.0.0/8"]
    policy = compile_rules(allow=allow, deny=["*"], private=["127.0.0.0/8"])
    for target in ("example.com", "printer.local", "localhost", "9.9.9.9", "10.1.1.1"):
        assert egress(policy, target) == ("egress.deny-rule", "*")
    assert policy.decide(NameRequest(parse_host("example.com"))).code == "dns.deny-rule"
    policy = compile_rules(allow=[*allow, "*:25/tcp"], deny=["*:25"])
    assert egress(policy, "example.com:25") == ("egress.deny-rule", "*:25")
    assert egress(policy, "example.com") == ("egress.allowed", "example.com")


def test_a_bug_inside_is_a_deny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kap.policy.index.Table.every", Exploding.find)
    monkeypatch.setattr("kap.policy.index.NetworkRules.find", Exploding.find)
    target = parse_authority("example.com:443")
    assert POLICY.decide(EgressRequest(target)) == Decision("deny", "egress.internal-error")
    assert POLICY.decide(AddressRequest(target, "9.9.9.9")) == Decision("deny", "egress.internal-error")
    assert POLICY.decide(NameRequest(target.host)) == Decision("deny", "dns.internal-error")


def test_nonsense_is_a_deny() -> None:
    assert decide(POLICY.book, None).code == "egress.internal-error"  # type: ignore[arg-type]
    assert POLICY.decide(EgressRequest(Target(Host("127.1", True), 443))).code == "egress.internal-error"
    assert POLICY.decide(EgressRequest(Target(Host("EXAMPLE.com"), 443))).code == "egress.not-listed"


def test_an_empty_policy_allows_nothing() -> None:
    policy = compile_rules()
    assert egress(policy, "example.com") == ("egress.not-listed", "")
    assert egress(policy, "9.9.9.9") == ("egress.ip-not-listed", "")
    assert policy.decide(NameRequest(parse_host("example.com"))).code == "dns.not-listed"


def test_the_digest_names_the_meaning() -> None:
    one = compile_rules(allow=["a.example.com", "b.example.com"])
    other_order = compile_rules(allow=["b.example.com", "A.example.com."])
    more = compile_rules(allow=["a.example.com", "b.example.com"], private=["10.0.0.0/8"])
    assert len(one.digest) == 64
    assert one.digest == other_order.digest
    assert one.digest != more.digest
    assert one.digest != compile_rules(allow=["a.example.com", "b.example.com"], layer="global").digest


@pytest.mark.parametrize("effect", ["allow", "deny", "private", "ech"])
def test_a_rule_that_does_not_parse_stops_the_compiler(effect: str) -> None:
    with pytest.raises(ConfigError, match="is not a rule"):
        compile_rules(**{effect: ["*hub.com"]})  # type: ignore[arg-type]


def test_a_private_grant_is_a_range() -> None:
    for text in ("example.com", "10.0.0.0/8:443"):
        with pytest.raises(ConfigError, match="private grant"):
            compile_rules(private=[text])
