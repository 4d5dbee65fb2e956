"""What a loaded ``kap.toml`` means. Shapes mirror ``schemas/kap.schema.json``, which is their source; values are not yet policy.

Durations are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Literal

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


class McpServer(msgspec.Struct, frozen=True):
    """``[[mcp.servers]]``: tool-name patterns and further upstream headers (``${NAME}`` is a sidecar variable). `layer`: whose entry it is.

    Two entries of one name (global and project) both stand: a call must be allowed by each, and `deny` of each is in both.
    """

    name: str
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    layer: str = "project"


class Mcp(msgspec.Struct, frozen=True):
    """``[mcp]``; the whole table absent: no MCP proxy."""

    listen: str = "0.0.0.0:3129"
    auth_dir: str = "/etc/kap/auth"
    servers: tuple[McpServer, ...] = ()


class CliTool(msgspec.Struct, frozen=True):
    """``[[cli.tools]]``: command patterns, names of variables the tool gets. Two of one name: see `McpServer`."""

    name: str
    mode: Literal["proxy", "direct"] = "proxy"
    allow: tuple[str, ...] = ()
    deny: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    layer: str = "project"


class Cli(msgspec.Struct, frozen=True):
    """``[cli]``; the whole table absent: no command proxy."""

    listen: str = "0.0.0.0:3130"
    tools: tuple[CliTool, ...] = ()


class Build(msgspec.Struct, frozen=True):
    """``[compose] build``."""

    context: str
    dockerfile: str = ""
    target: str = ""


class Compose(msgspec.Struct, frozen=True):
    """``[compose]``: `image` "" means the image of this version of kap; `build` takes precedence."""

    image: str = ""
    build: Build | None = None


class Setup(msgspec.Struct, frozen=True):
    """``[setup]``: what the container's set-up script installs."""

    claude_code: bool = False
    codex: bool = False
    gh: bool = False


class File(msgspec.Struct, frozen=True):
    """One kap.toml as written, before layers are put together. `mcp` and `cli` are None where the table is absent."""

    presets: tuple[str, ...] = ()
    ssh_agent: bool = False
    ssh_signing: bool = False
    trust: Literal["approve", "workspace"] = "approve"
    proxy: Proxy = Proxy()
    run: Run = Run()
    mcp: Mcp | None = None
    cli: Cli | None = None
    compose: Compose = Compose()
    setup: Setup = Setup()
    env: dict[str, str] = msgspec.field(default_factory=dict)
