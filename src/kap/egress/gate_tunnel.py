"""A CONNECT tunnel on mitmproxy's connections: opened by what `Decision.wire` lets the client say first, then bytes both ways.

Rules: the same as the data plane's: nothing of the client reaches the server, and nothing of the server the client, before the opening
is accepted; then both directions run and end on their own.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import commands

from kap.egress.clienthello import BadHello, HelloReader, check_hello
from kap.egress.gate_ask import Ask
from kap.egress.wires import NotSsh, SshBanner, sniff

if TYPE_CHECKING:
    from kap.egress.gate_layer import GuardLayer

Steps = Generator[Any, Any, None]


class GateTunnel:
    """Owned by a `GuardLayer`, which hands it the events of both connections. `number`: id of the decision event."""

    __slots__ = (
        "_ask",
        "_buffer",
        "_client",
        "_guard",
        "_hello",
        "_open",
        "_ssh",
        "_started",
        "_wire",
        "bytes",
        "number",
        "server",
    )

    def __init__(self, guard: GuardLayer, ask: Ask, server: Server, number: int) -> None:
        assert ask.decision is not None
        self._guard = guard
        self._ask = ask
        self._client = guard.context.client
        self._wire: str = ask.decision.wire
        self._open = self._wire == "tcp"
        self._buffer = b""
        self._hello = HelloReader(guard.gate.limits.hello_bytes)
        self._ssh = (SshBanner(is_server=False), SshBanner(is_server=True))
        self._started = time.monotonic()
        self.server = server
        self.number = number
        self.bytes = [0, 0]

    def from_client(self, data: bytes) -> Steps:
        """Bytes the client sent."""
        if self._open:
            yield from self._pass(0, data)
        elif self._wire == "auto":
            yield from self._sniff(data)
        elif self._wire == "tls":
            yield from self._check_hello(data)
        elif self._wire == "ssh":
            yield from self._check_ssh(0, data)
        else:
            yield from self._guard.speak_http(self._ask, data)

    def from_server(self, data: bytes) -> Steps:
        """Bytes the server sent."""
        if self._open:
            yield from self._pass(1, data)
        elif self._wire == "ssh":
            yield from self._check_ssh(1, data)
        else:
            yield from self._guard.end("egress.server-first")

    def closed(self, connection: Any) -> Steps:
        """One side has ended: pass it on as a half-close; the second time everything ends."""
        if not self._open:
            yield from self._guard.end(
                "" if connection is self._client and not self._buffer else "egress.hello-timeout"
            )
            return
        if not (self._client.state & ConnectionState.CAN_READ or self.server.state & ConnectionState.CAN_READ):
            yield from self._guard.end("")
            return
        other = self.server if connection is self._client else self._client
        yield commands.CloseTcpConnection(other, half_close=True)

    def closed_event(self) -> tuple[Ask, float]:
        """For the ``closed`` event: what was tunnelled, and for how many seconds."""
        return self._ask, time.monotonic() - self._started

    @property
    def open(self) -> bool:
        """The opening was accepted."""
        return self._open

    def _pass(self, way: int, data: bytes) -> Steps:
        self.bytes[way] += len(data)
        yield commands.SendData(self.server if way == 0 else self._client, data)

    def _sniff(self, data: bytes) -> Steps:
        self._wire = sniff(data[0]) if data else "auto"
        if self._wire:
            yield from self.from_client(data)
        else:
            yield from self._guard.end("egress.not-tls")

    def _check_hello(self, data: bytes) -> Steps:
        self._buffer = data
        try:
            hello = self._hello.feed(data)
        except BadHello as error:
            yield from self._guard.end(error.code, error.message)
            return
        if hello is None:
            return
        assert self._ask.decision is not None
        code = check_hello(hello, self._ask.target, self._ask.decision.ech)
        if code is not None:
            yield from self._guard.end(code, f"SNI {hello.sni}" if hello.sni else "")
            return
        self._open = True
        self._guard.opened()
        yield from self._pass(0, bytes(self._hello.data))
        self._hello = HelloReader()

    def _check_ssh(self, way: int, data: bytes) -> Steps:
        try:
            passed = self._ssh[way].feed(data)
        except NotSsh as error:
            yield from self._guard.end("egress.not-ssh", str(error))
            return
        if passed:
            yield from self._pass(way, passed)
        if self._ssh[0].done and self._ssh[1].done and not self._open:
            self._open = True
            self._guard.opened()
