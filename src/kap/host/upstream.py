"""The corporate proxy of a host run: its credentials are read only where the machine's owner asked for that.

A project's kap.toml may name a proxy, but not what of this host's variables and files is sent to it.
"""

from __future__ import annotations

from kap.config.layers import Config
from kap.egress import credentials
from kap.egress.upstream import UpstreamProxy
from kap.errors import ConfigError


def upstream_proxy(config: Config) -> UpstreamProxy | None:
    """The proxy of ``[proxy.upstream]`` with its credentials; None where there is none. Raises `ConfigError`."""
    table = config.proxy.upstream
    if table.url and (table.auth_env or table.auth_file) and not config.wrote("global", "proxy", "upstream"):
        raise ConfigError(
            "[proxy.upstream] of the project asks for credentials of this host",
            "move the table [proxy.upstream] to your own ~/.kap/kap.toml",
        )
    return credentials.upstream_proxy(table)
