"""The families of `generated_hosts` through the engine, through ``kap explain --json -``, and the patterns through ``kap check``."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest

from corpus import generated_hosts as made
from corpus.generated_addresses import TARGETS, edges, spellings
from corpus.generated_hosts import ALLOW, Case
from kap.names.addresses import classify
from kap.names.hosts import BadTarget, Target, parse_authority, parse_host, parse_target, parse_url
from kap.policy.codes import CODES
from kap.policy.compiler import Policy, compile_rules
from kap.policy.request import EgressRequest

POLICY = compile_rules(allow=ALLOW)
WIDE = compile_rules(allow=("*", "0.0.0.0/0", "[::]/0"))
REFUSALS = {
    *(
        "egress.bad-target",
        "egress.not-listed",
        "egress.ip-not-listed",
        "egress.always-denied",
        "egress.port-not-listed",
    ),
    "egress.address-not-global",
}


def judged(parse: Callable[[str], Target], text: str, policy: Policy = POLICY) -> tuple[str, str, str]:
    """Verdict, code and the host that would be reached."""
    try:
        target = parse(text)
    except BadTarget as bad:
        assert str(bad), text
        assert str(bad).isprintable(), text
        return "deny", "egress.bad-target", ""
    decision = policy.decide(EgressRequest(target))
    return decision.verdict, decision.code, target.host.text


def wrong(case: Case, verdict: str, code: str, host: str) -> bool:
    listed = re.fullmatch(r"api\.github\.com|(?:[a-z0-9_-]{1,63}\.)+example\.com", host) is not None
    known = code in (REFUSALS if verdict == "deny" else {"egress.allowed"}) and code in CODES
    return not known or (verdict == "allow" and not listed) or (case.expect != "either" and verdict != case.expect)


@pytest.mark.parametrize("address", TARGETS)
def test_an_address_is_refused_in_every_spelling(address: str) -> None:
    bad = {}
    for text in spellings(address):
        for parse in (parse_host, lambda each: parse_target(each)[1].host):
            case = Case(text, "deny")
            found = judged(lambda each, parse=parse: Target(parse(each), 443), text)
            if wrong(case, *found):
                bad[text] = found
    assert bad == {}


@pytest.mark.parametrize("address", TARGETS[:-1])
def test_no_rule_that_names_everything_opens_a_local_address(address: str) -> None:
    for text in (address, *spellings(address)):
        verdict, code, host = judged(lambda each: Target(parse_host(each), 443), text, WIDE)
        fine = (
            verdict == "deny" or "xn--" in host or classify(host).is_global
        )  # Arabic digits make a name, and no address
        assert fine, (text, code, host)


def test_edges_of_every_special_block() -> None:
    assert {text: public for text, public in edges() if classify(text).is_global != public} == {}


def test_names() -> None:
    found = [(case, judged(lambda each: Target(parse_host(each), 443), case.text)) for case in made.names()]
    assert [(case, got) for case, got in found if wrong(case, *got)] == []


def test_urls() -> None:
    found = [(case, judged(lambda each: parse_url(each)[1], case.text)) for case in made.urls()]
    assert [(case, got) for case, got in found if wrong(case, *got)] == []


def test_authorities() -> None:
    bad = []
    for text, host, port in made.authorities():
        try:
            target = parse_authority(text)
            got = (target.host.text, target.port)
        except BadTarget:
            got = ("", 0)
        if got != (host, port if host else 0):
            bad.append((text, host, port, got))
    assert bad == []


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[list[str]], list[dict[str, str]]]:
    """``kap explain --config FILE --json -`` on many targets at once."""
    file = tmp_path_factory.mktemp("explain") / "kap.toml"
    file.write_text(f"[proxy.network]\nallow = {json.dumps(ALLOW)}\n")

    def ask(targets: list[str]) -> list[dict[str, str]]:
        argv = [sys.executable, "-m", "kap.cli.main", "explain", "--config", str(file), "--json", "-"]
        data = "".join(f"{text}\n" for text in targets).encode("utf-8", "surrogatepass")
        done = subprocess.run(argv, input=data, capture_output=True, timeout=60, env={"HOME": str(file.parent)})
        assert done.returncode == 0, done.stderr.decode()
        assert done.stderr == b""
        return [json.loads(line) for line in done.stdout.splitlines()]

    return ask


def test_explain_says_the_same_of_every_case(explained: Callable[[list[str]], list[dict[str, str]]]) -> None:
    cases = [*made.names(), *made.urls(), *(Case(text, "deny") for each in TARGETS for text in spellings(each))]
    cases = [case for case in cases if "\n" not in case.text]
    answers = explained([case.text for case in cases])
    bad = []
    for case, answer in zip(cases, answers, strict=True):
        assert set(answer) == {"target", "verdict", "code", "rule"}
        assert answer["target"] == case.text
        codes = REFUSALS if answer["verdict"] == "deny" else {"egress.allowed"}
        if answer["code"] not in codes or (case.expect != "either" and answer["verdict"] != case.expect):
            bad.append((case, answer))
    assert bad == []
    assert min(Counter(case.expect for case in cases).values()) > 50
