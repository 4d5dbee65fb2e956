"""``kap overlay``: write or refresh the overlay that closes a compose dev container, and accept its policy."""

from __future__ import annotations

from pathlib import Path

import click

from kap.cli.project_option import project_option


@click.command(short_help="Close a compose dev container: write its overlay and accept its policy.")
@project_option()
@click.option(
    "--refresh", "only_refresh", is_flag=True, help="Accept nothing: for initializeCommand in devcontainer.json."
)
@click.option(
    "--config", type=click.Path(path_type=Path), help="Its devcontainer.json, relative to it, where it has several."
)
def command(directory: Path, only_refresh: bool, config: Path | None) -> int:
    """Write the compose overlay that takes a project's dev container off the internet, and make its kap.toml the policy in force.

    The policy is copied out of the workspace: later changes of kap.toml change nothing until this command is run again. With --refresh the
    overlay is brought up to date for this machine and no policy is accepted; a project whose policy was never accepted here does not start.
    """
    from kap.audit.printable import printable
    from kap.host.overlay import refresh

    done = refresh(directory, accept=not only_refresh, config=config)
    state = "written" if done.changed else "up to date"
    click.echo(
        f"overlay {state}: {printable(str(done.overlay))} ({', '.join(map(printable, done.services))}; {done.network})"
    )
    if done.digest:
        click.echo(f"policy accepted: {done.digest[:12]}")
    elif done.pending:
        click.echo("kap.toml differs from the policy in force, which stays; to accept it: kap overlay", err=True)
    if not done.listed:
        click.echo(f'add "{done.overlay.name}" as the last entry of "dockerComposeFile" in devcontainer.json', err=True)
    return 0
