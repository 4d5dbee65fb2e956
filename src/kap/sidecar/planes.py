"""The planes of the sidecar, built of a policy's settings, and set anew when those change.

Rules: limits, the upstream proxy, and the log's size follow the policy at once; what is bound to sockets (where to listen, which name
servers to ask) is taken at start, and `restart_needed` names what has changed since.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kap.audit.event import PROBE_OWN_NAME
from kap.audit.log import AuditLog
from kap.config.model import Proxy
from kap.dns.resolvers import upstream_servers
from kap.dns.server import NameServer
from kap.egress.credentials import upstream_proxy
from kap.egress.plane import Plane
from kap.egress.resolve import SystemResolver
from kap.policy.compiler import Policy
from kap.policy.live import Live
from kap.sidecar.listeners import Kind, Serve
from kap.sidecar.resolver import ServerResolver

if TYPE_CHECKING:
    from kap.egress.gate_addon import GateAddon

OWN_NAME = "kap"
"""The sidecar's name for its clients, answered with its own address whatever the policy."""

_AT_START = ("listen", "dns_listen", "dns_upstream")


class Planes:
    """Egress and DNS over one policy cell and one log. `own`: addresses never dialled; `answers`: what allowed names resolve to.
    `gate`: with mitmproxy's layers for other people's addons; its `GateAddon` has to be the first addon of the frame."""

    def __init__(
        self,
        live: Live,
        audit: AuditLog,
        proxy: Proxy,
        *,
        own: Sequence[str],
        answers: Sequence[str],
        transparent: bool,
        gate: bool = False,
    ) -> None:
        self._audit = audit
        self._proxy = proxy
        limits = proxy.limits
        upstream = upstream_proxy(proxy.upstream)
        self._resolver: SystemResolver | ServerResolver = SystemResolver(seconds=limits.dns_seconds)
        if proxy.dns_upstream:
            servers = upstream_servers(proxy.dns_upstream)
            self._resolver = ServerResolver(servers, seconds=limits.dns_seconds, inflight=limits.dns_inflight)
        self.egress = Plane(
            live,
            audit,
            resolver=self._resolver,
            limits=limits,
            upstream=upstream,
            own_addresses=frozenset(own),
        )
        self.gate: GateAddon | None = None
        if gate:
            from kap.egress.gate_addon import GateAddon

            self.gate = GateAddon(
                live,
                audit,
                resolver=self._resolver,
                limits=limits,
                own_addresses=frozenset(own),
                upstream=upstream,
            )
        self.names = NameServer(
            live,
            audit,
            answer="self" if transparent else "forward",
            addresses=answers,
            upstream=proxy.dns_upstream or None,
            names={OWN_NAME: answers, PROBE_OWN_NAME: answers},
            limits=limits,
        )

    def apply(self, policy: Policy) -> int:
        """Put `policy` and its settings in force; how many connections that cut."""
        proxy = policy.config.proxy
        self._audit.resize(max_bytes=proxy.observe.max_bytes, keep=proxy.observe.keep)
        upstream = upstream_proxy(proxy.upstream)
        self.egress.configure(proxy.limits, upstream)
        cut = self.egress.apply(policy)
        if self.gate is not None:
            cut += self.gate.apply(policy)
            self.gate.reconfigure(proxy.limits, upstream)  # last: it runs a hook of other people's
        return cut

    @property
    def connections(self) -> int:
        """Client connections open now."""
        return self.egress.connections + (self.gate.connections if self.gate is not None else 0)

    def stop_accepting(self) -> None:
        """Close the listening sockets for connections; open ones go on."""
        self.egress.stop_accepting()
        if self.gate is not None:
            self.gate.stop_accepting()

    def restart_needed(self, policy: Policy) -> list[str]:
        """The settings of `policy` that differ from those this sidecar was started with and cannot change while it runs."""
        now = policy.config.proxy
        return [f"[proxy] {name}" for name in _AT_START if getattr(now, name) != getattr(self._proxy, name)]

    def server(self, kind: Kind, sock: socket.socket) -> Serve:
        """Who serves a socket of `kind`."""
        if kind == "dns":
            return self.names.serve_udp if sock.type == socket.SOCK_DGRAM else self.names.serve_tcp
        if kind == "gate":
            assert self.gate is not None
            return self.gate.serve
        plane_kind = kind

        async def serve(accepting: socket.socket) -> None:
            await self.egress.serve(accepting, plane_kind)

        return serve

    async def close(self) -> None:
        """End every connection and close every socket."""
        await self.egress.close()
        if self.gate is not None:
            await self.gate.close()
        await self.names.close()
        self._resolver.close()
