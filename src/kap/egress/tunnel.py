"""A tunnel before it is open: CONNECT, or TLS that was sent here transparently.

    CONNECT      connecting → 200 → checking → Relay
    transparent  naming → connecting → Relay

Rules: ``200`` is said when the vetted address is connected, not before; nothing the client sent reaches the server before the opening
is accepted (`Decision.wire`), and nothing of the server the client; a deadline stands over every state; every refusal has its event.
"""

from __future__ import annotations

import time
from functools import partial

from kap.egress import replies
from kap.egress.clienthello import BadHello, HelloReader, check_hello
from kap.egress.connection import ClientSide
from kap.egress.grant import Grant
from kap.egress.opening import Opening, Refused
from kap.egress.relay import Relay
from kap.egress.server_side import ServerSide
from kap.egress.state import PlaneState
from kap.egress.upstream import Dialling, reach
from kap.names.hosts import BadTarget, Target, parse_host
from kap.policy.compiler import Policy
from kap.policy.decision import RuleRef
from kap.policy.request import EgressKind

NAMING, CONNECTING, CHECKING, DEAD = range(4)

ALERT = bytes([21, 3, 3, 0, 2, 2, 49])
"""TLS fatal alert access_denied (RFC 8446 6.2): makes a client say more than "connection reset"."""

_SERVER_FIRST = frozenset({"ssh", "tcp"})
_WRONG_WIRE = {"http": "egress.not-http", "ssh": "egress.not-ssh"}


