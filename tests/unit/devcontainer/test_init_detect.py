"""What a project is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.config import presets
from kap.config.layers import load
from kap.devcontainer import detect, init_policy
from kap.devcontainer.detect import Sign
from kap.errors import UsageError


def test_every_preset_that_is_offered_exists() -> None:
    offered = {name for name, _ in detect.SIGNS} | {p for _, p in detect._REMOTES} | {p for _, p in detect._FEATURES}
    assert offered - set(presets.catalogue()) == set()


def test_agents_languages_and_tools_are_seen_with_what_spoke_for_them(tmp_path: Path) -> None:
    for name in ("CLAUDE.md", "uv.lock", "web/package.json", ".github/workflows/x.yml", "infra/main.tf", "App.csproj"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "node_modules" / "x").mkdir(parents=True)
    (tmp_path / "node_modules" / "go.mod").write_text("")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text('[remote "origin"]\n\turl = git@gitlab.com:a/b.git\n')
    found = detect.detect(tmp_path, ["ghcr.io/devcontainers/features/rust:1"], editor=True)
    assert {s.preset: s.seen for s in found} == {
        "claude-code": "CLAUDE.md",
        "dotnet": "App.csproj",
        "github": ".github",
        "gitlab": "a git remote at gitlab.com",
        "node": "web/package.json",
        "python": "uv.lock",
        "rust": "the Feature rust",
        "terraform": "infra/main.tf",
        "vscode": "customizations.vscode",
    }


def test_an_empty_project_offers_nothing(tmp_path: Path) -> None:
    assert detect.detect(tmp_path) == []
    assert detect.detect(tmp_path / "missing") == []


def test_the_proposed_policy_is_one(tmp_path: Path) -> None:
    path = tmp_path / "kap.toml"
    path.write_text(init_policy.write([Sign("python", 'a "file"\n\x1b[31m'), Sign("node", "")]))
    loaded = load(path, global_path=None)
    assert loaded.config is not None
    assert loaded.config.presets == ("python", "node")
    path.write_text(init_policy.write([]))
    assert load(path, global_path=None).config is not None
    with pytest.raises(UsageError, match="no preset 'pyhton'"):
        init_policy.write([Sign("pyhton", "")])
