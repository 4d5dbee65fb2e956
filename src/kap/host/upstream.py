"""The corporate proxy of a host run: its credentials are read here, and only where the machine's owner asked for that.

A project's kap.toml may name a proxy, but not what of this host's variables and files is sent to it.
"""

from __future__ import annotations

import os
from pathlib import Path

from kap.config.layers import Config
from kap.config.model import Upstream
from kap.egress.upstream import UpstreamProxy
from kap.errors import ConfigError

MAX_BYTES = 4096


def upstream_proxy(config: Config) -> UpstreamProxy | None:
    """The proxy of ``[proxy.upstream]`` with its credentials; None where there is none. Raises `ConfigError`."""
    table = config.proxy.upstream
    if not table.url:
        return None
    if (table.auth_env or table.auth_file) and not _owner_wrote_it(config):
        raise ConfigError(
            "[proxy.upstream] of the project asks for credentials of this host",
            "move the table [proxy.upstream] to your own ~/.kap/kap.toml",
        )
    return UpstreamProxy.from_config(table, _credentials(table))


def _owner_wrote_it(config: Config) -> bool:
    for layer in config.layers:
        if layer.name == "global" and layer.document is not None:
            value = layer.document.value or {}
            return bool(value.get("proxy", {}).get("upstream"))
    return False


def _credentials(table: Upstream) -> str:
    if table.auth_env:
        value = os.environ.get(table.auth_env, "")
        if not value:
            raise ConfigError(
                f"the variable {table.auth_env} of [proxy.upstream] auth_env is not set",
                f"export {table.auth_env}=user:password",
            )
        return value
    if table.auth_file:
        path = Path(table.auth_file).expanduser()
        try:
            with path.open(encoding="utf-8") as file:
                return file.read(MAX_BYTES).strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"cannot read {path} of [proxy.upstream] auth_file: {error}", "correct the path, or its permissions"
            ) from error
    return ""
