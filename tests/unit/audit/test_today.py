"""Yesterday's denial by today's policy."""

from __future__ import annotations

import pytest

from kap.audit.fold import Denial
from kap.audit.today import look, question
from kap.names.hosts import BadTarget
from kap.policy.compiler import compile_rules
from kap.policy.decision import RuleRef
from kap.policy.request import AddressRequest, EgressRequest, NameRequest


def denial(host: str = "a.example.com", port: int = 443, code: str = "egress.not-listed", **more: object) -> Denial:
    return Denial(host, port, code, **more)  # type: ignore[arg-type]


def test_still_denied_has_the_reason_and_the_fix_of_today() -> None:
    found = look(denial(), compile_rules(allow=["b.example.com"]))
    assert (found.now.verdict, found.now.code, found.allowed_now) == ("deny", "egress.not-listed", False)
    assert found.explanation.fixes[0].edits[0].value == "a.example.com"


def test_allowed_by_now() -> None:
    found = look(denial(), compile_rules(allow=["*.example.com"]))
    assert found.allowed_now and found.now.code == "egress.allowed"
    assert found.explanation.fixes == ()


def test_the_reason_may_have_changed() -> None:
    found = look(denial(), compile_rules(allow=["*"], deny=["a.example.com"]))
    assert found.now.code == "egress.deny-rule"
    assert found.explanation.rule == "a.example.com"


def test_another_port_needs_another_rule() -> None:
    found = look(denial(port=8443, code="egress.port-not-listed"), compile_rules(allow=["a.example.com"]))
    assert found.now.code == "egress.port-not-listed"
    assert found.explanation.fixes[0].edits[0].value == "a.example.com:8443"


def test_a_name_alone_is_asked_as_a_name() -> None:
    found = look(denial(port=0, code="dns.not-listed", plane="dns", methods=["A"]), compile_rules())
    assert found.now.code == "dns.not-listed"
    assert found.explanation.fixes[0].edits[0].value == "a.example.com"
    assert look(found.denial, compile_rules(allow=["a.example.com"])).allowed_now


def test_a_refused_type_stays_refused() -> None:
    kept = denial(port=0, code="dns.type-refused", plane="dns", methods=["TYPE15"])
    assert look(kept, compile_rules(allow=["a.example.com"])).now.code == "dns.type-refused"


@pytest.mark.parametrize("private", [[], ["10.0.0.0/8"]])
def test_a_private_address_needs_its_grant(private: list[str]) -> None:
    kept = denial(code="egress.address-not-global", addresses=["10.1.2.3"])
    found = look(kept, compile_rules(allow=["a.example.com"], private=private))
    assert found.allowed_now is bool(private)
    if not private:
        assert found.explanation.fixes[0].edits[0].route[-1] == "private"


def test_a_private_address_of_a_host_no_longer_listed() -> None:
    kept = denial(code="egress.address-not-global", addresses=["10.1.2.3"])
    assert look(kept, compile_rules(private=["10.0.0.0/8"])).now.code == "egress.not-listed"


@pytest.mark.parametrize("code", ["egress.sni-mismatch", "egress.connect-timeout", "egress.limit-connections"])
def test_what_the_wire_said_is_not_undone_by_a_rule(code: str) -> None:
    found = look(denial(code=code), compile_rules(allow=["a.example.com"]))
    assert not found.allowed_now and found.now.code == code


def test_a_fault_of_the_host_is_told_from_a_refusal() -> None:
    assert look(denial(code="egress.connect-timeout"), None).failed
    assert not look(denial(), None).failed


def test_without_a_policy_the_reason_of_then_is_explained() -> None:
    rule = RuleRef("project", ("proxy", "network", "deny", 0), "a.example.com")
    found = look(denial(code="egress.deny-rule", rule=rule), None)
    assert found.now.rule == rule and found.explanation.code == "egress.deny-rule"


@pytest.mark.parametrize("host", ["", "not a host", "\x1b[31m", "a" * 255])
def test_a_host_that_is_none_is_explained_all_the_same(host: str) -> None:
    found = look(denial(host=host, code="egress.bad-target"), compile_rules())
    assert not found.allowed_now and found.explanation.code == "egress.bad-target"
    with pytest.raises(BadTarget):
        question(found.denial)


def test_questions() -> None:
    assert isinstance(question(denial()), EgressRequest)
    assert isinstance(question(denial(port=0)), NameRequest)
    assert isinstance(question(denial(code="egress.own-address", addresses=["10.0.0.1"])), AddressRequest)
    assert isinstance(
        question(denial(host="10.0.0.1", code="egress.address-not-global", addresses=["10.0.0.1"])), EgressRequest
    )
    assert question(denial(port=0, methods=["TYPE" + "9" * 300])).qtype == 1  # type: ignore[union-attr]
