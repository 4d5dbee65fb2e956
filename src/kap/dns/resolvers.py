"""Which upstream name servers to ask: what the policy says, else what this machine asks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from kap.dns.upstream import Address
from kap.errors import ConfigError
from kap.names.hosts import BadTarget, parse_authority

RESOLV_CONF: Final = Path("/etc/resolv.conf")
MAX_SERVERS: Final = 3
"""MAXNS of resolv.conf(5)."""


def upstream_servers(upstream: str | Iterable[str] | None) -> tuple[Address, ...]:
    """The servers to ask, from ``address`` or ``address:port`` texts, or from ``/etc/resolv.conf`` for None and "".

    Raises `ConfigError` where one is not an IP address, or there is none.
    """
    texts = [upstream] if isinstance(upstream, str) and upstream else list(upstream or ())
    if not texts:
        texts = _resolv_conf(RESOLV_CONF)
    servers = []
    for text in texts:
        try:
            target = parse_authority(f"[{text}]" if text.count(":") > 1 and "[" not in text else text, 53)
        except BadTarget as error:
            raise ConfigError(
                f"the DNS upstream {text!r}: {error}", "Write it as address:port, like 192.0.2.53:53."
            ) from error
        if not target.host.is_ip:
            raise ConfigError(
                f"the DNS upstream {text!r} is a name", "Give its IP address: nothing can resolve it here."
            )
        servers.append((target.host.text, target.port))
    if not servers:
        raise ConfigError(
            f"no DNS upstream is set and {RESOLV_CONF} names none",
            'Set dns_upstream = "address:port" in [proxy] of kap.toml.',
        )
    return tuple(servers)


def _resolv_conf(path: Path) -> list[str]:
    """The first ``nameserver`` lines (resolv.conf(5)); zone ids are left out, since a sidecar has other interfaces."""
    try:
        text = path.read_text("utf-8", "replace")[:65_536]
    except OSError:
        return []
    words = [line.split() for line in text.splitlines()]
    found = [line[1] for line in words if len(line) >= 2 and line[0] == "nameserver" and "%" not in line[1]]
    return found[:MAX_SERVERS]
