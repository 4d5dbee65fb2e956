"""kap's policy on mitmproxy's own layers, as an addon: for what needs their HTTP semantics, or other people's addons.

    gate = GateAddon(live, audit, resolver=SystemResolver(), limits=config.proxy.limits)
    await run_framed(work, gate, OtherAddon())      # work: await gate.serve(sock), wait for the end, await gate.close()

It dials directly. A host that is reached through an upstream proxy belongs to the data plane and is refused here, so that nothing goes
past that proxy.

Rules: the same `policy.decide`, the same address guard, the same events and replies as the data plane's; default deny at every point
mitmproxy offers: a layer nobody chose closes, an address nobody was granted is not dialled, a request for another place than the one
that was allowed is refused. Bodies are streamed, messages are not kept.

A ``regular@PORT`` listener of mitmproxy's, where one is configured, is guarded in the same way (`next_layer`).
"""

from __future__ import annotations

import asyncio
import collections
import logging
import re
import socket
import time
from typing import Any

from mitmproxy import ctx, http
from mitmproxy.connection import Client, Server
from mitmproxy.proxy import layer, mode_servers, mode_specs, server_hooks
from mitmproxy.proxy.layers import modes

from kap.audit.event import Event
from kap.audit.log import Recorder
from kap.config.model import Limits
from kap.egress import replies
from kap.egress.connector import Connector
from kap.egress.gate_ask import Ask
from kap.egress.gate_layer import GuardLayer
from kap.egress.gate_tunnel import GateTunnel
from kap.egress.grant import Grant
from kap.egress.http1 import WireLimits
from kap.egress.resolve import ResolveError, Resolver
from kap.egress.strict import CloseLayer, cut
from kap.egress.upstream import UpstreamProxy
from kap.names.hosts import Target
from kap.policy.compiler import Policy
from kap.policy.decision import RuleRef
from kap.policy.live import Live
from kap.policy.request import EgressRequest

BACKLOG = 4096
_GRANTS_KEPT = 63  # per address of one client connection
_WRONG_WIRE = {("http", "tls"): "egress.not-tls", ("http", "ssh"): "egress.not-ssh"}
_OUR_ERROR = re.compile(r"kap:(egress\.[a-z-]+)")
_log = logging.getLogger("kap.egress.gate")


