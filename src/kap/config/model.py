"""What a loaded ``kap.toml`` means. Shapes mirror ``schemas/kap.schema.json``, which is their source; values are not yet policy.

Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

import msgspec


class Network(msgspec.Struct, frozen=True):
    """``[proxy.network]``: rule texts as written (``github.com``, ``*.github.com:22``, ``db.corp.example:5432/tcp``, ``10.1.0.0/16:443``).

    `private`: CIDRs of non-global addresses that allowed *names* may resolve to. `ech`: host patterns that may use ECH.
    """

    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    private: tuple[str, ...] = ()
    ech: tuple[str, ...] = ()


class Upstream(msgspec.Struct, frozen=True):
    """``[proxy.upstream]``: a corporate proxy. `url` ``http://proxy.example.com:3128`` ("" means none); `auth_env`/`auth_file` name the
    variable or file (on the host or in the sidecar) holding ``user:password``; `hosts`: patterns that go through it (empty: all);
    `direct`: patterns that do not; `ca_file`: extra PEM for an ``https://`` proxy."""

    url: str = ""
    auth_env: str = ""
    auth_file: str = ""
    hosts: tuple[str, ...] = ()
    direct: tuple[str, ...] = ()
    ca_file: str = ""


class Limits(msgspec.Struct, frozen=True):
    """``[proxy.limits]``: everything is bounded. Seconds and bytes."""

    connections: int = 4096
    connections_per_client: int = 2048
    head_bytes: int = 65_536
    head_seconds: float = 15.0
    hello_bytes: int = 65_536
    hello_seconds: float = 15.0
    connect_seconds: float = 15.0
    response_seconds: float = 300.0
    idle_seconds: float = 3600.0
    keepalive_seconds: float = 120.0
    buffer_bytes: int = 524_288
    dns_inflight: int = 1024
    dns_seconds: float = 5.0


class Log(msgspec.Struct, frozen=True):
    """``[proxy.observe]``: `log` path of the JSON Lines file, rotated at `max_bytes`, `keep` old files kept."""

    log: str = ""
    max_bytes: int = 16_777_216
    keep: int = 4


class Proxy(msgspec.Struct, frozen=True):
    """``[proxy]``: `dns_upstream` ``ip:port`` ("" means the resolver of the host the sidecar runs on)."""

    listen: str = "0.0.0.0:3128"
    dns_listen: str = "0.0.0.0:53"
    dns_upstream: str = ""
    network: Network = Network()
    upstream: Upstream = Upstream()
    limits: Limits = Limits()
    observe: Log = Log()


class Run(msgspec.Struct, frozen=True):
    """``[run]``: `env`, names of host variables passed into a ``kap run`` capsule; `read_only` and `hide`, workspace-relative paths."""

    env: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()
    hide: tuple[str, ...] = ()
