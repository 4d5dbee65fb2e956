"""HTTP as a proxy speaks it: one client connection, its requests one after the other, each decided anew, each rebuilt.

    idle → (connecting →) exchange → idle …        CONNECT: → Tunnel        accepted websocket: → Relay

Rules: a request is parsed only when the one before it is answered, so a pipelined one waits unread; the connection to the server is
kept for the next request only to the same target under the same policy; both bodies stream, each side's slowness stopping the other; a
body that was cut short ends without a clean end. Nothing is answered twice.
"""

from __future__ import annotations

import time
from functools import partial

from kap.egress import replies
from kap.egress.connection import ClientSide
from kap.egress.exchange import Exchange
from kap.egress.grant import Grant
from kap.egress.http1 import BadMessage, End, RequestHead, RequestParser, ResponseParser
from kap.egress.relay import Relay
from kap.egress.server_side import ServerSide
from kap.egress.state import PlaneState
from kap.egress.tunnel import Tunnel
from kap.egress.upstream import Dialling, reach
from kap.names.hosts import Target
from kap.policy.compiler import Policy
from kap.policy.decision import Decision, RuleRef
from kap.policy.request import EgressKind

IDLE, CONNECTING, EXCHANGE, DEAD = range(4)

_WRONG_WIRE = {"tls": "egress.not-tls", "ssh": "egress.not-ssh"}
_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


