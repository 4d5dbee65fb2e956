"""Ask the upstream name servers, over UDP, and over TCP where an answer is too long.

Rules of the module (RFC 5452): every query is built here from a validated name, with a random id, and leaves by a socket connected
to the server from a random port that changes; an answer counts only when it comes back on that socket with that id and question.
Equal questions are asked once. One timer watches over all of them; there is no task and no timer per question.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from kap.dns import wire
from kap.dns.answer import Answer, BadAnswer, decode_answer, is_truncated, matches
from kap.dns.cache import Cache

W = TypeVar("W")
Address = tuple[str, int]
Done = Callable[[W, Answer | str], None]
"""Called once for each who waits, with the answer or with words for why there is none."""

SOCKETS: Final = 8
QUERIES_PER_SOCKET: Final = 2048
"""After so many a socket makes way for one with another port."""
BATCH: Final = 64
"""Datagrams read before other work gets its turn."""
_SWEEP_SECONDS: Final = 0.1
_RETRY_SHARE: Final = 0.3
_DECODED_ENTRIES: Final = 4096
_RECEIVE: Final = 4096


_random = bytearray()
_log = logging.getLogger("kap.dns")


class Question(Generic[W]):
    """One name and type on its way; `section`: as a question section. `waiters`: who waits for the answer."""

    __slots__ = ("attempts", "deadline", "key", "retry_at", "section", "sent", "waiters")

    def __init__(self, key: tuple[str, int], section: bytes, waiter: W, now: float, seconds: float) -> None:
        self.key = key
        self.section = section
        self.waiters = [waiter]
        self.deadline = now + seconds
        self.retry_at = now + seconds * _RETRY_SHARE
        self.attempts = 0
        self.sent: list[tuple[Channel[W], bytes]] = []


class Channel(Generic[W]):
    """A socket connected to one server; `waiting`: id to question."""

    def __init__(self, server: Address, receive: Callable[[Channel[W]], None]) -> None:
        self.server = server
        self.used = 0
        self.waiting: dict[bytes, Question[W]] = {}
        self._queries: list[bytes] = []
        self.sock = socket.socket(socket.AF_INET6 if ":" in server[0] else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self.sock.setblocking(False)
            self.sock.connect(server)  # the kernel picks a random port, and drops datagrams from anyone else
        except OSError:
            self.sock.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self.sock, receive, self)

    def send(self, question: Question[W]) -> None:
        """Send `question` with an id of its own, in this turn of the loop and together with others: see `server.Outbox`."""
        ident = _random_id()
        while ident in self.waiting:
            ident = _random_id()
        if not self._queries:
            self._loop.call_soon(self._flush)
        self._queries.append(wire.encode_query(ident, question.section))
        self.used += 1
        self.waiting[ident] = question
        question.sent.append((self, ident))

    def _flush(self) -> None:
        queries, self._queries = self._queries, []
        send = self.sock.send
        for query in queries:
            try:
                send(query)
            except OSError:
                continue  # a full buffer, or no route: the retry or the deadline decides

    def close(self) -> None:
        self._loop.remove_reader(self.sock)
        self.sock.close()


class Upstream(Generic[W]):
    """Ask `servers` (address and port) and tell `done`, at most `inflight` questioners at a time, each answered within `seconds`."""

    def __init__(
        self, servers: Sequence[Address], done: Done[W], *, inflight: int, seconds: float, cache: Cache
    ) -> None:
        self._servers = tuple(servers)
        self._done = done
        self._inflight = inflight
        self._seconds = seconds
        self._cache = cache
        self._channels: dict[Address, list[Channel[W]]] = {server: [] for server in self._servers}
        self._retired: list[Channel[W]] = []
        # Both in the order of their deadlines, as every question has the same time: a sweep stops at the first that is not due.
        self._first: dict[tuple[str, int], Question[W]] = {}
        self._again: dict[tuple[str, int], Question[W]] = {}
        # The last message of each question (id aside) and what it says: the same octets are not read twice.
        self._decoded: dict[tuple[str, int], tuple[bytes, Answer]] = {}
        self._waiters = 0
        self._turn = 0
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> int:
        """Questioners that wait now."""
        return self._waiters

    def ask(self, key: tuple[str, int], section: bytes, waiter: W) -> bool:
        """Have `waiter` told the answer, perhaps before this returns. False, and nothing done, at the limit of questioners.

        `key`: name and type. `section`: the question section for them, as `wire.encode_question` builds it.
        """
        cached = self._cache.get(key)
        if cached is not None:
            self._done(waiter, cached)
            return True
        if self._waiters >= self._inflight:
            return False
        self._waiters += 1
        same = self._first.get(key) or self._again.get(key)
        if same is not None:
            same.waiters.append(waiter)
            return True
        question = self._first[key] = Question(key, section, waiter, time.monotonic(), self._seconds)
        self._send(question)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
        return True

    def close(self) -> None:
        """Fail what is on its way and close every socket."""
        if self._timer is not None:
            self._timer.cancel()
        for question in [*self._first.values(), *self._again.values()]:
            self._finish(question, "the name server stops")
        for task in self._tasks:
            task.cancel()
        for channel in [*self._retired, *(c for channels in self._channels.values() for c in channels)]:
            channel.close()
        self._retired.clear()
        self._channels = {server: [] for server in self._servers}

    def _send(self, question: Question[W]) -> None:
        """Send once more; a server that cannot be reached at all (no route) leaves the question to the retry or its deadline."""
        server = self._servers[question.attempts % len(self._servers)]
        question.attempts += 1
        try:
            self._channel(server).send(question)
        except OSError as error:
            _log.debug("no socket for %s: %s", server, error)

    def _channel(self, server: Address) -> Channel[W]:
        """The next socket for `server`, a fresh one where it has served its time. Raises `OSError`."""
        channels = self._channels[server]
        if len(channels) < SOCKETS:
            channels.append(Channel(server, self._receive))
            return channels[-1]
        self._turn += 1
        index = self._turn % SOCKETS
        channel = channels[index]
        if channel.used >= QUERIES_PER_SOCKET:
            channels[index] = Channel(server, self._receive)
            self._retire(channel)
        return channels[index]

    def _retire(self, channel: Channel[W]) -> None:
        if channel.waiting:
            self._retired.append(channel)
        else:
            channel.close()

    def _receive(self, channel: Channel[W]) -> None:
        for _ in range(BATCH):
            try:
                message = channel.sock.recv(_RECEIVE)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error, which anyone can forge: the deadline decides
            question = channel.waiting.get(message[:2])
            if question is not None and matches(message, message[:2], question.section):
                self._take(question, message, channel)

    def _take(self, question: Question[W], message: bytes, channel: Channel[W]) -> None:
        """A message that answers: read it, ask over TCP when it is cut short, try the next server when this one refuses."""
        if is_truncated(message):
            self._forget(question)
            task = asyncio.get_running_loop().create_task(self._ask_tcp(question, channel.server))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        known = self._decoded.get(question.key)
        if known is not None and message[2:] == known[0]:
            answer = known[1]
        else:
            try:
                answer = decode_answer(message, *question.key, wire.HEADER_SIZE + len(question.section))
            except BadAnswer as error:
                self._finish(question, str(error))
                return
            if len(self._decoded) >= _DECODED_ENTRIES:
                self._decoded.clear()
            self._decoded[question.key] = (message[2:], answer)
        if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN) and question.attempts < len(self._servers):
            self._send(question)
            return
        self._cache.put(question.key, answer)
        self._finish(question, answer)

    async def _ask_tcp(self, question: Question[W], server: Address) -> None:
        ident = _random_id()
        query = wire.encode_query(ident, question.section)
        try:
            async with asyncio.timeout(max(0.0, question.deadline - time.monotonic())):
                message = await _exchange_tcp(server, query)
            if not matches(message, ident, question.section):
                raise BadAnswer("an answer to another question over TCP")
            answer = decode_answer(message, *question.key, wire.HEADER_SIZE + len(question.section))
        except (OSError, EOFError, TimeoutError, BadAnswer) as error:
            self._finish(question, str(error) or "no answer over TCP in time")
            return
        self._cache.put(question.key, answer)
        self._finish(question, answer)

    def _sweep(self) -> None:
        """Ask again what had no answer for a while; give up what has run out of time."""
        now = time.monotonic()
        for question in _due(self._first, lambda q: q.retry_at, now):
            del self._first[question.key]
            self._again[question.key] = question
            if question.sent:  # not while TCP is under way
                self._send(question)
        for question in _due(self._again, lambda q: q.deadline, now):
            self._finish(question, f"no answer in {self._seconds:g} s")
        still = [channel for channel in self._retired if channel.waiting]
        for channel in self._retired:
            if not channel.waiting:
                channel.close()
        self._retired = still
        busy = self._first or self._again or self._retired
        self._timer = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep) if busy else None

    def _forget(self, question: Question[W]) -> None:
        """No datagram counts for `question` any more."""
        for channel, ident in question.sent:
            channel.waiting.pop(ident, None)
        question.sent.clear()

    def _finish(self, question: Question[W], result: Answer | str) -> None:
        self._forget(question)
        known = self._first.pop(question.key, None) or self._again.pop(question.key, None)
        if known is None:
            return
        self._waiters -= len(question.waiters)
        for waiter in question.waiters:
            self._done(waiter, result)


def _due(
    questions: dict[tuple[str, int], Question[W]], at: Callable[[Question[W]], float], now: float
) -> list[Question[W]]:
    due: list[Question[W]] = []
    for question in questions.values():
        if at(question) > now:
            break
        due.append(question)
    return due


def _random_id() -> bytes:
    """Two octets from the system's random source, fetched a page at a time: a system call for each would show."""
    if len(_random) < 2:
        _random.extend(os.urandom(4096))
    return bytes((_random.pop(), _random.pop()))


async def _exchange_tcp(server: Address, query: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server, limit=wire.MAX_TCP + 2)
    try:
        writer.write(len(query).to_bytes(2) + query)
        return await reader.readexactly(int.from_bytes(await reader.readexactly(2)))
    finally:
        writer.close()
