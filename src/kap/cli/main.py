"""The ``kap`` command: a lazy click group, so ``kap --help`` and completion import nothing but click.

Each command lives in its own file as a function named `command`. The one-line help stands in the table, so listing imports none of them.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import click

from kap import __version__
from kap.errors import EXIT_SOFTWARE, KapError

# name -> (module, one-line help, hidden)
COMMANDS: dict[str, tuple[str, str, bool]] = {
    "check": ("kap.cli.check", "Check a kap.toml and show what is wrong with it, and where.", False),
    "explain": ("kap.cli.explain", "Say whether a target is allowed, by which rule, and how to change that.", False),
    "run": ("kap.cli.run", "Run a command in a capsule, with no container engine.", False),
    "why-denied": ("kap.cli.why_denied", "Show what was refused, why, and the fix.", False),
    "init": ("kap.cli.init", "Put a project's dev container into a capsule.", False),
    "uninit": ("kap.cli.uninit", "Take kap out of a project again: what kap init wrote.", False),
    "overlay": ("kap.cli.overlay", "Close a compose dev container: write its overlay and accept its policy.", False),
    "status": ("kap.cli.status", "Check that the capsule of this project is closed and works.", False),
    "schema": ("kap.cli.schema", "Print the JSON Schema of kap.toml.", False),
    "presets": ("kap.cli.presets", "List the presets and the hosts each one allows.", False),
    "sidecar-run": ("kap.cli.sidecar_run", "Run the sidecar (inside its container).", True),
    "sidecar-check": ("kap.cli.sidecar_check", "Health check of the sidecar (inside its container).", True),
}


class LazyGroup(click.Group):
    """Imports a command's module when it is called, not when it is listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (_, _, hidden) in COMMANDS.items() if not hidden]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command = importlib.import_module(entry[0]).command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text, hidden) in COMMANDS.items() if not hidden])

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            import difflib

            close = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1) if args else []
            if close:
                raise click.UsageError(f"{error.message} Did you mean '{close[0]}'?", ctx) from error
            raise


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="kap")
def cli() -> None:
    """Run AI coding agents in secure capsules.

    Inside a capsule there is no route out except a sidecar. It lets through what kap.toml allows and says why it refuses the rest.
    """


def main() -> None:
    """Entry point: runs the group; a `KapError` becomes two plain lines and its exit code, a bug becomes one line, never a traceback."""
    try:
        result = cli.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        click.echo("Aborted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KapError as error:
        click.echo(f"kap: {error.message}", err=True)
        if error.hint:
            click.echo(f"  fix: {error.hint}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:  # a bug: say so in one line; KAP_DEBUG=1 shows the rest
        import os

        if os.environ.get("KAP_DEBUG"):
            raise
        click.echo(f"kap: internal error: {type(error).__name__}: {error}", err=True)
        click.echo("  fix: this is a bug in kap; run again with KAP_DEBUG=1 and report what it prints", err=True)
        sys.exit(EXIT_SOFTWARE)


if __name__ == "__main__":
    main()
