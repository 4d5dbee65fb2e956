"""``kap presets [NAME]``: which presets there are, and exactly which hosts each one allows."""

from __future__ import annotations

import difflib
import json
import textwrap
from typing import Any

import click
import msgspec

from kap.config.presets import Preset, catalogue
from kap.errors import UsageError


@click.command(short_help="List the presets and the hosts each one allows.")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str | None, as_json: bool) -> int:
    """List the presets, or show the hosts of the preset NAME.

    A plain name in `presets` allows its hosts, NAME:optional also the optional ones, NAME:wide also those where anyone can put data.
    Telemetry is never allowed by a preset.
    """
    if name is None:
        _list(as_json)
        return 0
    preset = catalogue().get(name.partition(":")[0])
    if preset is None:
        close = difflib.get_close_matches(name[:60], catalogue(), n=1)
        hint = f'did you mean "{close[0]}"?' if close else "`kap presets` lists them"
        raise UsageError(f"there is no preset {name[:60]!r}", hint)
    if as_json:
        click.echo(json.dumps(_plain(preset), indent=2))
    else:
        _show(preset)
    return 0


def _plain(preset: Preset) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(preset)
    return plain


def _list(as_json: bool) -> None:
    presets = catalogue().values()
    if as_json:
        click.echo(json.dumps({"version": 1, "presets": [_plain(one) for one in presets]}, indent=2))
        return
    wide = max(len(one.name) for one in presets)
    for preset in presets:
        click.echo(f"{preset.name:<{wide}}  {len(preset.hosts):>3} hosts  {preset.about}".rstrip())


def _show(preset: Preset) -> None:
    click.echo(f"{preset.name}: {preset.about}" if preset.about else preset.name)
    parts = (
        ("hosts", f'presets = ["{preset.name}"]'),
        ("optional", f'presets = ["{preset.name}:optional"]'),
        ("wide", f'presets = ["{preset.name}:wide"]: anyone can put data there'),
        ("telemetry", "never allowed by a preset"),
    )
    for part, how in parts:
        hosts = getattr(preset, part)
        if hosts:
            click.echo(f"\n{part} ({how})")
            for host in hosts:
                click.echo(f"  {host}")
    if preset.note:
        click.echo("\n" + textwrap.fill(preset.note, 100))
    if preset.checked:
        click.echo(f"\nchecked on {preset.checked} against {preset.source}")
    elif preset.source:
        click.echo(f"\nnot checked yet; see {preset.source}")
