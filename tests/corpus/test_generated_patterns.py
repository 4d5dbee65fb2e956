"""Patterns through the parser, ``kap check`` and the engine: refused with a sentence and a cure that works, or matched as written."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import pytest

from corpus.generated_patterns import MATCHES, VALID, unsound
from kap.cli.check import command
from kap.names.hosts import BadTarget, parse_target
from kap.names.patterns import BadPattern, parse_pattern
from kap.policy.compiler import compile_rules
from kap.policy.request import EgressRequest


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Exit code and report of ``kap check --json`` for a file that allows one pattern."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def check(pattern: str, effect: str = "allow") -> tuple[int, list[dict[str, object]]]:
        file = tmp_path / "kap.toml"
        text = json.dumps(pattern).replace("\x7f", "\\u007f")
        file.write_text(f"[proxy.network]\n{effect} = [{text}]\n", "utf-8")
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            code = command.main([str(file), "--json"], standalone_mode=False)
        return int(code), json.loads(shown.getvalue())["problems"]

    return check


def test_sound_patterns_pass_kap_check(checked: object) -> None:
    bad = {}
    for text in VALID.split():
        code, problems = checked(text)  # type: ignore[operator]
        if code or any(one["severity"] == "error" for one in problems):
            bad[text] = problems
    assert bad == {}


def test_unsound_patterns_fail_kap_check_with_a_place_and_a_sentence(checked: object) -> None:
    bad = {}
    for text in unsound():
        code, problems = checked(text)  # type: ignore[operator]
        errors = [one for one in problems if one["severity"] == "error"]
        if code != 2 or not errors or not all(str(one["message"]).isprintable() for one in errors):
            bad[text] = (code, problems)
    assert bad == {}


def test_what_is_suggested_instead_is_sound_and_no_wider_than_a_domain() -> None:
    for text in unsound():
        with pytest.raises(BadPattern) as caught:
            parse_pattern(text)
        cure = caught.value.suggestion
        if cure:
            again = parse_pattern(cure)
            assert again.kind != "any", (text, cure)
            assert again.kind != "suffix" or "." in again.host, (text, cure)


def test_a_whole_top_level_domain_may_be_denied(checked: object) -> None:
    assert checked("*.com", "deny")[0] == 0  # type: ignore[operator]
    assert checked("*.com")[0] == 2  # type: ignore[operator]


@pytest.mark.parametrize(("allow", "deny", "hosts", "verdict"), MATCHES)
def test_matching(allow: list[str], deny: list[str], hosts: str, verdict: str) -> None:
    policy = compile_rules(allow=allow, deny=deny)
    for text in hosts.split():
        try:
            decision = policy.decide(EgressRequest(parse_target(text)[1]))
            got, code = decision.verdict, decision.code
        except BadTarget:
            got, code = "deny", "egress.bad-target"
        assert got == verdict, (text, code)
        assert (code == "egress.allowed") == (verdict == "allow")
