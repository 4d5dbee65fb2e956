"""The name server: sockets, and the path from a message to its reply.

Rules of the module: nothing here judges a name (`responder` asks the policy) and nothing of a client's bytes goes on (`upstream`
sends what `wire` built); an exception is SERVFAIL and an event, never an answer. There is no task and no timer per datagram: what
a flood can allocate is bounded by the in-flight limit, the memo and the cache.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from kap.audit.event import Event
from kap.audit.log import Recorder
from kap.config.model import Limits
from kap.dns import wire
from kap.dns.cache import Cache
from kap.dns.resolvers import upstream_servers
from kap.dns.responder import Asking, Mode, Outcome, Responder
from kap.dns.stream import Connection
from kap.dns.throttle import Throttle
from kap.dns.upstream import BATCH, Upstream
from kap.errors import ConfigError

if TYPE_CHECKING:
    from kap.dns.answer import Answer
    from kap.policy.compiler import Policy
    from kap.policy.live import Live

CACHE_ENTRIES: Final = 2048
_MEMO_ENTRIES: Final = 4096
_THROTTLED: Final = frozenset({"dns.bad-query", "dns.opcode-refused", "dns.class-refused", "dns.limit"})
_log = logging.getLogger("kap.dns")


class Client(Protocol):
    """One who asks. `tcp` says how; `label` is ``address:port``."""

    tcp: bool

    @property
    def label(self) -> str: ...

    def reply(self, data: bytes | None) -> None:
        """Take the reply to one message (None: there is none)."""


class Outbox:
    """Replies on their way out of one datagram socket: sent together when everything at hand has been read, since a receiver that
    is busy with the first needs no waking for the others."""

    __slots__ = ("_loop", "_replies", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._replies: list[tuple[bytes, Any]] = []
        self._loop = asyncio.get_running_loop()

    def put(self, data: bytes, peer: Any) -> None:
        """Have `data` sent to `peer` in this turn of the loop."""
        if not self._replies:
            self._loop.call_soon(self._flush)
        self._replies.append((data, peer))

    def _flush(self) -> None:
        replies, self._replies = self._replies, []
        send = self._sock.sendto
        for data, peer in replies:
            try:
                send(data, peer)
            except OSError:
                continue  # a full buffer or a client that went away: UDP may lose replies


class DatagramClient:
    """One who asked over UDP, for as long as the question is out."""

    __slots__ = ("_outbox", "_peer")
    tcp = False

    def __init__(self, outbox: Outbox, peer: Any) -> None:
        self._outbox = outbox
        self._peer = peer

    @property
    def label(self) -> str:
        return f"[{self._peer[0]}]:{self._peer[1]}" if ":" in self._peer[0] else f"{self._peer[0]}:{self._peer[1]}"

    def reply(self, data: bytes | None) -> None:
        if data is not None:
            self._outbox.put(data, self._peer)


class Waiter:
    """Who waits for an answer of the upstream: the client and the id of its message."""

    __slots__ = ("asking", "client", "ident")

    def __init__(self, ident: bytes, client: Client, asking: Asking) -> None:
        self.ident = ident
        self.client = client
        self.asking = asking


class NameServer:
    """Answer the capsule's DNS queries by the policy in `live`, every decision recorded in `audit`.

    `answer`: ``self`` answers allowed names with `addresses`, the sidecar's own, and asks nobody; ``forward`` asks `upstream`: one
    or more ``address`` or ``address:port``, None for the servers of ``/etc/resolv.conf``. `names`: own names with their address or
    addresses, answered whatever the policy. `cache_entries`: answers kept in mode ``forward``, 0 for none. `limits`: ``dns_inflight``
    bounds the questions that wait for an upstream, and the TCP connections; ``dns_seconds`` how long one waits; ``head_seconds`` how
    long a TCP connection may be silent. Raises `ConfigError` for addresses and names that are none, and where there is no upstream.
    """

    def __init__(
        self,
        live: Live,
        audit: Recorder,
        *,
        answer: Mode = "self",
        addresses: Iterable[str] = ("127.0.0.1", "::1"),
        upstream: str | Iterable[str] | None = None,
        names: Mapping[str, str | Iterable[str]] | None = None,
        limits: Limits | None = None,
        cache_entries: int = CACHE_ENTRIES,
    ) -> None:
        self._live = live
        self._audit = audit
        self._limits = limits or Limits()
        self._throttle = Throttle(audit)
        try:
            self._responder = Responder(live, answer, addresses, names or {})
        except ValueError as error:
            raise ConfigError(f"the name server cannot start: {error}", "Give IP addresses and host names.") from error
        self._servers = upstream_servers(upstream) if answer == "forward" else ()
        self._cache_entries = cache_entries
        self._upstream = self._new_upstream()
        self._policy: Policy | None = None
        self._memo: tuple[dict[bytes, Outcome], dict[bytes, Outcome]] = ({}, {})  # by UDP, TCP
        self._sockets: dict[int, socket.socket] = {}  # by descriptor, which outlives a socket closed under us
        self._listeners: list[asyncio.Server] = []
        self._connections: set[Connection] = set()

    async def serve_udp(self, sock: socket.socket) -> None:
        """Serve the bound datagram socket `sock` from now on; it becomes ours."""
        loop = asyncio.get_running_loop()
        for number, known in list(self._sockets.items()):
            if known.fileno() < 0:  # closed by someone else; its number may come back as `sock`'s
                loop.remove_reader(number)
                del self._sockets[number]
        sock.setblocking(False)
        self._sockets[sock.fileno()] = sock
        loop.add_reader(sock.fileno(), self._on_datagrams, sock, Outbox(sock))

    async def serve_tcp(self, sock: socket.socket) -> None:
        """Serve the bound stream socket `sock` from now on; it becomes ours."""
        sock.setblocking(False)
        listener = await asyncio.get_running_loop().create_server(self._new_connection, sock=sock, backlog=256)
        self._listeners.append(listener)

    async def close(self) -> None:
        """Stop serving, close every socket and connection, and say what was held back from the log."""
        loop = asyncio.get_running_loop()
        for number, sock in self._sockets.items():
            loop.remove_reader(number)
            sock.close()
        self._sockets.clear()
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        for connection in list(self._connections):
            connection.abort()
        self._upstream.close()
        self._throttle.flush()

    def handle(self, message: bytes, client: Client) -> None:
        """Answer one message; `client.reply` is called once, now or when the upstream has answered."""
        try:
            policy = self._live.policy
            if policy is not self._policy:
                self._renew(policy)
            # Decoding is a function of the octets and the verdict one of the policy: the same octets need neither again.
            outcome = self._memo[client.tcp].get(message[2:])
            if outcome is None:
                outcome = self._responder.respond(message, client.tcp)
                if outcome.lasting:
                    self._remember(message, outcome, client.tcp)
            if outcome.ask is not None:
                self._ask(Waiter(message[:2], client, outcome.ask))
            elif outcome.lasting and outcome.reply is not None:
                client.reply(message[:2] + outcome.reply[2:])
                self._record(outcome.event, client)
            else:
                self._conclude(outcome, client)
        except Exception as error:  # noqa: BLE001 - invariant 1: whatever went wrong, nothing passes
            self._break(message, client, error)

    def _ask(self, waiter: Waiter) -> None:
        """Put an allowed question to the upstream."""
        asking = waiter.asking
        if not self._upstream.ask(asking.key, asking.section, waiter):
            self._answer(waiter, self._responder.overload(asking.query, waiter.client.tcp))

    def _deliver(self, waiter: Waiter, result: Answer | str) -> None:
        """What the upstream said, or why it did not."""
        query, tcp = waiter.asking.query, waiter.client.tcp
        try:
            if isinstance(result, str):
                self._answer(waiter, self._responder.fail(query, tcp, result))
                return
            outcomes = self._responder.finish(waiter.asking, tcp, result)
            self._answer(waiter, outcomes[0])
            for outcome in outcomes[1:]:
                self._record(outcome.event, waiter.client)
        except Exception as error:  # noqa: BLE001 - as in `handle`
            self._answer(waiter, self._responder.fail(query, tcp, _bug(error), "dns.internal-error"))

    def _answer(self, waiter: Waiter, outcome: Outcome) -> None:
        if outcome.reply is not None:
            waiter.client.reply(waiter.ident + outcome.reply[2:])
        self._record(outcome.event, waiter.client)

    def _conclude(self, outcome: Outcome, client: Client) -> None:
        client.reply(outcome.reply)
        self._record(outcome.event, client)

    def _record(self, event: Event, client: Client) -> None:
        """Record a copy of `event`, which may be remembered, as one of `client`."""
        event = msgspec.structs.replace(event, client=client.label)
        if event.code in _THROTTLED:
            self._throttle.record(event)
        else:
            self._audit.record(event)

    def _break(self, message: bytes, client: Client, error: Exception) -> None:
        """kap failed: SERVFAIL where the message has a header to answer to."""
        _log.error("a query was refused because of a bug in kap: %s", _bug(error))
        _log.debug("the bug", exc_info=error)
        client.reply(wire.encode_error(message, wire.SERVFAIL) if len(message) >= wire.HEADER_SIZE else None)
        self._record(Event("decision", "dns", "dns.internal-error", verdict="deny", detail=_bug(error)), client)

    def _remember(self, message: bytes, outcome: Outcome, tcp: bool) -> None:
        memo = self._memo[tcp]
        if len(memo) >= _MEMO_ENTRIES:
            memo.clear()
        memo[message[2:]] = outcome

    def _renew(self, policy: Policy | None) -> None:
        """Another policy is in force: forget what was concluded from the last one."""
        self._policy = policy
        for memo in self._memo:
            memo.clear()

    def _new_upstream(self) -> Upstream[Waiter]:
        limits = self._limits
        cache = Cache(self._cache_entries)
        return Upstream(
            self._servers, self._deliver, inflight=limits.dns_inflight, seconds=limits.dns_seconds, cache=cache
        )

    def _on_datagrams(self, sock: socket.socket, outbox: Outbox) -> None:
        for _ in range(BATCH):
            try:
                message, peer = sock.recvfrom(wire.MAX_QUERY + 1)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier reply
            self.handle(message, DatagramClient(outbox, peer))

    def _new_connection(self) -> Connection:
        full = len(self._connections) >= self._limits.dns_inflight
        connection = Connection(self.handle, self._connections.discard, self._limits.head_seconds, refuse=full)
        if full:
            event = Event("decision", "dns", "dns.limit", verdict="deny", detail="too many TCP connections")
            self._throttle.record(event)
        else:
            self._connections.add(connection)
        return connection


def _bug(error: Exception) -> str:
    """What failed and where, for an event: no values, which may be a client's."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "?"
    return f"{type(error).__name__} at {where}"
