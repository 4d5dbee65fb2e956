"""The egress data plane: listening sockets in, decided and vetted connections out. On the running asyncio loop (uvloop or not).

    plane = Plane(live, audit, resolver=SystemResolver(), limits=config.proxy.limits)
    await plane.serve(sock, "proxy")          # bound sockets, made by whoever owns the namespace
    cut = plane.apply(policy)                 # reload: atomic, and cuts what the new policy forbids
    await plane.close()

Rules: every verdict is `policy.decide`'s; without a policy everything is refused; `serve` never opens a socket of its own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container
from functools import partial
from typing import Literal

from kap.audit.log import Recorder
from kap.config.model import Limits
from kap.egress.connection import ClientSide
from kap.egress.connector import Connector
from kap.egress.entrance import Entrance
from kap.egress.forward import Forward
from kap.egress.resolve import Resolver
from kap.egress.state import PlaneState
from kap.egress.tunnel import Tunnel
from kap.egress.upstream import UpstreamProxy
from kap.policy.compiler import Policy
from kap.policy.live import Live

Kind = Literal["proxy", "http", "tls"]

BACKLOG = 4096
_ACCEPTS = 8  # per wake-up; also how often asyncio tries, and complains, while descriptors are exhausted
_PORTS = {"http": 80, "tls": 443}


class Plane:
    """See the module. `upstream` is made by `UpstreamProxy.from_config`; `own_addresses`: canonical addresses kap itself listens on,
    never dialled whatever the policy says."""

    def __init__(
        self,
        live: Live,
        audit: Recorder,
        *,
        resolver: Resolver,
        limits: Limits,
        upstream: UpstreamProxy | None = None,
        own_addresses: Container[str] = frozenset(),
    ) -> None:
        self._state = PlaneState(live, audit, Connector(resolver, own_addresses), limits, upstream)
        self._servers: list[asyncio.Server] = []

    @property
    def connections(self) -> int:
        """Client connections open now, spliced ones included."""
        return len(self._state.connections)

    async def serve(self, sock: socket.socket, kind: Kind, *, port: int | None = None) -> None:
        """Accept on the bound `sock`: "proxy" (CONNECT and plain HTTP), "http" or "tls" (transparent, routed by Host or SNI).

        `port`: of a transparent listener, the port its clients meant (80 and 443 where not given). Returns once it listens. Raises
        `OSError`."""
        loop = asyncio.get_running_loop()
        self._state.start(loop)
        meant = port or _PORTS.get(kind)
        factory: Callable[[], ClientSide]
        if kind == "tls":
            factory = partial(Tunnel, self._state, meant or 443)
        elif kind == "http":
            factory = partial(Forward, self._state, meant)
        else:
            factory = partial(Entrance, self._state)
        server = await loop.create_server(factory, sock=sock, backlog=_ACCEPTS)
        sock.listen(BACKLOG)  # The kernel's queue; create_server's number only paces accept().
        self._servers.append(server)

    def apply(self, policy: Policy) -> int:
        """Put `policy` in force; returns how many connections it cut (tunnels, spliced ones, requests under way)."""
        self._state.live.policy = policy
        cut = 0
        for connection in list(self._state.connections.values()):
            try:
                revoked = connection.revoked_by(policy)
            except Exception as error:  # noqa: BLE001 - what cannot be judged does not stay open
                connection.broken(error)
                cut += 1
                continue
            if revoked:
                connection.revoke()
                cut += 1
        return cut

    def configure(self, limits: Limits, upstream: UpstreamProxy | None) -> None:
        """Take these limits and this upstream proxy for what connects from now on."""
        self._state.configure(limits, upstream)

    def stop_accepting(self) -> None:
        """Close the listening sockets; open connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def close(self) -> None:
        """Stop accepting and close every connection; returns when the last one is gone."""
        self.stop_accepting()
        for connection in list(self._state.connections.values()):
            connection.abort()
        self._state.stop()
        for _ in range(100):
            if not self._state.connections:
                break
            await asyncio.sleep(0.01)
