"""The server's half of forwarded HTTP: the answer on its way to the client, the server's end, back-pressure.

Rules: a body that was cut short ends without a clean end; a server that speaks unasked is dropped; each side's slowness stops the other.
"""

from __future__ import annotations

import abc
import time

from kap.egress.connection import ClientSide
from kap.egress.exchange import Exchange
from kap.egress.grant import Grant
from kap.egress.http1 import BadMessage, RequestParser, ResponseParser
from kap.egress.relay import Relay
from kap.egress.server_side import ServerSide, reset
from kap.egress.state import PlaneState
from kap.egress.upstream import Dialling
from kap.policy.compiler import Policy

IDLE, CONNECTING, EXCHANGE, DEAD = range(4)


class Answering(ClientSide):
    """What `forward.Forward` is made on: it asks, this brings the answers. Not used alone."""

    __slots__ = (
        "_client_full",
        "_dial",
        "_exchange",
        "_number",
        "_policy",
        "_reading",
        "_responses",
        "_seen",
        "_server_full",
        "_state",
        "down",
        "grant",
        "requests",
        "server",
        "up",
    )

    _responses: ResponseParser

    def __init__(self, plane: PlaneState, requests: RequestParser, before: ClientSide | None) -> None:
        super().__init__(plane, before)
        self.requests = requests
        self._state = IDLE
        self._exchange: Exchange | None = None
        self._policy: Policy | None = None
        self._dial: Dialling | None = None
        self._reading = True
        self._client_full = False
        self._server_full = False
        self._number = 0
        self._seen = -1
        self.up = 0
        self.down = 0
        self.grant: Grant | None = None
        self.server: ServerSide | None = None

    # -- what Forward does

    @abc.abstractmethod
    def _advance(self) -> None:
        """Take from the client's bytes what may be taken now."""

    @abc.abstractmethod
    def _ask_again(self) -> None:
        """Connect anew for the exchange under way."""

    @abc.abstractmethod
    def _refuse(self, code: str, *, detail: str = "", status: int = 0) -> None:
        """End the connection for the reason `code`."""

    # -- its answer

    def server_data(self, data: bytes) -> None:
        """See `ServerOwner`."""
        try:
            exchange = self._exchange
            if self._state != EXCHANGE or exchange is None:
                self._drop_server()  # Nothing was asked.
                return
            self._responses.feed(data)
            self._answer(exchange)
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    def _answer(self, exchange: Exchange) -> None:
        """Pass on what of the answer is here."""
        was_answered = exchange.answered
        try:
            data = exchange.answer(self.requests)
        except BadMessage as bad:
            if not was_answered:
                exchange.answered = False  # Nothing of it was written.
                self._refuse("egress.bad-response", detail=bad.message)
            else:
                self.abort()
            return
        if exchange.proxy_status:
            status = exchange.proxy_status
            self._refuse("egress.upstream-proxy", status=status, detail=f"the upstream proxy answered {status}")
            return
        if data:
            self.transport.write(data)
            self.down += len(data)
        if exchange.switched:
            self._become_relay(exchange)
        elif exchange.finished:
            self._end_exchange(exchange)
        elif not exchange.requested:
            self._advance()  # A refused upgrade is HTTP again.

    def _end_exchange(self, exchange: Exchange) -> None:
        if not exchange.requested:
            self._advance()
        if self._state != EXCHANGE:
            return
        if not exchange.server_keeps or not self._responses.idle or not exchange.requested:
            self._drop_server()
        self._exchange = None
        if exchange.close_after or not exchange.requested or (self.ended and self.requests.idle):
            self._release()
            self._leave_closed_event()
            self.finish(b"")
            return
        self._state = IDLE
        self.deadline = time.monotonic() + self.plane.limits.keepalive_seconds
        if self.requests.buffered:
            self._advance()
            self._regulate()

    def _become_relay(self, exchange: Exchange) -> None:
        server, grant = self.server, self.grant
        assert server is not None and grant is not None
        sent, received = self.requests.rest(), self._responses.rest()
        if sent:
            server.transport.write(sent)
        if received:
            self.transport.write(received)
        self._state = DEAD
        Relay(self.plane, self).begin(server, grant, self.up + len(sent), self.down + len(received))

    def _adopt(self, server: ServerSide) -> None:
        self.server = server
        self._responses = ResponseParser(self.plane.wire_limits)
        server.owner = self
        server.transport.set_write_buffer_limits(high=self.plane.limits.buffer_bytes)
        self._server_full = False
        if self._client_full:
            server.transport.pause_reading()
        else:
            server.transport.resume_reading()

    # -- the server's end

    def server_ended(self) -> bool:
        """See `ServerOwner`."""
        try:
            self._server_gone(None)
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)
        return False

    def server_lost(self, error: Exception | None) -> None:
        """See `ServerOwner`."""
        try:
            self._server_gone(error)
        except Exception as failure:  # noqa: BLE001 - fail closed
            self.broken(failure)

    def _server_gone(self, error: Exception | None) -> None:
        exchange = self._exchange
        if self._state != EXCHANGE or exchange is None:
            self._drop_server()
            return
        if error is None:
            self._responses.feed_eof()
            self._answer(exchange)
            if self._state != EXCHANGE or self._exchange is not exchange:
                return
        if exchange.answered:
            self.abort()
        elif exchange.repeatable and exchange.silent:
            # The server closed a kept connection while the request was on its way: RFC 9112 9.3.1 lets us ask again.
            exchange.repeatable = False
            self._ask_again()
        else:
            self._refuse("egress.bad-response", detail="the host closed the connection without an answer")

    # -- back-pressure

    def _regulate(self) -> None:
        """Read from the client only what can be passed on or kept within bounds."""
        if self._state == DEAD:
            return
        wanted = not self._server_full and self.requests.buffered <= self.plane.limits.head_bytes
        if wanted != self._reading:
            self._reading = wanted
            if wanted:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def server_full(self, full: bool) -> None:
        """See `ServerOwner`."""
        self._server_full = full
        self._regulate()

    def pause_writing(self) -> None:
        """The client reads too slowly."""
        self._client_full = True
        if self.server is not None:
            self.server.transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._client_full = False
        if self.server is not None:
            self.server.transport.resume_reading()

    # -- ends

    def _drop_server(self) -> None:
        server, self.server = self.server, None
        self._server_full = False
        if server is not None:
            server.transport.abort()

    def _release(self) -> None:
        """Let go of the server's side; nothing is relayed any more."""
        self._state = DEAD
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        self._drop_server()

    def _leave_closed_event(self) -> None:
        number, self._number = self._number, 0
        grant = self.grant
        if number and grant is not None:
            self.record_closed(number, grant.decision.code, grant.target, grant.address, self.up, self.down)

    def abort(self) -> None:
        """See `ClientSide`. By RST: an answer under way must not look whole."""
        self._release()
        reset(self.transport)

    def tick(self, now: float) -> None:
        """While an exchange moves it has time: for the whole request and the first byte of the answer, then to go on."""
        if self._state == EXCHANGE:
            moved = self.up + self.down
            if moved != self._seen:
                self._seen = moved
                answered = self._exchange is not None and self._exchange.answered
                limits = self.plane.limits
                self.deadline = now + (limits.idle_seconds if answered else limits.response_seconds)
                return
        if now >= self.deadline:
            self.expire()
