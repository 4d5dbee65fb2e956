"""``kap presets`` and ``kap schema``."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kap.cli import presets, schema
from kap.config.presets import catalogue
from kap.errors import UsageError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(presets.command, [*arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    assert result.return_value == 0
    return result.output


def test_the_list_has_every_preset_on_a_line() -> None:
    lines = run().splitlines()
    assert [line.split()[0] for line in lines] == [*catalogue()]
    assert max(map(len, lines)) < 100


def test_one_preset_shows_each_host_and_what_it_takes_to_allow_it() -> None:
    output = run("go")
    assert output.startswith(
        'go: Go modules and their checksums\n\nhosts (presets = ["go"])\n  proxy.golang.org\n  sum.golang.org\n'
    )
    assert 'wide (presets = ["go:wide"]: anyone can put data there)' in output
    assert "checked on 2026-11-24 against https://go.dev/" in output
    assert run("go:optional") == output


def test_json() -> None:
    assert [one["name"] for one in json.loads(run("--json"))["presets"]] == [*catalogue()]
    one = json.loads(run("go", "--json"))
    assert one["hosts"] == ["proxy.golang.org", "sum.golang.org"]
    assert one["checked"] == "2026-11-24"


def test_an_unknown_preset_is_a_usage_error_with_a_suggestion() -> None:
    with pytest.raises(UsageError) as caught:
        run("pyton")
    assert caught.value.hint == 'did you mean "python"?'
    assert caught.value.exit_code == 2


def test_the_schema_is_printed_as_json() -> None:
    result = CliRunner().invoke(schema.command, [], standalone_mode=False)
    assert json.loads(result.output)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
