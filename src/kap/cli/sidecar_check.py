"""``kap sidecar-check``: the container's health check. Exit code 0 healthy, 1 not, with the reasons."""

from __future__ import annotations

from pathlib import Path

import click

from kap.errors import EXIT_FAILED, EXIT_OK


@click.command("sidecar-check", hidden=True)
@click.option(
    "--status",
    type=click.Path(path_type=Path),
    default=Path("/var/log/kap/status.json"),
    show_default=True,
    help="Status file of the sidecar.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 60.0),
    default=4.0,
    show_default=True,
    help="Seconds for all checks together.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as one JSON object.")
def command(status: Path, timeout: float, as_json: bool) -> int:
    """Ask every listener of the running sidecar what a client would ask."""
    from kap.audit.printable import printable
    from kap.sidecar import probe

    found = probe.check(status, seconds=timeout)
    healthy = all(one.ok for one in found)
    if as_json:
        import json

        checks = [{"name": one.name, "ok": one.ok, "detail": one.detail} for one in found]
        click.echo(json.dumps({"v": 1, "healthy": healthy, "checks": checks}))
    else:
        for one in found:
            click.echo(
                f"{'ok' if one.ok else 'FAILED'}: {printable(one.name)}: {printable(one.detail)}", err=not one.ok
            )
    return EXIT_OK if healthy else EXIT_FAILED
