"""A CONNECT tunnel on mitmproxy's connections: opened by what `Decision.wire` lets be said first, then bytes both ways.

Rules: the same as the data plane's, and the same code for them (`opening`): nothing of the client reaches the server, and nothing of the
server the client, before the opening is accepted; then both directions run and end on their own.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands

from kap.egress.gate_ask import Ask
from kap.egress.opening import Opening, Refused
from kap.egress.tunnel import ALERT

if TYPE_CHECKING:
    from kap.egress.gate_layer import GuardLayer

Steps = Generator[Any, Any, None]


class GateTunnel:
    """Owned by a `GuardLayer`, which hands it the events of both connections. `number`: id of the decision event. `bytes`: passed up and
    down."""

    __slots__ = ("_client", "_guard", "_opening", "_started", "ask", "bytes", "number", "server")

    def __init__(self, guard: GuardLayer, ask: Ask, server: Server, number: int) -> None:
        assert ask.decision is not None
        self._guard = guard
        self._client = guard.context.client
        self._opening = Opening(ask.decision.wire, ask.target, ask.decision.ech, guard.gate.limits.hello_bytes)
        self._started = time.monotonic()
        self.ask = ask
        self.server = server
        self.number = number
        self.bytes = [0, 0]

    @property
    def open(self) -> bool:
        """The opening was accepted."""
        return self._opening.complete

    @property
    def seconds(self) -> float:
        """How long it has been there."""
        return time.monotonic() - self._started

    def from_client(self, data: bytes) -> Steps:
        """Bytes the client sent."""
        try:
            passed = self._opening.client(data)
        except Refused as refused:
            yield from self._refuse(refused)
            return
        if self._opening.http:
            yield from self._guard.speak_http(self.ask, passed)
        else:
            yield from self._pass(0, passed)

    def from_server(self, data: bytes) -> Steps:
        """Bytes the server sent."""
        try:
            passed = self._opening.server(data)
        except Refused as refused:
            yield from self._refuse(refused)
            return
        yield from self._pass(1, passed)

    def closed(self, connection: Any) -> Steps:
        """One side has ended: pass it on as a half-close; the second time everything ends."""
        if not self.open:
            cut_short = connection is self._client and self._opening.begun
            yield from self._guard.end(
                "egress.bad-hello" if cut_short else "", "the client ended inside the ClientHello"
            )
            return
        if not (self._client.state & ConnectionState.CAN_READ or self.server.state & ConnectionState.CAN_READ):
            yield from self._guard.end("")
            return
        other = self.server if connection is self._client else self._client
        yield commands.CloseTcpConnection(other, half_close=True)

    def _pass(self, way: int, data: bytes) -> Steps:
        if self._opening.complete:
            self._guard.opened()
            if self._opening.ech:
                self.ask.use_ech()
        if data:
            self.bytes[way] += len(data)
            yield commands.SendData(self.server if way == 0 else self._client, data)

    def _refuse(self, refused: Refused) -> Steps:
        if self._opening.begun:
            yield commands.SendData(self._client, ALERT)
        yield from self._guard.end(refused.code, refused.detail)
