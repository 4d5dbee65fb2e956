"""``-C``, ``--project`` and ``--directory`` name the same thing in every command that looks for a project."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from kap.cli import check, explain, init, overlay, run, status, uninit, why_denied
from kap.cli.main import cli
from kap.errors import UsageError

NAMES = ["-C", "--project", "--directory"]
COMMANDS = [m.command for m in (check, explain, init, overlay, run, status, uninit, why_denied)]


@pytest.mark.parametrize("one", COMMANDS, ids=lambda one: one.callback.__module__.rpartition(".")[2])
def test_every_name_is_taken(one: click.Command) -> None:
    (option,) = (p for p in one.params if "-C" in p.opts)
    assert option.opts == NAMES
    assert option.name == "directory"


def test_a_command_that_has_one_of_the_names_has_all() -> None:
    """Also one that is added later."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        one = cli.get_command(context, name)
        assert one is not None
        for option in one.params:
            assert not set(NAMES) & set(option.opts) or option.opts == NAMES, name


@pytest.mark.parametrize("name", NAMES)
def test_the_project_is_looked_for_there(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "kap.toml").write_text('presets = ["python"]\n')
    assert check.command.main([name, str(tmp_path)], standalone_mode=False) == 0
    nowhere = str(tmp_path / "nowhere")
    for command, rest in ((check.command, []), (explain.command, ["example.com"]), (run.command, ["true"])):
        with pytest.raises(UsageError, match="nowhere is not a directory"):
            command.main([name, nowhere, *rest], standalone_mode=False)