class Tunnel(ClientSide):
    """See the module. Lives until the tunnel is open; then a `Relay` (or, for HTTP, a `Forward`) stands for the connection."""

    __slots__ = (
        "_buffer",
        "_dial",
        "_down",
        "_kind",
        "_opening",
        "_port",
        "_reader",
        "_state",
        "_up",
        "grant",
        "server",
    )

    def __init__(self, plane: PlaneState, port: int = 443, before: ClientSide | None = None) -> None:
        super().__init__(plane, before)
        self._port = port
        self._kind: EgressKind = "transparent-tls"
        self._state = NAMING
        self._buffer = b""
        self._reader: HelloReader | None = None
        self._opening: Opening | None = None
        self._dial: Dialling | None = None
        self._up = 0
        self._down = 0
        self.grant: Grant | None = None
        self.server: ServerSide | None = None

    # -- ways in

    def accepted(self) -> None:
        """Transparent TLS: the name comes first."""
        self._reader = HelloReader(self.plane.limits.hello_bytes)
        self.deadline = self.started + self.plane.limits.hello_seconds

    def overload_answer(self) -> bytes:
        """See `ClientSide`: TLS has no words for it."""
        self._state = DEAD
        return b""

    def begin_connect(self, target: Target, rest: bytes) -> None:
        """CONNECT `target` was asked for; `rest` came behind its head."""
        self.take_over()
        self._kind = "connect"
        self._buffer = rest
        self._connect(target)

    def data_received(self, data: bytes) -> None:
        """Anything that goes wrong in here closes both sides."""
        try:
            if self._state == CHECKING:
                self._check(data)
            elif self._state == CONNECTING:
                self._hold(data)
            elif self._state == NAMING:
                self._name(data)
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    # -- connecting

    def _connect(self, target: Target) -> None:
        policy = self.plane.live.policy
        if policy is None:
            return self._refuse("egress.no-policy", target=target)
        decision = self.plane.connector.verdicts.egress(policy, target, self._kind, self.subject)
        if not decision.allowed:
            return self._refuse(decision.code, target=target, rule=decision.rule)
        if self._kind == "transparent-tls" and decision.wire in _WRONG_WIRE:
            return self._refuse(_WRONG_WIRE[decision.wire], target=target, rule=decision.rule)
        self.grant = Grant(target, self._kind, self.subject, decision)
        self._state = CONNECTING
        self.deadline = time.monotonic() + self.plane.limits.connect_seconds
        self._dial = reach(self.plane, policy, target, self.subject, partial(ServerSide, self), self)
        return None

    def _hold(self, data: bytes) -> None:
        """Keep what the client sends before the server is there, and stop reading when that is much."""
        self._buffer += data
        if len(self._buffer) > self.plane.limits.hello_bytes:
            self.transport.pause_reading()

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
            self.server = server
            server.owner = self
            self._connected(server, self.grant, address)
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    def _connected(self, server: ServerSide, grant: Grant, address: str) -> None:
        decision = grant.decision
        if server.lost or (server.ended and not server.early):
            return self._refuse("egress.connect-failed", address=address, detail="the host closed at once")
        if server.early and decision.wire not in _SERVER_FIRST:
            return self._refuse("egress.server-first", address=address)
        grant.address = address
        grant.number = self.record(
            decision.code, "allow", target=grant.target, method=self._method, rule=decision.rule, address=address
        )
        if self._reader is not None:
            data = bytes(self._reader.data) + self._buffer
            server.transport.write(data)
            self._up = len(data)
            return self._open(grant.ech)
        self.transport.write(replies.ESTABLISHED)
        self._state = CHECKING
        limits = self.plane.limits
        self.deadline = time.monotonic() + limits.hello_seconds
        held, self._buffer = self._buffer, b""
        self._opening = Opening(decision.wire, grant.target, decision.ech, limits.hello_bytes)
        return self._begin_check(server, self._opening, held)

    # -- checking

    def _begin_check(self, server: ServerSide, opening: Opening, held: bytes) -> None:
        early, server.early = server.early, b""
        if opening.complete:
            self.transport.write(early)
            server.transport.write(held)
            self._up, self._down = len(held), len(early)
            self._open(ech=False)
            return
        if early:
            self.server_data(early)
        if self._state == CHECKING and held:
            self._check(held)
        if self._state == CHECKING:
            server.transport.resume_reading()
            self.transport.resume_reading()
            if self.ended:
                self._ended_unopened()

    def _check(self, data: bytes) -> None:
        """The client's bytes before the tunnel is open."""
        opening, server = self._opening, self.server
        assert opening is not None and server is not None
        try:
            passed = opening.client(data)
        except Refused as refused:
            self._refuse(refused.code, detail=refused.detail)
            return
        if opening.http:
            self._speak_http(passed)
            return
        if passed:
            server.transport.write(passed)
            self._up += len(passed)
        if opening.complete:
            self._open(opening.ech)

    def server_data(self, data: bytes) -> None:
        """See `ServerOwner`: the server's bytes before the tunnel is open."""
        try:
            opening = self._opening
            if self._state != CHECKING or opening is None:
                self._refuse("egress.server-first", detail=f"{len(data)} bytes")
                return
            passed = opening.server(data)
            if passed:
                self.transport.write(passed)
                self._down += len(passed)
            if opening.complete:
                self._open(opening.ech)
        except Refused as refused:
            self._refuse(refused.code, detail=refused.detail)
        except Exception as error:  # noqa: BLE001 - fail closed
            self.broken(error)

    def _open(self, ech: bool) -> None:
        """The opening is accepted: from here on bytes pass."""
        server, grant = self.server, self.grant
        assert server is not None and grant is not None
        grant.ech = ech
        self._state = DEAD
        Relay(self.plane, self).begin(server, grant, self._up, self._down)

    def _speak_http(self, data: bytes) -> None:
        from kap.egress.forward import Forward  # Forward makes Tunnels, and a Tunnel may turn into a Forward.

        server, grant = self.server, self.grant
        assert server is not None and grant is not None
        self._state = DEAD
        inside = Forward(self.plane, grant.target.port, self)
        inside.begin_inside(server, grant, data)
        if self.ended and not inside.eof_received():
            self.transport.close()

    # -- naming (transparent TLS)

    def _name(self, data: bytes) -> None:
        assert self._reader is not None
        try:
            hello = self._reader.feed(data)
        except BadHello as bad:
            return self._refuse(bad.code, detail=bad.message)
        if hello is None:
            return None
        if hello.sni is None:
            return self._refuse("egress.no-sni")
        try:
            target = Target(parse_host(hello.sni), self._port)
        except BadTarget as bad:
            return self._refuse("egress.bad-target", detail=str(bad))
        self._connect(target)
        grant = self.grant
        if grant is None or self._state != CONNECTING:
            return None
        grant.ech = hello.ech
        code = check_hello(hello, target, grant.decision.ech)
        return self._refuse(code) if code is not None else None

    # -- the server before the tunnel is open

    def server_ended(self) -> bool:
        """See `ServerOwner`: no tunnel opens any more."""
        self.transport.close()
        return False

    def server_lost(self, error: Exception | None) -> None:
        """See `ServerOwner`."""
        if error is None:
            self.transport.close()
        else:
            self.transport.abort()

    def server_full(self, full: bool) -> None:
        """See `ServerOwner`: too little passes before the tunnel is open to fill anything."""

    # -- ends

    @property
    def _method(self) -> str:
        return "CONNECT" if self._kind == "connect" else "TLS"

    def _refuse(
        self,
        code: str,
        *,
        target: Target | None = None,
        rule: RuleRef | None = None,
        address: str = "",
        detail: str = "",
        status: int = 0,
    ) -> None:
        """Record, answer as far as the state allows, close both sides."""
        grant = self.grant
        if grant is not None:
            target = grant.target
            address = address or grant.address
            rule = rule or grant.decision.rule
        self.record(code, "deny", target=target, method=self._method, rule=rule, address=address, detail=detail)
        answer = b""
        if self._kind == "connect" and self._opening is None:
            host, port = ("", 0) if target is None else (target.host.text, target.port)
            answer = replies.reply(code, host=host, port=port, rule=rule, detail=detail, status=status or _status(code))
        elif self._hello_begun():
            answer = ALERT
        self._release()
        self.finish(answer)

    def _hello_begun(self) -> bool:
        if self._opening is not None:
            return self._opening.begun
        return self._reader is not None and self._reader.data[:1] == b"\x16"

    def _release(self) -> None:
        """Let go of the server's side and of the registry's counts; the client's side is the caller's."""
        self._state = DEAD
        if self._dial is not None:
            self._dial.cancel()
            self._dial = None
        grant, self.grant = self.grant, None
        server, self.server = self.server, None
        if server is not None:
            server.transport.abort()
        if grant is not None and grant.number:
            self.record_closed(grant.number, grant.decision.code, grant.target, grant.address, self._up, self._down)

    def eof_received(self) -> bool:
        """The client sends no more. What it has sent may still open the tunnel, once the server is there; anything else ends here."""
        self.ended = True
        if self._state == CONNECTING:
            return True
        self._ended_unopened()
        return False

    def _ended_unopened(self) -> None:
        """The client ended before the tunnel was open: nothing can open it any more."""
        if self._state in (NAMING, CHECKING) and self._hello_begun():
            self._refuse("egress.bad-hello", detail="the client ended inside it")
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._state == CONNECTING:
            grant = self.grant
            target = None if grant is None else grant.target
            self.record(
                "egress.connect-failed", "deny", target=target, method=self._method, detail="the client went away"
            )
        self._release()
        self.plane.leave(self)

    def abort(self) -> None:
        """See `ClientSide`."""
        self._release()
        self.transport.abort()

    def expire(self) -> None:
        """See `ClientSide`."""
        if self._state == CONNECTING:
            self._refuse("egress.connect-timeout")
        elif self._state != DEAD:
            self._refuse("egress.hello-timeout")

    def revoked_by(self, policy: Policy) -> bool:
        """See `ClientSide`."""
        return self.grant is not None and not self.grant.permitted_by(policy, self.plane.connector)

    def revoke(self) -> None:
        """See `ClientSide`."""
        grant = self.grant
        if grant is not None:
            self.record("egress.revoked", "deny", target=grant.target, method=self._method, address=grant.address)
        self.abort()


def _status(code: str) -> int:
    """A CONNECT is always answered: where the code has no status of its own (a server that spoke first), it is the host's fault."""
    return 502 if code == "egress.server-first" else 0
