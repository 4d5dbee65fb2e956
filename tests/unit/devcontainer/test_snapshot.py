"""The policy in force is a copy on the host that only `accept` changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.devcontainer import identity, snapshot
from kap.devcontainer.identity import Capsule
from kap.errors import ConfigError

POLICY = '[proxy.network]\nallow = ["www.example.com"]\n'


@pytest.fixture
def capsule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Capsule:
    monkeypatch.setenv("KAP_HOME", str(tmp_path / ".kap"))
    project = tmp_path / "shop"
    state = tmp_path / ".kap" / "projects" / "shop"
    for directory in (project, state):
        directory.mkdir(parents=True)
    made = identity.choose(project, tmp_path / ".kap", state)
    identity.claim(made)
    return made


def test_nothing_is_in_force_until_it_is_accepted(capsule: Capsule) -> None:
    (capsule.project / "kap.toml").write_text(POLICY)
    assert not snapshot.accepted(capsule)
    assert snapshot.pending(capsule)
    digest = snapshot.accept(capsule)
    assert len(digest) == 64
    assert snapshot.accepted(capsule)
    assert not snapshot.pending(capsule)
    assert (capsule.policy / "kap.toml").read_text() == POLICY


def test_a_change_in_the_workspace_changes_nothing(capsule: Capsule) -> None:
    (capsule.project / "kap.toml").write_text(POLICY)
    snapshot.accept(capsule)
    (capsule.project / "kap.toml").write_text('[proxy.network]\nallow = ["*"]\n')
    snapshot.refresh_global(capsule)
    assert (capsule.policy / "kap.toml").read_text() == POLICY
    assert snapshot.pending(capsule)
    (capsule.project / "kap.toml").unlink()
    assert snapshot.pending(capsule)


@pytest.mark.parametrize("text", ["[proxy.network\n", "nonsense = 1\n", '[proxy.network]\nallow = ["https://x"]\n'])
def test_a_policy_with_errors_is_not_accepted_and_the_old_one_stays(capsule: Capsule, text: str) -> None:
    (capsule.project / "kap.toml").write_text(POLICY)
    snapshot.accept(capsule)
    (capsule.project / "kap.toml").write_text(text)
    with pytest.raises(ConfigError) as raised:
        snapshot.accept(capsule)
    assert "kap check" in raised.value.hint
    assert (capsule.policy / "kap.toml").read_text() == POLICY


def test_no_policy_at_all_is_an_error_that_says_what_to_write(capsule: Capsule) -> None:
    with pytest.raises(ConfigError, match="has no kap") as raised:
        snapshot.accept(capsule)
    assert "allow" in raised.value.hint


def test_the_users_own_file_is_copied_whenever_asked_and_gone_when_it_is_gone(capsule: Capsule) -> None:
    (capsule.project / "kap.toml").write_text(POLICY)
    source = capsule.home / "kap.toml"
    source.write_text('[proxy.network]\ndeny = ["private.example.com"]\n')
    snapshot.accept(capsule)
    copy = capsule.policy / "global.toml"
    assert copy.read_text() == source.read_text()
    source.write_text("")
    snapshot.refresh_global(capsule)
    assert copy.read_text() == ""
    source.unlink()
    snapshot.refresh_global(capsule)
    assert not copy.exists()
