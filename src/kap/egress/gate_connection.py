"""One client connection of the gate: what is known about it, and the ways it can end.

Rules: a refusal has its event and, where an answer is still possible, its reply; after the last answer the client gets FIN and a moment
to read it; every other end is at once, both sides.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from mitmproxy.connection import Connection, ConnectionState, Server
from mitmproxy.proxy import commands, layer
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.layers.http import HttpLayer, HTTPMode

from kap.egress import replies
from kap.egress.gate_ask import Ask
from kap.egress.gate_edge import ClientEdge, ServerEdge
from kap.egress.gate_tunnel import GateTunnel
from kap.egress.http1 import RequestHead, RequestParser
from kap.names.hosts import Target
from kap.policy.decision import RuleRef

if TYPE_CHECKING:
    from kap.egress.gate_addon import GateAddon

Steps = Generator[Any, Any, None]
LINGER_SECONDS = 2.0
LINGER_BYTES = 1 << 20
_FORBIDDEN = frozenset({"egress.not-tls", "egress.not-ssh"})  # said to a request in HTTP, they have an answer in HTTP
NEVER = float("inf")


class GuardedConnection(layer.Layer):  # type: ignore[misc]
    """State and ends; `gate_layer.GuardLayer` is the whole."""

    def __init__(self, context: Context, gate: GateAddon) -> None:
        super().__init__(context)
        self.gate = gate
        self._http = HttpLayer(context, HTTPMode.regular)
        self._requests = RequestParser(gate.wire_limits)
        self._client = ClientEdge(gate.wire_limits)
        self._head: RequestHead | None = None
        self._ask: Ask | None = None
        self._complete = False  # the request has been handed on to its end
        self._half_closed = False
        self._over = False
        self._late = 0  # bytes that came behind the last answer
        self._held = 0  # bytes that came while waiting for a connection
        self._only: Target | None = None  # HTTP inside a tunnel: the one target there is
        self._edges: dict[Server, ServerEdge] = {}
        self._edge: ServerEdge | None = None  # of the current request
        self._pool: dict[tuple[str, int], Server] = {}
        self._opening: GateTunnel | None = None  # a CONNECT the stack has not answered yet
        self._early = b""  # what its server said meanwhile
        self._tunnel: GateTunnel | None = None
        self._due = NEVER
        self._timer: commands.RequestWakeup | None = None

    # -- ends

    def refuse(
        self,
        code: str,
        *,
        target: Target | None = None,
        rule: RuleRef | None = None,
        detail: str = "",
        address: str = "",
    ) -> Steps:
        """Answer `code` where an answer is still possible, and end."""
        head = self._head
        self.gate.record(code, self.context.client, "deny", target, method_of(head), rule, address, detail)
        if self._client.answer is None and self._tunnel is None:
            where = (target.host.text, target.port) if target is not None else ("", 0)
            accept = None if head is None else head.fields.get(b"accept")
            wants_body = head is None or head.method != b"HEAD"
            status = 403 if code in _FORBIDDEN else 0
            answer = replies.reply(
                code,
                host=where[0],
                port=where[1],
                rule=rule,
                detail=detail,
                accept=accept,
                body=wants_body,
                status=status,
            )
            yield from self._send(self.context.client, answer)
        yield from self._finish()

    @property
    def _asked(self) -> Target | None:
        return None if self._ask is None else self._ask.target

    def forsake(self) -> None:
        """Let nothing pass any more; whoever calls this closes the connections."""
        self._over = True

    def end(self, code: str, detail: str = "") -> Steps:
        """End a tunnel; `code` says why where it was refused."""
        tunnel = self._tunnel or self._opening
        if code and tunnel is not None:
            self.gate.record(code, self.context.client, "deny", tunnel.ask.target, "CONNECT", detail=detail)
        self._over = True
        yield from self._close_all()

    def _expired(self) -> Steps:
        if self._over:
            yield from self._close_all()
        elif self._tunnel is not None:
            yield from self.end("egress.hello-timeout")
        elif self._head is not None:
            code = "egress.response-timeout" if self._complete else "egress.request-timeout"
            yield from self.refuse(code, target=self._asked)
        elif self._requests.idle:
            yield from self._close_all()
        else:
            yield from self.refuse("egress.request-timeout")

    def _finish(self) -> Steps:
        """Nothing more to say: FIN now, the connection for a moment longer, so that the client gets to read the last answer."""
        self._over = True
        self._due = time.monotonic() + LINGER_SECONDS
        for server in self._edges:
            if server.connected:
                yield commands.CloseConnection(server)
        if self.context.client.state & ConnectionState.CAN_READ:
            yield commands.CloseTcpConnection(self.context.client, half_close=True)
        else:
            yield commands.CloseConnection(self.context.client)

    def _throw_away(self, data: bytes) -> Steps:
        """What a client sends behind the last answer."""
        self._late += len(data)
        if self._late > LINGER_BYTES:
            yield from self._close_all()

    def _close_all(self) -> Steps:
        self._over = True
        self._due = NEVER
        if self._tunnel is not None:
            self.gate.tunnel_closed(self._tunnel, self.context.client)
            self._tunnel = None
        for server in self._edges:
            if server.state is not ConnectionState.CLOSED:
                yield commands.CloseConnection(server)
        if self.context.client.state is not ConnectionState.CLOSED:
            yield commands.CloseConnection(self.context.client)

    def _send(self, connection: Connection, data: bytes) -> Steps:
        if data:
            yield commands.SendData(connection, data)


def method_of(head: RequestHead | None) -> str:
    """The method for an event, "" where no request was understood."""
    return "" if head is None else head.method.decode("ascii")
