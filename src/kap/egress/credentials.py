"""The upstream proxy with its credentials, read from the variable or the file the policy names: the one reader, for sidecar and host.

Rules: what is read goes to the plane and nowhere else: not to a log, not to a status, not into a message. Whether a policy may ask for
credentials at all is the caller's to judge, before.
"""

from __future__ import annotations

import os
from pathlib import Path

from kap.config.model import Upstream
from kap.egress.upstream import UpstreamProxy
from kap.errors import ConfigError

MAX_CHARACTERS = 4096


def upstream_proxy(config: Upstream) -> UpstreamProxy | None:
    """The proxy of ``[proxy.upstream]``, None where none is set. Raises `ConfigError`, where credentials are named but not there too."""
    return UpstreamProxy.from_config(config, _credentials(config)) if config.url else None


def _credentials(config: Upstream) -> str:
    """``user:password``, or "" where none are named."""
    if config.auth_env:
        where, found = f"the variable {config.auth_env}", os.environ.get(config.auth_env, "")
    elif config.auth_file:
        where = f"the file {config.auth_file}"
        found = _read(config.auth_file, where)
    else:
        return ""
    found = found.strip()
    if (
        ":" not in found
        or len(found) > MAX_CHARACTERS
        or any(ord(char) < 32 or 127 <= ord(char) < 160 for char in found)
    ):
        raise ConfigError(
            f"the upstream proxy's credentials: {where} does not hold user:password", "write them there as one line"
        )
    return found


def _read(text: str, where: str) -> str:
    try:
        path = Path(text).expanduser()
        if path.exists() and not path.is_file():  # a FIFO or a device would be waited for
            raise ValueError("it is no regular file")
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 2)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise ConfigError(f"the upstream proxy's credentials: {where} cannot be read: {reason}", "it holds user:password")
