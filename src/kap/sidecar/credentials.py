"""The upstream proxy with its credentials: read once, here, from where the policy says they are.

Rules: what is read goes to the plane and nowhere else: not to the log, not to the status, not into a message.
"""

from __future__ import annotations

import os
from pathlib import Path

from kap.config.model import Upstream
from kap.egress.upstream import UpstreamProxy
from kap.errors import ConfigError

_LIMIT = 4096


def upstream_proxy(config: Upstream) -> UpstreamProxy | None:
    """The proxy of ``[proxy.upstream]``, None where none is set. Raises `ConfigError`, where credentials are named but not there too."""
    return UpstreamProxy.from_config(config, _credentials(config)) if config.url else None


def _credentials(config: Upstream) -> str:
    """``user:password``, or "" where none are named."""
    if config.auth_env:
        found = os.environ.get(config.auth_env, "")
        where = f"the variable {config.auth_env}"
    elif config.auth_file:
        where = f"the file {config.auth_file}"
        try:
            with Path(config.auth_file).open(encoding="utf-8") as file:
                found = file.read(_LIMIT)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigError(
                f"the upstream proxy's credentials: {where} cannot be read: {reason}", "it holds user:password"
            ) from error
    else:
        return ""
    found = found.strip()
    if ":" not in found or any(ord(char) < 32 or ord(char) == 127 for char in found):
        raise ConfigError(
            f"the upstream proxy's credentials: {where} does not hold user:password", "write them there as one line"
        )
    return found
