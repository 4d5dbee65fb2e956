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
from kap.egress.answering import CONNECTING, DEAD, EXCHANGE, IDLE, Answering
from kap.egress.connection import ClientSide
from kap.egress.exchange import Exchange
from kap.egress.grant import Grant
from kap.egress.http1 import BadMessage, End, RequestHead, RequestParser, rebuild_request
from kap.egress.server_side import ServerSide
from kap.egress.state import PlaneState
from kap.egress.tunnel import Tunnel
from kap.egress.upstream import reach
from kap.names.hosts import Target
from kap.policy.compiler import Policy
from kap.policy.decision import Decision, RuleRef
from kap.policy.request import EgressKind

_WRONG_WIRE = {"tls": "egress.not-tls", "ssh": "egress.not-ssh"}
_REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})


class Forward(Answering):
    """See the module. Without `origin_port`: the proxy port. With it: requests as to an origin on that port."""

    __slots__ = ("_by_proxy", "_first", "_head_started", "_kind", "_pinned", "_remembers", "_route")

    def __init__(self, plane: PlaneState, origin_port: int | None = None, before: ClientSide | None = None) -> None:
        super().__init__(plane, RequestParser(plane.wire_limits, origin_port=origin_port), before)
        self._kind: EgressKind = "http" if origin_port is None else "transparent-http"
        self._pinned: Target | None = None
        self._head_started = False
        self._first = b""
        self._remembers = origin_port is None
        self._route = plane.upstream  # as it was when the server was dialled; a reload may change it
        self._by_proxy = False

    # -- ways in

    def accepted(self) -> None:
        """The first head is due."""
        self.deadline = self.started + self.plane.limits.head_seconds
        self.transport.set_write_buffer_limits(high=self.plane.limits.buffer_bytes)

    def begin(self, data: bytes) -> None:
        """The first bytes on the proxy port, whatever they are."""
        self._first = data
        self.take_over()
        self.transport.set_write_buffer_limits(high=self.plane.limits.buffer_bytes)
        self.data_received(data)

    def overload_answer(self) -> bytes:
        """See `ClientSide`."""
        self._state = DEAD
        return replies.reply("egress.limit-connections")

    def begin_inside(self, server: ServerSide, grant: Grant, data: bytes) -> None:
        """HTTP inside a tunnel to `grant.target`, already connected; `data` are its first bytes."""
        self.take_over()
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
            requests = self.requests
            fresh = self._state == IDLE and self._remembers and not requests.buffered
            known = self.plane.known_requests.get(data) if fresh else None
            if known is not None:
                self._request(known[0], known[1])
                return
            if self._number or self._head_started:
                self._first = b""
            requests.feed(data)
            if self._state != CONNECTING:
                self._advance()
            if fresh:
                self._remember(data)
            if requests.buffered or not self._reading:
                self._regulate()
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    def _remember(self, data: bytes) -> None:
        """Where `data` was one whole request without a body, and nothing else, the same bytes mean the same next time."""
        exchange = self._exchange
        if exchange is None or not exchange.requested or exchange.by_proxy or self.requests.buffered:
            return
        head = exchange.head
        if not head.upgrade and not head.has_body and self.requests.idle:
            self.plane.remember_request(data, head, rebuild_request(head, head.target))

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
        if self._state == IDLE and not self._head_started and self.requests.buffered:
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

    def _request(self, head: RequestHead, known: bytes = b"") -> None:
        """`known`: the request as it is sent on, where it is remembered (it has no body then)."""
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
        self._exchange = Exchange(head, known=known, requested=bool(known))
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
        Tunnel(self.plane, before=self).begin_connect(target, rest)

    def _may_reuse(self, target: Target, policy: Policy) -> bool:
        server, grant = self.server, self.grant
        return (
            server is not None
            and grant is not None
            and (grant.target is target or grant.target == target)
            and self._policy is policy
            and self._route is self.plane.upstream
            and not server.ended
            and not server.transport.is_closing()
        )

    def _connect(self, policy: Policy, decision: Decision, target: Target) -> None:
        self._drop_server()
        self.grant = Grant(target, self._kind, self.subject, decision)
        self._policy = policy
        self._state = CONNECTING
        self.deadline = time.monotonic() + self.plane.limits.connect_seconds
        pinned = self._pinned is not None
        upstream = self._route = self.plane.upstream
        self._by_proxy = upstream is not None and not pinned and upstream.carries(target.host)
        self._dial = reach(self.plane, policy, target, self.subject, partial(ServerSide, self), self, tunnel=pinned)

    def _ask_again(self) -> None:
        grant, policy = self.grant, self._policy
        assert grant is not None and policy is not None
        self._connect(policy, grant.decision, grant.target)

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
        route = self._route
        authorization = route.authorization if self._by_proxy and route is not None else None
        data = exchange.start(self._responses, self._by_proxy, authorization)
        self._state = EXCHANGE
        self._seen = -1
        self.deadline = time.monotonic() + self.plane.limits.response_seconds
        server.transport.write(data)
        self.up += len(data)

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
        self._release()
        self._leave_closed_event()
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
        self.finish(answer)

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

    # -- time and policy

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
