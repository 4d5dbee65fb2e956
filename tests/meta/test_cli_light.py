"""``kap --help`` and completion start fast because they import little: held by module names, not by a stopwatch."""

from __future__ import annotations

import importlib
import subprocess
import sys

import click
import pytest

from kap.cli.main import COMMANDS

HEAVY = {"asyncio", "rich", "jsonschema", "tomlkit", "docker", "mitmproxy", "pygls", "tree_sitter", "msgspec", "idna"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version_import_little(arguments: list[str]) -> None:
    program = (
        f"import sys\nfrom kap.cli.main import main\nsys.argv = ['kap', *{arguments!r}]\ntry:\n    main()\n"
        "except SystemExit as stop:\n    assert stop.code == 0, stop.code\n"
        "print('MODULES', *sorted({m.split('.')[0] for m in sys.modules}))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = set(out.stdout.rsplit("MODULES", 1)[1].split())
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_of_the_table_loads(name: str) -> None:
    command = importlib.import_module(COMMANDS[name][0]).command
    assert isinstance(command, click.Command)
    assert command.hidden or command.get_short_help_str() or command.help


def test_checking_a_policy_imports_no_server() -> None:
    program = "import sys\nimport kap.config.layers, kap.policy.compiler, kap.policy.explain\nprint(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    loaded = {m.split(".")[0] for m in out.stdout.split()}
    assert loaded & {"asyncio", "mitmproxy", "docker", "rich", "pygls", "lsprotocol"} == set()
