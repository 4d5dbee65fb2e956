"""Names to addresses for the data plane: the system's resolver, asked once per name and remembered briefly.

Rules: one question at a time per name (single flight); every lookup has a deadline; answers, failures, threads and waiting
questions are all bounded; what comes out are canonical addresses, in the resolver's order (RFC 6724), zone ids dropped.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from kap.names.addresses import canonical
from kap.names.hosts import BadTarget

TTL = 30.0
NEGATIVE_TTL = 2.0
ENTRIES = 4096
THREADS = 16
WAITING = 512

Lookup = Callable[[str], list[str]]


class ResolveError(Exception):
    """The name has no usable address; the message says why, for the log."""


class Resolver(Protocol):
    """What the plane asks. Canonical addresses, best first, never empty; raises `ResolveError`."""

    async def resolve(self, name: str) -> tuple[str, ...]:
        """The addresses of `name` (a canonical host name, never an address)."""
        ...

    def cached(self, name: str) -> tuple[str, ...] | None:
        """The addresses of `name` when they are known without waiting, else None. Spares the hot path a task."""
        ...


def system_lookup(name: str) -> list[str]:
    """Every address `getaddrinfo` knows for `name`. Blocks: run it in a thread. Raises `OSError`, `UnicodeError`."""
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class SystemResolver:
    """`Resolver` over the host's own resolver. `seconds` bounds one lookup; see the module's constants for the other bounds."""

    def __init__(
        self,
        *,
        seconds: float = 5.0,
        ttl: float = TTL,
        negative_ttl: float = NEGATIVE_TTL,
        entries: int = ENTRIES,
        lookup: Lookup = system_lookup,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._ttl = ttl
        self._negative_ttl = negative_ttl
        self._entries = entries
        self._lookup = lookup
        self._clock = clock
        self._known: dict[str, tuple[float, tuple[str, ...], str]] = {}
        self._flying: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="kap-resolve")

    def cached(self, name: str) -> tuple[str, ...] | None:
        """Fresh known addresses of `name`, else None; a remembered failure is None too (`resolve` raises it)."""
        entry = self._known.get(name)
        if entry is None or entry[0] <= self._clock():
            return None
        return entry[1] or None

    async def resolve(self, name: str) -> tuple[str, ...]:
        """See `Resolver`. Callers that ask for the same name at the same time share one lookup."""
        entry = self._known.get(name)
        if entry is not None and entry[0] > self._clock():
            if entry[1]:
                return entry[1]
            raise ResolveError(entry[2])
        task = self._flying.get(name)
        if task is None:
            if len(self._flying) >= WAITING:
                raise ResolveError("too many names are being looked up at once")
            task = asyncio.get_running_loop().create_task(self._ask(name))
            self._flying[name] = task
            task.add_done_callback(lambda done: self._landed(name, done))
        # Shielded: one caller that goes away must not cancel the lookup under the others.
        return await asyncio.shield(task)

    def close(self) -> None:
        """Give up: nothing waiting is started any more, threads end with their current lookup."""
        for task in list(self._flying.values()):
            task.cancel()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _landed(self, name: str, task: asyncio.Task[tuple[str, ...]]) -> None:
        self._flying.pop(name, None)
        if not task.cancelled():
            task.exception()  # Marks it as seen: the callers that waited have it, and there may be none left.

    async def _ask(self, name: str) -> tuple[str, ...]:
        loop = asyncio.get_running_loop()
        reason = "the resolver knows no address for it"
        try:
            raw = await asyncio.wait_for(loop.run_in_executor(self._pool, self._lookup, name), self._seconds)
            addresses = _canonical(raw)
        except TimeoutError:
            addresses, reason = (), f"the resolver did not answer within {self._seconds:g} s"
        except (OSError, UnicodeError) as error:
            addresses, reason = (), getattr(error, "strerror", None) or str(error)
        self._remember(name, addresses, reason)
        if not addresses:
            raise ResolveError(reason)
        return addresses

    def _remember(self, name: str, addresses: tuple[str, ...], reason: str) -> None:
        self._known.pop(name, None)
        while len(self._known) >= self._entries:
            del self._known[next(iter(self._known))]  # Insertion order: the oldest answer goes first.
        lives = self._ttl if addresses else self._negative_ttl
        self._known[name] = (self._clock() + lives, addresses, reason)


def _canonical(raw: list[str]) -> tuple[str, ...]:
    """Canonical texts without doubles. A zone id only occurs on link-local addresses; without it they stay refusable."""
    out: dict[str, None] = {}
    for text in raw:
        try:
            out[canonical(text.partition("%")[0])] = None
        except BadTarget:
            continue
    return tuple(out)
