"""The ``kap`` command: a lazy click group, so ``kap --help`` and completion import nothing but click.

Each command lives in its own file as a function named `command`. The one-line help stands in the table, so listing imports none of them.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import sys
from typing import Any

import click

from kap import __version__
from kap.errors import EXIT_INTERRUPTED, EXIT_PIPE, EXIT_SOFTWARE, EXIT_UNAVAILABLE, KapError

_MACHINE = {
    errno.ENOSPC: "make room on that disk, and run this again",
    errno.EDQUOT: "make room in your quota, and run this again",
    errno.EROFS: "kap keeps its state in ~/.kap: name a directory that can be written to with KAP_HOME",
    errno.EACCES: "see who owns it: ls -ld; kap's own state can be put elsewhere with KAP_HOME",
    errno.EPERM: "see who owns it: ls -ld; kap's own state can be put elsewhere with KAP_HOME",
    errno.EMFILE: "raise the limit of open files (ulimit -n), and run this again",
    errno.ENFILE: "the machine has too many files open: end something, and run this again",
    errno.EIO: "see to that device, and run this again",
}
"""Errors of the machine, not of kap, that may reach `main` from anywhere, and what to do about each."""

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
    """Entry point: runs the group; a `KapError` becomes two plain lines and its exit code, a bug becomes one line, never a traceback.

    Exits 141, as a program that SIGPIPE ended, where whoever read the output has gone: that is neither a yes nor a no.
    """
    _open_standard_streams()
    output = sys.stdout
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    try:
        result = cli.main(standalone_mode=False, color=False if plain else None)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except SystemExit as stop:  # click leaves so, with 1, when the reader has gone, and after completion
        gone = sys.stdout is not output  # click has put its wrapper there
        code = EXIT_PIPE if gone else stop.code if isinstance(stop.code, int) else 0
    except Exception as error:  # noqa: BLE001 - the last place; what it is decides what is said
        code = _failed(error)
    _leave(code)


def _failed(error: Exception) -> int:
    """Say what went wrong on standard error; the exit code."""
    match error:
        case click.exceptions.Exit():
            return error.exit_code
        case click.Abort():
            _tell("Aborted.")
            return EXIT_INTERRUPTED
        case click.ClickException():
            with contextlib.suppress(OSError):
                error.show()
            return error.exit_code
        case KapError():
            _tell(f"kap: {error.message}", error.hint)
            return error.exit_code
        case BrokenPipeError():
            return EXIT_PIPE
        case OSError(errno=number, filename=name) if number in _MACHINE and not os.environ.get("KAP_DEBUG"):
            _tell(f"kap: {error.strerror or error}: {name or 'while writing the output'}", _MACHINE[number])
            return EXIT_UNAVAILABLE
    if os.environ.get("KAP_DEBUG"):
        raise error
    _tell(
        f"kap: internal error: {type(error).__name__}: {error}",
        "this is a bug in kap; run again with KAP_DEBUG=1 and report what it prints",
    )
    return EXIT_SOFTWARE


def _tell(message: str, hint: str = "") -> None:
    with contextlib.suppress(OSError):  # a full or closed standard error: the exit code still says it
        click.echo(message + (f"\n  fix: {hint}" if hint else ""), err=True)


def _open_standard_streams() -> None:
    """Put /dev/null where standard input, output or error is closed: else the next file or socket opened would be taken for it."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - a number, for good


def _leave(code: int) -> None:
    """Exit, after giving up what a gone or full output has not taken (the interpreter would complain of it)."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    sys.exit(code)


if __name__ == "__main__":
    main()
