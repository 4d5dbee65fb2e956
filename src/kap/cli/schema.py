"""``kap schema``: the JSON Schema of kap.toml, as it is published."""

from __future__ import annotations

import click


@click.command(short_help="Print the JSON Schema of kap.toml.")
def command() -> int:
    """Print the JSON Schema of kap.toml (draft 2020-12)."""
    from kap.config import schema

    click.echo(schema.text().rstrip("\n"))
    return 0
