"""Explanations: the sentence, the place of the rule, near misses, and fixes that do what they say when they are applied."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.config.effective import Config
from kap.config.layers import load
from kap.config.problem import Fix
from kap.document.edits import apply
from kap.names.hosts import parse_authority, parse_host
from kap.policy.codes import CODES
from kap.policy.compiler import compile, compile_rules
from kap.policy.decision import Decision, RuleRef
from kap.policy.explain import Explanation, explain, explain_bad_target, locate
from kap.policy.request import AddressRequest, EgressRequest, NameRequest

TEXT = """\
presets = ["python"]

[proxy.network]
allow = [
  "github.com",
  "*.example.com",
  "git.example.org:22",
  "10.1.0.0/16",
  "0.0.0.0/0:8443",
  "localhost",
]
deny = ["bad.example.com"]
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    project = tmp_path / "kap.toml"
    project.write_text(TEXT, "utf-8")
    upper = tmp_path / "global.toml"
    upper.write_text('[proxy.network]\ndeny = ["worse.example.com"]\n', "utf-8")
    found = load(project, global_path=upper).config
    assert found is not None
    return found


def told(config: Config, authority: str) -> Explanation:
    request = EgressRequest(parse_authority(authority, 443))
    return explain(request, compile(config).decide(request), config)


def values(fixes: tuple[Fix, ...]) -> list[tuple[str, tuple[str | int, ...], str]]:
    return [(edit.op, edit.route, edit.value) for fix in fixes for edit in fix.edits]


ALLOW = ("proxy", "network", "allow")


@pytest.mark.parametrize(
    ("authority", "code", "line", "why"),
    [
        ("github.com", "egress.allowed", ":5", '"github.com" (project file) allows github.com on port 443'),
        ("a.example.com", "egress.allowed", ":6", '"*.example.com" (project file)'),
        ("10.1.2.3", "egress.allowed", ":8", "allows 10.1.2.3 on port 443."),
        ("github.com:22", "egress.port-not-listed", ":5", "no rule lists port 22"),
        ("bad.example.com", "egress.deny-rule", ":12", "a deny of any layer wins"),
        ("worse.example.com", "egress.deny-rule", "global.toml:2", "(global file) denies it"),
        ("evil.test", "egress.not-listed", "", "No allow rule of any layer includes evil.test"),
        ("1.1.1.1:25", "egress.port-not-listed", ":9", "no rule lists port 25"),
        ("10.2.0.1:8443", "egress.address-not-global", ":9", "too wide to count as a grant"),
        ("[fd00::1]:443", "egress.ip-not-listed", "", "unique-local address (RFC 4193)"),
        ("localhost", "egress.address-not-global", ":10", "the machine that kap runs on"),
        ("ip6-loopback", "egress.not-listed", "", "the machine that kap runs on"),
        ("dns.google", "egress.always-denied", "presets.toml:", "only a rule that names exactly this host"),
        ("pypi.org", "egress.allowed", ":1", "preset python"),
    ],
)
def test_why_and_where(config: Config, authority: str, code: str, line: str, why: str) -> None:
    found = told(config, authority)
    assert found.code == code
    assert found.title == CODES[code].title
    assert line in found.where
    assert bool(found.where) == bool(found.rule)
    assert why in found.why
    assert found.docs == f"docs/codes/{code}.md"


@pytest.mark.parametrize(
    ("authority", "near"),
    [
        ("example.com", '"*.example.com" does not include example.com itself'),
        ("api.github.com", '"github.com" does not include names below it; "*.github.com" would'),
        ("github.com:22", '"github.com" lists ports 80 and 443 only, not 22'),
        ("git.example.org", '"git.example.org:22" lists port 22 only, not 443'),
        ("githib.com", "did you mean github.com?"),
        ("github.com.evil.test", "github.com.evil.test begins like github.com, but belongs to another domain"),
        ("api.exampel.com", "did you mean a host of example.com?"),
        ("10.1.2.3:22", '"10.1.0.0/16" lists ports 80 and 443 only, not 22'),
        ("statsig.com", "takes telemetry of claude-code"),
    ],
)
def test_near_misses(config: Config, authority: str, near: str) -> None:
    assert any(near in one for one in told(config, authority).near)


def test_an_allowed_or_far_target_has_no_near_miss(config: Config) -> None:
    assert told(config, "github.com").near == ()
    assert told(config, "completely-different.test").near == ()


def test_a_star_does_not_include_local_names_and_says_so() -> None:
    policy = compile_rules(allow=["*"])
    for name, near in (("printer.local", "local one"), ("9.9.9.9", "never an IP address")):
        request = EgressRequest(parse_authority(name, 443))
        assert any(near in one for one in explain(request, policy.decide(request), policy.config).near)


