"""``kap sidecar-run``: the process inside the sidecar's container."""

from __future__ import annotations

from pathlib import Path

import click

from kap.errors import UsageError

_CONFIG = Path("/etc/kap")
_GLOBAL = Path("/etc/kap/global.toml")


@click.command("sidecar-run", hidden=True)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=_CONFIG,
    show_default=True,
    help="kap.toml, or the folder that holds it.",
)
@click.option(
    "--global",
    "global_path",
    type=click.Path(path_type=Path),
    default=None,
    help=f"Global kap.toml.  [default: {_GLOBAL}, if it is there]",
)
@click.option(
    "--log",
    type=click.Path(path_type=Path),
    default=None,
    help="Audit log.  [default: the policy's, else /var/log/kap/events.jsonl]",
)
@click.option(
    "--status",
    type=click.Path(path_type=Path),
    default=None,
    help="Status file.  [default: status.json beside the log]",
)
@click.option(
    "--listen",
    "listens",
    multiple=True,
    metavar="KIND=ADDRESS[:PORT]",
    help="Where proxy, http, tls, dns or (with mitmproxy) gate listens. Repeatable.",
)
@click.option(
    "--addon",
    "addons",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="mitmproxy addon script for what comes in by the gate. Repeatable; never a file of the project.",
)
@click.option(
    "--transparent/--no-transparent",
    default=True,
    show_default=True,
    help="Serve 80 and 443, and answer names with our own address.",
)
@click.option(
    "--own-address",
    "own_addresses",
    multiple=True,
    metavar="IP",
    envvar="KAP_ADDRESS",
    help="Our address on the capsule's network. Repeatable.  [default: found]",
)
@click.option(
    "--drain",
    type=click.FloatRange(0, 300),
    default=5.0,
    show_default=True,
    help="Seconds open connections have at the end.",
)
@click.option(
    "--frame/--no-frame", default=True, show_default=True, help="Run under mitmproxy's frame, where installed."
)
@click.option("--capsule", envvar="KAP_CAPSULE", default="", help="Name of the capsule, put into every event.")
def command(
    config: Path,
    global_path: Path | None,
    log: Path | None,
    status: Path | None,
    listens: tuple[str, ...],
    addons: tuple[Path, ...],
    transparent: bool,
    own_addresses: tuple[str, ...],
    drain: float,
    frame: bool,
    capsule: str,
) -> None:
    """Serve the egress and DNS planes until SIGTERM, reloading the policy when its file changes."""
    from kap.names.addresses import canonical
    from kap.names.hosts import BadTarget
    from kap.sidecar.listeners import parse_listen
    from kap.sidecar.main import run
    from kap.sidecar.service import Options

    try:
        own = tuple(canonical(address) for address in own_addresses)
    except BadTarget as bad:
        raise UsageError(f"--own-address: {bad}", "write an IP address, like 172.28.0.2") from bad
    run(
        Options(
            config=config,
            global_path=global_path or _GLOBAL,
            global_required=global_path is not None,
            log=log,
            status=status,
            listen=dict(parse_listen(text) for text in listens),
            transparent=transparent,
            own_addresses=own,
            drain=drain,
            capsule=capsule,
            addons=addons,
        ),
        frame=frame,
    )
