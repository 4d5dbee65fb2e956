"""What stands between a client and mitmproxy's HTTP stack: kap's own parser, policy and clock, on mitmproxy's connections.

    client ⇄ GuardLayer ⇄ HttpLayer (hooks, addons) ⇄ ServerEdge ⇄ origin          plain HTTP
    client ⇄ GuardLayer ⇄ GateTunnel ⇄ origin                                      after a CONNECT the HttpLayer answered 200

Rules: the stack sees a request only after it was parsed strictly (`http1`), allowed (`KapAskHook`) and its vetted address connected; it
sees it written anew, with that address as the target and the name in Host, so that its connection pool and the addons agree with us on
where it goes. One request at a time. What the stack answers is parsed and written anew too. An exception anywhere closes everything.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode

from kap.egress.gate_ask import Ask, KapAskHook
from kap.egress.gate_connection import NEVER, GuardedConnection, Steps, method_of
from kap.egress.gate_edge import ClientEdge, ServerEdge, StackPage
from kap.egress.gate_tunnel import GateTunnel
from kap.egress.http1 import BadMessage, End, RequestHead, RequestParser, chunk, host_field, last_chunk, rebuild_request
from kap.names.hosts import Host, Target

ATTEMPTS = 4
TICK = 1.0


class GuardLayer(GuardedConnection):
    """See the module. Top layer of one client connection."""

    # -- events

    def handle_event(self, event: events.Event) -> Any:
        """mitmproxy reads on whatever happens to what it has read: stop it while a connection or an addon is waited for."""
        if isinstance(event, events.DataReceived) and event.connection is self.context.client and self._stalled:
            self._held += len(event.data)
            if self._held > self.gate.limits.buffer_bytes:
                self.gate.hold(self.context.client, True)
            if self._held > 4 * self.gate.limits.buffer_bytes:  # it cannot be held: let go
                self._over = True
                yield commands.CloseConnection(self.context.client)
                return
        yield from super().handle_event(event)
        if self._held and not self._stalled:
            self._held = 0
            self.gate.hold(self.context.client, False)

    @property
    def _stalled(self) -> bool:
        return (
            self._paused is not None
            or (self._head is not None and self._complete)
            or any(stream._paused is not None for stream in self._http.streams.values())
        )

    def _handle_event(self, event: events.Event) -> Steps:
        try:
            yield from self._dispatch(event)
            yield from self._set_clock()
        except Exception as error:  # noqa: BLE001 - fail closed: mitmproxy would log it and leave the connection as it is
            self.gate.broken(self.context.client, error)
            self._over = True
            yield from self._close_all()

    def _dispatch(self, event: events.Event) -> Steps:
        if isinstance(event, events.Start):
            self._due = time.monotonic() + self.gate.limits.head_seconds
            yield from self._to_stack(event)
        elif isinstance(event, events.Wakeup) and event.command is self._timer:
            self._timer = None
            if time.monotonic() >= self._due:
                yield from self._expired()
        elif isinstance(event, events.DataReceived):
            if self._over:
                yield from self._throw_away(event.data)
            elif event.connection is self.context.client:
                yield from self._client_data(event.data)
            else:
                yield from self._server_data(event.connection, event.data)
        elif isinstance(event, events.ConnectionClosed):
            yield from self._closed(event)
        else:
            yield from self._to_stack(event)
        if self._opening is not None and self._client.raw and not self._over:
            yield from self._begin_tunnel(self._opening)
        yield from self._next_requests()

    def _client_data(self, data: bytes) -> Steps:
        if self._tunnel is not None:
            yield from self._tunnel.from_client(data)
        elif self._client.raw:
            yield from self._to_stack(events.DataReceived(self.context.client, data))
        else:
            self._requests.feed(data)

    def _server_data(self, server: Server, data: bytes) -> Steps:
        if self._tunnel is not None and server is self._tunnel.server:
            yield from self._tunnel.from_server(data)
            return
        if self._opening is not None and server is self._opening.server:
            self._early += data
            if len(self._early) > self.gate.limits.buffer_bytes:
                yield from self.end("egress.server-first")
            return
        edge = self._edges.get(server)
        if edge is None:
            yield commands.CloseConnection(server)
            return
        try:
            passed = edge.incoming(data)
        except BadMessage as error:
            yield from self._bad_answer(server, error)
            return
        if passed:
            yield from self._to_stack(events.DataReceived(server, passed))

    def _closed(self, event: events.ConnectionClosed) -> Steps:
        connection = event.connection
        if self._tunnel is not None and connection in (self.context.client, self._tunnel.server):
            yield from self._tunnel.closed(connection)
        elif connection is self.context.client:
            if self._over or self._head is None or self._client.raw or connection.state is ConnectionState.CLOSED:
                yield from self._close_all()
            else:
                self._half_closed = True  # the answer it waits for is still sent
                self._requests.feed_eof()
        else:
            edge = self._edges.pop(connection, None)
            try:
                passed = b"" if edge is None else edge.ended()
            except BadMessage as error:
                yield from self._bad_answer(connection, error)
                return
            if passed:
                yield from self._to_stack(events.DataReceived(connection, passed))
            yield from self._to_stack(event)

    # -- requests

    def _next_requests(self) -> Steps:
        """Hand on the current request as far as it is here, and the next one once the current one is answered."""
        while not (self._over or self._client.raw or self._tunnel is not None) and not (
            self._head is not None and self._complete
        ):
            try:
                event = self._requests.next()
            except BadMessage as error:
                yield from self.refuse(error.code, detail=error.message)
                return
            if event is None:
                return
            if isinstance(event, RequestHead):
                yield from self._request(event)
            elif self._head is None:
                continue  # the end of a request that was answered before it ended
            elif isinstance(event, End):
                self._complete = True
                if self._head.fields.chunked:
                    yield from self._to_stack(events.DataReceived(self.context.client, last_chunk()))
            else:
                data = chunk(event) if self._head.fields.chunked else bytes(event)
                yield from self._to_stack(events.DataReceived(self.context.client, data))

    def _request(self, head: RequestHead) -> Steps:
        self._head, self._complete = head, head.form == "authority" or head.upgrade
        if self._only is not None and head.target != self._only:
            yield from self.refuse("egress.host-mismatch", target=head.target)
            return
        ask = self._ask = Ask(self.context.client, head.target, "connect" if head.form == "authority" else "http")
        yield KapAskHook(ask)
        if self._over:
            return
        if ask.code:
            yield from self.refuse(ask.code, target=ask.target, rule=ask.rule, detail=ask.detail)
            return
        server = yield from self._connect(ask)
        if server is None or self._over:
            return
        number = self.gate.record(
            "egress.allowed", self.context.client, "allow", ask.target, method_of(head), ask.rule, server.address[0]
        )
        self._due = time.monotonic() + self.gate.limits.response_seconds
        self._client.expect(head)
        address = Target(Host(server.address[0], True), ask.target.port)
        if head.form == "authority":
            self._opening = GateTunnel(self, ask, server, number)
            raw = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (str(address).encode(), str(ask.target).encode())
        else:
            edge = self._edge = self._edges[server]
            edge.target, edge.asterisk, edge.begun = ask.target, head.path == b"*", False
            raw = _for_stack(head, ask.target, address)
        yield from self._to_stack(events.DataReceived(self.context.client, raw))

    def _connect(self, ask: Ask) -> Generator[Any, Any, Server | None]:
        """A connection to one of the vetted addresses, a pooled one where there is; None after a refusal."""
        error = ""
        for address in ask.addresses[:ATTEMPTS]:
            where = (address, ask.target.port)
            pooled = self._pool.get(where)
            if ask.kind != "connect" and pooled is not None and pooled.connected and not self._edges[pooled].spent:
                return pooled
            server = Server(address=where)
            self.context.server = server
            error = yield commands.OpenConnection(server)
            if not error:
                self._pool[where] = server
                self._edges[server] = ServerEdge(ask.target, self.gate.wire_limits)
                return server
        code, detail = self.gate.dial_failure(error)
        yield from self.refuse(code, target=ask.target, detail=detail, address=ask.addresses[0])
        return None

    def _begin_tunnel(self, tunnel: GateTunnel) -> Steps:
        """The stack answered the CONNECT with 200 and is left alone from here on."""
        self._tunnel, self._opening, self._head = tunnel, None, None
        self._due = NEVER if tunnel.open else time.monotonic() + self.gate.limits.hello_seconds
        early, self._early = self._early, b""
        if early:
            yield from tunnel.from_server(early)
        rest = self._requests.rest()
        if rest and not self._over:
            yield from tunnel.from_client(rest)
        if self._half_closed and not self._over:
            if self._tunnel is None:  # HTTP inside: what was asked is still answered
                self._requests.feed_eof()
            else:
                yield from tunnel.closed(self.context.client)

    def opened(self) -> None:
        """The tunnel's opening was accepted: only mitmproxy's idle limit stands over it now."""
        self._due = NEVER

    def speak_http(self, ask: Ask, data: bytes) -> Steps:
        """What runs inside the tunnel is HTTP to its target: back to requests, with a stack of their own."""
        tunnel, self._tunnel = self._tunnel, None
        assert tunnel is not None
        self._only = ask.target
        self._requests = RequestParser(self.gate.wire_limits, origin_port=ask.target.port)
        self._client = ClientEdge(self.gate.wire_limits)
        self._http = HttpLayer(self.context, HTTPMode.regular)
        self._due = time.monotonic() + self.gate.limits.head_seconds
        yield from self._to_stack(events.Start())
        yield from self._client_data(data)

    # -- answers

    def _to_stack(self, event: events.Event) -> Steps:
        """Let mitmproxy's stack work, and look at everything it wants done."""
        for command in self._http.handle_event(event):
            if isinstance(command, commands.SendData):
                yield from self._stack_sends(command)
            elif isinstance(command, commands.CloseConnection) and command.connection is self.context.client:
                yield from self._stack_closes()
            else:
                yield command

    def _stack_sends(self, command: commands.SendData) -> Steps:
        if self._over or self._tunnel is not None:
            return
        if command.connection is not self.context.client:
            edge = self._edges.get(command.connection)
            if edge is not None:  # a connection the stack opened by itself has none, and gets nothing
                yield from self._send(command.connection, edge.outgoing(command.data))
            return
        try:
            data = self._client.outgoing(command.data, from_origin=self._edge is not None and self._edge.begun)
        except StackPage:
            code, detail = self.gate.dial_failure("")
            yield from self.refuse(code, target=self._asked, detail=detail)
            return
        yield from self._send(self.context.client, data)
        if self._client.done:
            yield from self._answered()

    def _answered(self) -> Steps:
        """One answer is complete: on to the next request, or the end."""
        if self._client.closes or self._half_closed or not self._complete:
            yield from self._finish()
            return
        for server, edge in list(self._edges.items()):
            if edge.spent and server.connected:
                yield commands.CloseConnection(server)
        self._requests.resume()
        self._client.done = False
        self._head = self._ask = None
        self._due = time.monotonic() + self.gate.limits.keepalive_seconds

    def _stack_closes(self) -> Steps:
        if self._over or self._tunnel is not None or self._opening is not None:
            return
        if self._head is not None and not self._client.done:
            yield from self._send(self.context.client, self._client.ended())
        yield from self._finish()

    def _bad_answer(self, server: Server, error: BadMessage) -> Steps:
        self._edges.pop(server, None)
        if server.connected:
            yield commands.CloseConnection(server)
        if self._head is not None:
            yield from self.refuse("egress.bad-response", target=self._asked, detail=error.message)

    def _set_clock(self) -> Steps:
        """One timer per connection, short, so that a deadline may also move closer."""
        if self._timer is None and self._due != NEVER:
            self._timer = commands.RequestWakeup(min(TICK, max(0.0, self._due - time.monotonic())) + 0.01)
            yield self._timer


def _for_stack(head: RequestHead, target: Target, address: Target) -> bytes:
    """The request for mitmproxy: the vetted address as the URL (its pool and its dial go by that), the name in Host."""
    path = b"/" if head.path == b"*" else head.path
    _line, _, fields = rebuild_request(head, target, via=b"").partition(b"\r\n")
    return b"%b http://%b%b HTTP/1.1\r\n%b" % (head.method, host_field(address), path, fields)