@pytest.mark.parametrize(
    ("authority", "value"),
    [
        ("evil.test", "evil.test"),
        ("evil.test:80", "evil.test"),
        ("evil.test:25", "evil.test:25"),
        ("github.com:22", "github.com:22"),
        ("9.9.9.9", "9.9.9.9"),
        ("[fd00::1]:22", "[fd00::1]:22"),
        ("dns.google", "dns.google"),
        ("10.2.0.1:8443", "10.2.0.1:8443"),
    ],
)
def test_the_first_fix_is_the_narrowest_rule_and_opens_exactly_that(config: Config, authority: str, value: str) -> None:
    found = told(config, authority)
    assert values(found.fixes)[0] == ("append", ALLOW, value)
    assert found.fixes[0].widens
    if found.code != "egress.not-listed":
        return
    fixed = compile_rules(allow=["github.com", value])
    assert fixed.decide(EgressRequest(parse_authority(authority, 443))).allowed


@pytest.mark.parametrize(
    "authority",
    [
        "evil.test",
        "evil.test:25",
        "github.com:22",
        "9.9.9.9",
        "[fd00::1]:22",
        "dns.google",
        "10.2.0.1:8443",
        "bad.example.com",
        "crates.io",
    ],
)
def test_every_fix_applied_to_the_file_opens_the_target(config: Config, tmp_path: Path, authority: str) -> None:
    request = EgressRequest(parse_authority(authority, 443))
    for fix in told(config, authority).fixes:
        project = tmp_path / "fixed.toml"
        project.write_text(apply(TEXT, fix.edits), "utf-8")
        fixed = load(project, global_path=None).config
        assert fixed is not None, fix.title
        assert compile(fixed).decide(request).allowed, fix.title


def test_a_grant_applied_to_the_file_opens_the_address(config: Config, tmp_path: Path) -> None:
    request = AddressRequest(parse_authority("github.com:443"), "fd00::9")
    (fix,) = explain(request, compile(config).decide(request), config).fixes
    project = tmp_path / "fixed.toml"
    project.write_text(apply(TEXT, fix.edits), "utf-8")
    fixed = load(project, global_path=None).config
    assert fixed is not None
    assert compile(fixed).decide(request).allowed


def test_a_preset_that_lists_the_host_is_offered_after_the_narrow_rule(config: Config) -> None:
    assert ("append", ("presets",), "rust") in values(told(config, "crates.io").fixes)[1:]


def test_a_projects_own_deny_can_be_lifted_and_a_global_one_cannot(config: Config) -> None:
    own = told(config, "bad.example.com").fixes
    assert values(own) == [("remove", ("proxy", "network", "deny", 0), "")]
    upper = told(config, "worse.example.com").fixes
    assert values(upper) == []
    assert "global.toml:2" in upper[0].title


@pytest.mark.parametrize(
    "authority", ["localhost", "127.0.0.1", "[::1]:443", "169.254.169.254", "0.0.0.0", "ip6-localhost"]
)
def test_no_button_opens_the_machine_itself_or_its_credentials(config: Config, authority: str) -> None:
    found = told(config, authority)
    assert found.verdict == "deny"
    assert values(found.fixes) == []


@pytest.mark.parametrize(
    ("address", "value", "why"),
    [
        ("10.9.9.9", "10.9.9.9", "a private address (RFC 1918), and no grant includes it"),
        ("64:ff9b::a09:909", "64:ff9b::a09:909", "carrying 10.9.9.9"),
        ("127.0.0.1", "", "a loopback address"),
        ("169.254.169.254", "", "a metadata address"),
    ],
)
def test_an_address_that_is_not_global(config: Config, address: str, value: str, why: str) -> None:
    request = AddressRequest(parse_authority("github.com:443"), address)
    found = explain(request, compile(config).decide(request), config)
    assert found.code == "egress.address-not-global"
    assert why in found.why
    assert values(found.fixes) == ([("append", ("proxy", "network", "private"), value)] if value else [])


def test_a_name(config: Config) -> None:
    request = NameRequest(parse_host("evil.test"))
    found = explain(request, compile(config).decide(request), config)
    assert (found.code, values(found.fixes)[0]) == ("dns.not-listed", ("append", ALLOW, "evil.test"))
    request = NameRequest(parse_host("github.com"), 65)
    assert explain(request, compile(config).decide(request), config).fixes == ()


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_has_an_explanation_with_and_without_a_config(config: Config, code: str) -> None:
    target = parse_authority("example.test:9000")
    rule = RuleRef("project", ("proxy", "network", "allow", 0), "github.com")
    for request in (EgressRequest(target), AddressRequest(target, "10.0.0.1"), NameRequest(target.host)):
        for decision in (Decision("deny", code), Decision("deny", code, rule)):
            for known in (config, None):
                found = explain(request, decision, known)
                assert found.why
                assert found.title


@pytest.mark.parametrize("code", ["egress.server-first", "egress.not-tls"])
def test_what_a_port_may_speak_can_be_widened(code: str) -> None:
    found = explain(EgressRequest(parse_authority("db.example.com:5432")), Decision("deny", code), None)
    assert values(found.fixes) == [("append", ALLOW, "db.example.com:5432/tcp")]


def test_bad_target_and_unknown_places() -> None:
    assert explain_bad_target("it is odd").why == "it is odd"
    assert locate(None, None) == ""
    assert (
        explain(EgressRequest(parse_authority("a.test:1")), Decision("deny", "egress.from-tomorrow"), None).title
        == "egress.from-tomorrow"
    )
