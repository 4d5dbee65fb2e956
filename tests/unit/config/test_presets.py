"""The preset data: well formed, nothing by default that strangers share or that reports home, nothing kap always denies."""

from __future__ import annotations

import datetime
import itertools

import pytest

from kap.config import presets
from kap.config.lints.wide import shared_hosts
from kap.config.presets import Preset, catalogue, expand, never
from kap.names.hosts import parse_host
from kap.names.patterns import Pattern, parse_pattern

ALL = [*catalogue().values()]


def within(text: str, pattern: Pattern) -> bool:
    """True where `pattern` includes the host, or any host below a wildcard."""
    name = text.removeprefix("*.")
    return pattern.matches_host(parse_host(f"x.{name}" if text.startswith("*.") else name))


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_every_preset_is_well_formed(preset: Preset) -> None:
    parts = (preset.hosts, preset.optional, preset.wide, preset.telemetry)
    for text in itertools.chain(*parts):
        assert parse_pattern(text).text == text, "written in its canonical form"
        assert parse_pattern(text).kind in ("host", "suffix")
    for one, other in itertools.combinations(parts, 2):
        assert not set(one) & set(other)
    assert preset.about
    assert preset.hosts or preset.optional
    assert bool(preset.checked) == bool(preset.source)
    if preset.checked:
        assert datetime.date.fromisoformat(preset.checked) <= datetime.date(2030, 1, 1)
        assert preset.source.startswith("https://")


@pytest.mark.parametrize("preset", ALL, ids=lambda preset: preset.name)
def test_a_plain_name_allows_no_telemetry_no_shared_host_and_nothing_always_denied(preset: Preset) -> None:
    refused = {*preset.telemetry, *preset.wide, *never().hosts}
    patterns = [parse_pattern(text) for text in preset.hosts]
    assert [text for text in refused for pattern in patterns if within(text, pattern)] == []
    assert [text for text in preset.hosts if text in shared_hosts()] == []


def test_the_ones_people_need_first_are_checked() -> None:
    first = [
        "python",
        "node",
        "claude-code",
        "codex",
        "copilot",
        "gemini",
        "vscode",
        "github",
        "rust",
        "go",
        "debian",
        "ubuntu",
        "java",
    ]
    assert [name for name in first if not catalogue()[name].checked] == []


def test_expansion() -> None:
    assert expand("go") == ("proxy.golang.org", "sum.golang.org")
    optional, wide = expand("go:optional"), expand("go:wide")
    assert optional is not None and wide is not None
    assert "go.dev" in optional and "storage.googleapis.com" not in optional
    assert "storage.googleapis.com" in wide and "go.dev" not in wide
    for name in ("nope", "never", "go:telemetry", "go:", "", ":optional", "go:optional:wide"):
        assert expand(name) is None


def test_what_is_never_allowed_is_well_formed_and_placed() -> None:
    for text in (*never().hosts, *never().cidr):
        parse_pattern(text, "deny")
    document = presets.document()
    assert document.span(("preset", "never", "hosts", 0)) is not None
    assert "dns.google" in never().hosts and "metadata.google.internal" in never().hosts


def test_shared_hosts_are_well_formed() -> None:
    for text in shared_hosts():
        assert parse_pattern(text).text == text