class Forward(ClientSide):
    """See the module. Without `origin_port`: the proxy port. With it: requests as to an origin on that port."""

    __slots__ = (
        "_client_full",
        "_dial",
        "_exchange",
        "_first",
        "_head_started",
        "_kind",
        "_number",
        "_pinned",
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

    def __init__(self, plane: PlaneState, origin_port: int | None = None) -> None:
        super().__init__(plane)
        self.requests = RequestParser(plane.wire_limits, origin_port=origin_port)
        self._kind: EgressKind = "http" if origin_port is None else "transparent-http"
        self._pinned: Target | None = None
        self._state = IDLE
        self._exchange: Exchange | None = None
        self._policy: Policy | None = None
        self._dial: Dialling | None = None
        self._head_started = False
        self._reading = True
        self._client_full = False
        self._server_full = False
        self._first = b""
        self._number = 0
        self._seen = -1
        self.up = 0
        self.down = 0
        self.grant: Grant | None = None
        self.server: ServerSide | None = None

    # -- ways in

    def accepted(self) -> None:
        """The first head is due."""
        self.deadline = self.started + self.plane.limits.head_seconds
        self.transport.set_write_buffer_limits(high=self.plane.limits.buffer_bytes)

    def begin(self, before: ClientSide, data: bytes) -> None:
        """The first bytes on the proxy port, whatever they are."""
        self._first = data
        self.take_over(before)
        self.transport.set_write_buffer_limits(high=self.plane.limits.buffer_bytes)
        self.data_received(data)

    def overload_answer(self) -> bytes:
        """See `ClientSide`."""
        self._state = DEAD
        return replies.reply("egress.limit-connections")

    def begin_inside(self, before: ClientSide, server: ServerSide, grant: Grant, data: bytes) -> None:
        """HTTP inside a tunnel to `grant.target`, already connected; `data` are its first bytes."""
        self.take_over(before)
        self._kind = grant.kind
        self._pinned = grant.target
        self.grant = grant
        self._policy = self.plane.live.policy
        self._number = grant.number
        self._adopt(server)
        self.accepted_now()
        self.transport.resume_reading()
        self.data_received(data)

    def accepted_now(self) -> None:
        """The next head is due, and has a head's time."""
        self.deadline = time.monotonic() + self.plane.limits.head_seconds

    # -- the client's bytes

    def data_received(self, data: bytes) -> None:
        """Anything that goes wrong in here closes both sides."""
        try:
            if self._number or self._head_started:
                self._first = b""
            self.requests.feed(data)
            if self._state != CONNECTING:
                self._advance()
            self._regulate()
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    def _advance(self) -> None:
        """Take from the client's bytes what may be taken now."""
        try:
            while self._state == IDLE or (self._state == EXCHANGE and not self._requested()):
                event = self.requests.next()
                if event is None:
                    break
                if type(event) is RequestHead:
                    self._request(event)
                else:
                    self._body(event)  # type: ignore[arg-type]
        except BadMessage as bad:
            self._refuse(bad.code, detail=bad.message)
            return
        if self._state == IDLE and not self._head_started and not self.requests.idle:
            self._head_started = True
            self.accepted_now()

    def _requested(self) -> bool:
        return self._exchange is not None and self._exchange.requested

    def _body(self, event: bytes | memoryview | End) -> None:
        exchange, server = self._exchange, self.server
        assert exchange is not None and server is not None
        data = exchange.request_end(event) if isinstance(event, End) else exchange.request_body(event)
        if data:
            server.transport.write(data)
            self.up += len(data)

    # -- one request

    def _request(self, head: RequestHead) -> None:
        self._head_started = False
        target = head.target
        if head.form == "authority":
            self._become_tunnel(target)
            return
        if self._pinned is not None and target != self._pinned:
            self._refuse("egress.host-mismatch", target=target, head=head)
            return
        policy = self.plane.live.policy
        if policy is None:
            self._refuse("egress.no-policy", target=target, head=head)
            return
        decision = self.plane.connector.verdicts.egress(policy, target, self._kind, self.subject)
        code = _WRONG_WIRE.get(decision.wire, "") if decision.allowed else decision.code
        if code:
            self._refuse(code, target=target, head=head, rule=decision.rule)
            return
        self._exchange = Exchange(head)
        if self._may_reuse(target, policy):
            self._exchange.repeatable = head.method in _REPEATABLE and not head.has_body and not head.upgrade
            self._allow(decision)
            self._send()
        else:
            self._connect(policy, decision, target)

    def _become_tunnel(self, target: Target) -> None:
        rest = self.requests.rest()
        if not rest and self._first.startswith(b"CONNECT "):  # so it is this head, whole and alone
            self.plane.remember_connect(self._first, target)
        self._release()
        self._leave_closed_event()
        Tunnel(self.plane).begin_connect(self, target, rest)

    def _may_reuse(self, target: Target, policy: Policy) -> bool:
        server, grant = self.server, self.grant
        return (
            server is not None
            and grant is not None
            and grant.target == target
            and self._policy is policy
            and not server.ended
            and not server.transport.is_closing()
        )

    def _connect(self, policy: Policy, decision: Decision, target: Target) -> None:
        self._drop_server()
        self.grant = Grant(target, self._kind, self.subject, decision)
        self._policy = policy
        self._state = CONNECTING
        self.deadline = time.monotonic() + self.plane.limits.connect_seconds
        tunnel = self._pinned is not None
        self._dial = reach(self.plane, policy, target, self.subject, partial(ServerSide, self), self, tunnel=tunnel)

    def dial_failed(self, code: str, address: str, detail: str, status: int = 0) -> None:
        """See `connector.Owner`."""
        self._dial = None
        if self._state == CONNECTING:
            self._refuse(code, address=address, detail=detail, status=status)

    def dialled(self, server: ServerSide, address: str) -> None:
        """See `connector.Owner`."""
        if self._state != CONNECTING or self.grant is None:
            server.transport.abort()
            return
        try:
            self._dial = None
            self.grant.address = address
            if server.lost or server.ended or server.early:
                server.transport.abort()
                self._refuse(
                    "egress.bad-response", address=address, detail="the host closed or spoke before it was asked"
                )
                return
            self._adopt(server)
            self._allow(self.grant.decision)
            self._send()
            self._advance()
            self._regulate()
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

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

    def _allow(self, decision: Decision) -> None:
        grant, exchange = self.grant, self._exchange
        assert grant is not None and exchange is not None
        if exchange.recorded:
            return
        exchange.recorded = True
        self._number = grant.number = self.record(
            decision.code,
            "allow",
            target=grant.target,
            method=exchange.method,
            rule=decision.rule,
            address=grant.address,
        )

    def _send(self) -> None:
        """The request's head; its body follows as it comes."""
        grant, exchange, server = self.grant, self._exchange, self.server
        assert grant is not None and exchange is not None and server is not None
        upstream = self.plane.upstream
        by_proxy = upstream is not None and self._pinned is None and upstream.carries(grant.target.host)
        authorization = upstream.authorization if by_proxy and upstream is not None else None
        data = exchange.start(self._responses, by_proxy, authorization)
        self._state = EXCHANGE
        self._seen = -1
        self.deadline = time.monotonic() + self.plane.limits.response_seconds
        server.transport.write(data)
        self.up += len(data)

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
                self._refuse("egress.bad-response", detail=bad.message)
            else:
                self._cut()
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
        Relay(self.plane).begin(self, server, grant, self.up + len(sent), self.down + len(received))

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
            self._cut()
        elif exchange.repeatable and exchange.silent and self.grant is not None and self._policy is not None:
            # The server closed a kept connection while the request was on its way: RFC 9112 9.3.1 lets us ask again.
            exchange.repeatable = False
            self._connect(self._policy, self.grant.decision, self.grant.target)
        else:
            self._refuse("egress.bad-response", detail="the host closed the connection without an answer")

    def _cut(self) -> None:
        """A body cannot be completed: the client must not take what it has for the whole."""
        self.abort()

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

    def _refuse(
        self,
        code: str,
        *,
        target: Target | None = None,
        head: RequestHead | None = None,
        rule: RuleRef | None = None,
        address: str = "",
        detail: str = "",
        status: int = 0,
    ) -> None:
        """Record, answer where nothing was answered yet, close both sides."""
        exchange, grant = self._exchange, self.grant
        if exchange is not None:
            head = exchange.head
            target = head.target
            if grant is not None and grant.target == target:
                address = address or grant.address
                rule = rule or grant.decision.rule
        method = "" if head is None else head.method.decode("ascii")
        self.record(code, "deny", target=target, method=method, rule=rule, address=address, detail=detail)
        if exchange is not None and exchange.answered:
            self.abort()
            return
        answer = replies.reply(
            code,
            host="" if target is None else target.host.text,
            port=0 if target is None else target.port,
            rule=rule,
            detail=detail,
            accept=None if head is None else head.fields.get(b"accept"),
            status=status or (403 if code in _WRONG_WIRE.values() else 400 if code == "egress.not-http" else 0),
            body=method != "HEAD",
        )
        self._release()
        self._leave_closed_event()
        self.finish(answer)

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

    def eof_received(self) -> bool:
        """The client sends no more; what it asked for is still answered."""
        self.ended = True
        if self._state == IDLE or self._state == DEAD:
            return False
        try:
            self.requests.feed_eof()
            if self._state == EXCHANGE:
                self._advance()
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)
        return self._state != DEAD

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._state == CONNECTING and self._exchange is not None:
            self.record(
                "egress.connect-failed",
                "deny",
                target=self._exchange.head.target,
                method=self._exchange.method,
                detail="the client went away before the host answered",
            )
        self._release()
        self._leave_closed_event()
        self.plane.leave(self)

    def abort(self) -> None:
        """See `ClientSide`."""
        self._release()
        self.transport.abort()

    # -- time and policy

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

    def expire(self) -> None:
        """See `ClientSide`."""
        if self._state == IDLE:
            if self.requests.idle:
                self._release()
                self._leave_closed_event()
                self.finish(b"")
            else:
                self._refuse("egress.request-timeout")
        elif self._state == CONNECTING:
            self._refuse("egress.connect-timeout")
        elif self._state == EXCHANGE:
            exchange = self._exchange
            waits_for_client = exchange is not None and not exchange.requested and not exchange.head.upgrade
            self._refuse("egress.request-timeout" if waits_for_client else "egress.response-timeout")

    def revoked_by(self, policy: Policy) -> bool:
        """See `ClientSide`."""
        busy = self._state == CONNECTING or self.server is not None
        return busy and self.grant is not None and not self.grant.permitted_by(policy, self.plane.connector)

    def revoke(self) -> None:
        """See `ClientSide`."""
        grant = self.grant
        if grant is not None:
            self.record("egress.revoked", "deny", target=grant.target, address=grant.address)
        self.abort()
