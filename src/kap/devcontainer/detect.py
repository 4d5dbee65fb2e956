"""What a project is made of, as far as it matters for its policy: languages, agents, tools of its own. Reads names, runs nothing.

Rules: a finding names the file it was seen by, so that a person can judge it; only names at the top of the project and one folder down
are looked at, a bounded number of them; what is found is offered, never taken over without asking.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

_ENTRIES = 5000
_SKIPPED = frozenset(
    [".git", "node_modules", ".venv", "venv", "vendor", "target", "dist", "build", "__pycache__", ".tox", ".mypy_cache"]
)

SIGNS: tuple[tuple[str, str], ...] = (
    # agents
    ("claude-code", "CLAUDE.md .claude .mcp.json"),
    ("codex", "AGENTS.md .codex"),
    ("copilot", "copilot-instructions.md"),
    ("gemini", "GEMINI.md .gemini"),
    ("cursor", ".cursor .cursorrules .cursorignore"),
    ("opencode", "opencode.json opencode.jsonc .opencode"),
    ("factory", ".factory"),
    # languages
    ("node", "package.json package-lock.json yarn.lock pnpm-lock.yaml bun.lock bun.lockb .nvmrc deno.json deno.lock"),
    (
        "python",
        "pyproject.toml requirements*.txt setup.py setup.cfg Pipfile poetry.lock uv.lock environment.yml tox.ini",
    ),
    ("rust", "Cargo.toml Cargo.lock rust-toolchain rust-toolchain.toml"),
    ("go", "go.mod go.sum go.work"),
    ("java", "pom.xml build.gradle settings.gradle gradlew build.gradle.kts mvnw"),
    ("kotlin", "build.gradle.kts settings.gradle.kts"),
    ("scala", "build.sbt"),
    ("clojure", "project.clj deps.edn"),
    ("dotnet", "*.csproj *.fsproj *.vbproj *.sln global.json Directory.Build.props nuget.config"),
    ("ruby", "Gemfile Gemfile.lock *.gemspec .ruby-version"),
    ("php", "composer.json composer.lock"),
    ("dart", "pubspec.yaml pubspec.lock"),
    ("elixir", "mix.exs mix.lock"),
    ("haskell", "*.cabal stack.yaml cabal.project"),
    ("perl", "cpanfile Makefile.PL"),
    ("swift", "Package.swift Podfile Podfile.lock"),
    ("zig", "build.zig"),
    ("ocaml", "dune-project *.opam"),
    ("r", "renv.lock *.Rproj DESCRIPTION"),
    ("julia", "Project.toml Manifest.toml"),
    ("lua", "*.rockspec"),
    ("lean", "lakefile.lean lakefile.toml lean-toolchain"),
    ("bazel", "MODULE.bazel WORKSPACE.bazel .bazelversion"),
    # tools
    ("github", ".github"),
    ("gitlab", ".gitlab-ci.yml"),
    ("bitbucket", "bitbucket-pipelines.yml"),
    ("terraform", "*.tf .terraform.lock.hcl"),
    ("kubernetes", "Chart.yaml kustomization.yaml skaffold.yaml helmfile.yaml"),
    ("nix", "flake.nix shell.nix default.nix"),
    ("mise", "mise.toml .mise.toml .tool-versions"),
    ("playwright", "playwright.config.ts playwright.config.js"),
    ("jetbrains", ".idea"),
)
"""Preset and the names (with ``*``) that speak for it."""

_REMOTES = (("github.com", "github"), ("gitlab.com", "gitlab"), ("bitbucket.org", "bitbucket"))
_FEATURES = (
    ("claude-code", "claude-code"),
    ("codex", "codex"),
    ("github-cli", "github"),
    ("copilot-cli", "copilot"),
    ("terraform", "terraform"),
    ("kubectl-helm-minikube", "kubernetes"),
    ("node", "node"),
    ("python", "python"),
    ("rust", "rust"),
    ("go", "go"),
    ("java", "java"),
    ("dotnet", "dotnet"),
    ("ruby", "ruby"),
    ("php", "php"),
    ("nix", "nix"),
)


class Sign(msgspec.Struct, frozen=True):
    """A `preset` is offered because `seen` is there."""

    preset: str
    seen: str


def detect(project: Path, features: list[str] | None = None, editor: bool = False) -> list[Sign]:
    """What speaks for which preset in `project`, one sign a preset. `features`: references of the dev container's Features;
    `editor`: it configures VS Code."""
    found: dict[str, str] = {}
    names = list(_names(project))
    for preset, patterns in SIGNS:
        for pattern in patterns.split():
            hit = next((shown for name, shown in names if fnmatchcase(name, pattern)), None)
            if hit is not None:
                found.setdefault(preset, hit)
                break
    for host, preset in _REMOTES:
        if host in _git_remotes(project):
            found.setdefault(preset, f"a git remote at {host}")
    for reference in features or ():
        name = re.split(r"[:@]", reference.rsplit("/", 1)[-1])[0]
        for feature, preset in _FEATURES:
            if name == feature:
                found.setdefault(preset, f"the Feature {name}")
    if editor:
        found.setdefault("vscode", "customizations.vscode")
    return [Sign(preset, seen) for preset, seen in sorted(found.items())]


def _names(project: Path) -> Iterator[tuple[str, str]]:
    """Names in the project and in its folders, with how they are shown."""
    left = _ENTRIES
    folders = [(project, "")]
    for depth in (0, 1):
        below: list[tuple[Path, str]] = []
        for folder, shown in folders:
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        left -= 1
                        if left < 0:
                            return
                        yield entry.name, shown + entry.name
                        if depth == 0 and entry.name not in _SKIPPED and entry.is_dir(follow_symlinks=False):
                            below.append((Path(entry.path), f"{entry.name}/"))
            except OSError:
                continue  # what cannot be read speaks for nothing
        folders = sorted(below)


def _git_remotes(project: Path) -> str:
    """The host names in the project's git configuration, as one text."""
    try:
        with (project / ".git" / "config").open(encoding="utf-8", errors="replace") as file:
            text = file.read(65_536)
    except OSError:
        return ""
    return " ".join(re.findall(r"^\s*url\s*=\s*(?:\w+://)?(?:[^@/\s]*@)?([\w.-]+)", text, re.M))