class GateAddon:
    """See the module. `subject`: who the clients are."""

    name = "kap_gate"
    hooks = (
        "running",
        "next_layer",
        "kap_ask",
        "requestheaders",
        "http_connect",
        "responseheaders",
        "websocket_message",
        "server_connect",
        "server_connected",
        "server_connect_error",
        "client_disconnected",
    )

    def __init__(
        self,
        live: Live,
        audit: Recorder,
        *,
        resolver: Resolver,
        limits: Limits,
        own_addresses: frozenset[str] = frozenset(),
        upstream: UpstreamProxy | None = None,
        subject: str = "app",
    ) -> None:
        self.live = live
        self.audit = audit
        self.limits = limits
        self.wire_limits = WireLimits(head_bytes=limits.head_bytes)
        self._connector = Connector(resolver, own_addresses)
        self._upstream = upstream
        self._subject = subject
        self._grants: dict[str, dict[tuple[str, int], list[Grant]]] = {}
        self._dialling: dict[str, asyncio.TimerHandle] = {}
        self._servers: list[asyncio.Server] = []
        self._open = 0
        self._clients: collections.Counter[str] = collections.Counter()
        self._number = 0
        self._turned_away = 0
        self._told = 0.0

    def running(self) -> None:
        """Hook: mitmproxy's one clock over open connections goes by our limit."""
        seconds = max(1, int(self.limits.idle_seconds))
        if ctx.options.tcp_timeout != seconds:
            ctx.options.update(tcp_timeout=seconds)

    def reconfigure(self, limits: Limits, upstream: UpstreamProxy | None) -> None:
        """Take these limits and this upstream proxy for what connects from now on."""
        self.limits = limits
        self.wire_limits = WireLimits(head_bytes=limits.head_bytes)
        self._upstream = upstream
        self.running()

    # -- listening

    @property
    def connections(self) -> int:
        """Client connections open now."""
        return self._open

    async def serve(self, sock: socket.socket) -> None:
        """Accept proxy clients on the bound `sock`. Call while the frame runs. Raises `OSError`."""
        self._servers.append(await asyncio.start_server(self._accept, sock=sock, backlog=BACKLOG))

    def stop_accepting(self) -> None:
        """Close the listening sockets; open connections go on."""
        for server in self._servers:
            server.close()
        self._servers.clear()

    async def close(self) -> None:
        """Stop accepting and cut every client."""
        self.stop_accepting()
        for handler in list(self._handlers().values()):
            cut(handler.client, ctx.master)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = (writer.get_extra_info("peername") or ("",))[0]
        if self._open >= self.limits.connections or self._clients[peer] >= self.limits.connections_per_client:
            self._overloaded(writer)
            writer.write(replies.reply("egress.limit-connections"))
            writer.close()
            return
        self._open += 1
        self._clients[peer] += 1
        try:
            proxyserver = ctx.master.addons.get("proxyserver")
            mode = mode_specs.ProxyMode.parse("regular")
            handler = mode_servers.ProxyConnectionHandler(ctx.master, reader, writer, ctx.options, mode)
            handler.layer = GuardLayer(handler.layer.context, self)
            with proxyserver.register_connection(handler.client.id, handler):
                await handler.handle_client()
        finally:
            self._open -= 1
            self._clients[peer] -= 1
            if not self._clients[peer]:
                del self._clients[peer]
            if not writer.is_closing():
                writer.close()

    def _overloaded(self, writer: asyncio.StreamWriter) -> None:
        """At most one event a second: a flood must not become a log flood."""
        self._turned_away += 1
        now = time.monotonic()
        if now - self._told < 1:
            return
        client = Client(peername=writer.get_extra_info("peername"), sockname=writer.get_extra_info("sockname"))
        self.record(
            "egress.limit-connections", client, "deny", detail=f"{self._turned_away} turned away, {self._open} open"
        )
        self._turned_away, self._told = 0, now

    def hold(self, client: Client, stop: bool) -> None:
        """Stop reading from `client`, or go on."""
        handler = self._handlers().get(client.id)
        io = None if handler is None else handler.transports.get(client)
        if io is None or io.writer is None or io.writer.is_closing():
            return
        if stop:
            io.writer.transport.pause_reading()
        else:
            io.writer.transport.resume_reading()

    # -- deciding

    async def kap_ask(self, ask: Ask) -> None:
        """Hook: decide, resolve, vet. Grants the client exactly the vetted addresses."""
        policy = self.live.policy
        if policy is None:
            ask.refuse("egress.no-policy")
            return
        decision = policy.decide(EgressRequest(ask.target, ask.kind, self._subject))
        code = _WRONG_WIRE.get((ask.kind, decision.wire), "") if decision.allowed else decision.code
        if code:
            ask.refuse(code, rule=decision.rule)
            return
        if self._upstream is not None and self._upstream.carries(ask.target.host):
            ask.refuse(
                "egress.upstream-proxy", rule=decision.rule, detail="this listener does not use the upstream proxy"
            )
            return
        try:
            addresses = await self._resolve(ask.target)
        except ResolveError as error:
            ask.refuse("egress.dns-failure", rule=decision.rule, detail=str(error))
            return
        refused = {
            address: self._connector.refusal(policy, ask.target, address, self._subject) for address in addresses
        }
        vetted = tuple(address for address, code in refused.items() if not code)
        if not vetted:
            ask.refuse(next(iter(refused.values()), "egress.dns-failure"), rule=decision.rule)
            return
        grants = tuple(Grant(ask.target, ask.kind, self._subject, decision, address) for address in vetted)
        held = self._grants.setdefault(ask.client.id, {})
        for grant in grants:
            where = (grant.address, ask.target.port)
            held[where] = [*held.get(where, [])[-_GRANTS_KEPT:], grant]
        ask.allow(decision, grants)

    async def _resolve(self, target: Target) -> tuple[str, ...]:
        if target.host.is_ip:
            return (target.host.text,)
        known = self._connector.resolver.cached(target.host.text)
        return known if known is not None else await self._connector.resolver.resolve(target.host.text)

    def apply(self, policy: Policy) -> int:
        """Put `policy` in force; returns how many connections it cut."""
        self.live.policy = policy
        cut_off = 0
        for handler in list(self._handlers().values()):
            grants = [grant for some in self._grants.get(handler.client.id, {}).values() for grant in some]
            if not all(grant.permitted_by(policy, self._connector) for grant in grants):
                self.record("egress.revoked", handler.client, "deny", grants[-1].target)
                cut_off += cut(handler.client, ctx.master)
        return cut_off

    # -- mitmproxy's own points of decision: default deny

    def next_layer(self, nextlayer: layer.NextLayer) -> None:
        """Hook: the guard at the top of a ``regular`` listener, the end for everything else."""
        layers = nextlayer.context.layers
        if len(layers) == 1 and isinstance(layers[0], modes.HttpProxy):
            nextlayer.layer = GuardLayer(nextlayer.context, self)
        else:
            nextlayer.layer = CloseLayer(nextlayer.context)

    def http_connect(self, flow: http.HTTPFlow) -> None:
        """Hook: a CONNECT has to be one the guard let in."""
        self._hold_to_grant(flow)

    def requestheaders(self, flow: http.HTTPFlow) -> None:
        """Hook: a request has to be one the guard let in; its body is streamed."""
        self._hold_to_grant(flow)
        flow.request.stream = flow.response is None

    def responseheaders(self, flow: http.HTTPFlow) -> None:
        """Hook: bodies are streamed."""
        if flow.response is not None:
            flow.response.stream = True

    def websocket_message(self, flow: http.HTTPFlow) -> None:
        """Hook: mitmproxy keeps every message of a websocket for as long as it lives; one is enough."""
        if flow.websocket is not None:
            del flow.websocket.messages[:-1]

    def _hold_to_grant(self, flow: http.HTTPFlow) -> None:
        request = flow.request
        granted = self._grants.get(flow.client_conn.id, {}).get((request.host, request.port))
        if granted is None or request.scheme not in ("http", "") or len(request.headers.get_all("host")) != 1:
            code = "egress.internal-error"
            flow.response = http.Response.make(500, replies.body_text(code), {"X-Kap-Reason": code})

    async def server_connect(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Hook: only an address that was granted to this client is dialled, and only for so long."""
        server: Server = data.server
        host, port = server.address[:2]
        if (host, port) not in self._grants.get(data.client.id, {}) or server.via is not None:
            server.error = "kap:egress.internal-error"
            _log.error("refused to dial %s:%d for %s: not granted", host, port, data.client.peername)
            return
        task = asyncio.current_task()
        if task is not None:
            loop = asyncio.get_running_loop()
            self._dialling[server.id] = loop.call_later(
                self.limits.connect_seconds, task.cancel, "kap:egress.connect-timeout"
            )

    def server_connected(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Hook: the dial came through."""
        self._stop_clock(data.server)

    def server_connect_error(self, data: server_hooks.ServerConnectionHookData) -> None:
        """Hook: it did not."""
        self._stop_clock(data.server)

    def client_disconnected(self, client: Client) -> None:
        """Hook: what was granted to it ends with it."""
        self._grants.pop(client.id, None)

    def _stop_clock(self, server: Server) -> None:
        timer = self._dialling.pop(server.id, None)
        if timer is not None:
            timer.cancel()

    # -- events

    def dial_failure(self, error: str) -> tuple[str, str]:
        """The code and words for what mitmproxy says about a connection that could not be made ("" for an answer that never came)."""
        if not error:
            return "egress.bad-response", "the host closed the connection without an answer"
        ours = _OUR_ERROR.search(error)
        if ours is not None:
            return ours[1], ""
        return "egress.connect-failed", error

    def record(
        self,
        code: str,
        client: Client,
        verdict: str,
        target: Target | None = None,
        method: str = "",
        rule: RuleRef | None = None,
        address: str = "",
        detail: str = "",
    ) -> int:
        """One decision event; its id."""
        self._number += 1
        policy = self.live.policy
        event = Event(
            "decision",
            "egress",
            code,
            id=self._number,
            verdict=verdict,
            subject=self._subject,
            method=method,
            rule=rule,
        )
        event.policy = "" if policy is None else policy.digest[:12]
        event.client = _peer(client)
        event.address, event.detail = address, detail
        if target is not None:
            event.host, event.port = target.host.text, target.port
        self.audit.record(event)
        return self._number

    def tunnel_closed(self, tunnel: GateTunnel, client: Client) -> None:
        """The ``closed`` event of an allowed tunnel."""
        ask = tunnel.ask
        event = Event(
            "closed", "egress", "egress.allowed", id=tunnel.number, subject=self._subject, client=_peer(client)
        )
        event.host, event.port, event.address = ask.target.host.text, ask.target.port, tunnel.server.address[0]
        event.bytes_up, event.bytes_down = tunnel.bytes
        event.seconds = round(tunnel.seconds, 6)
        self.audit.record(event)

    def broken(self, client: Client, error: BaseException) -> None:
        """An exception in a layer: one event, one line for the operator."""
        _log.error("internal error on a connection of %s: %r", _peer(client), error, exc_info=error)
        self.record("egress.internal-error", client, "deny", detail=repr(error))

    def _handlers(self) -> dict[Any, Any]:
        connections: dict[Any, Any] = ctx.master.addons.get("proxyserver").connections
        return connections


def _peer(client: Client) -> str:
    return f"{client.peername[0]}:{client.peername[1]}" if client.peername else ""
