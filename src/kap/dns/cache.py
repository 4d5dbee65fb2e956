"""A small cache of the upstream's answers: bounded in entries and in time, positive answers only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from kap.dns.answer import Answer
from kap.dns.wire import NOERROR

MAX_SECONDS: Final = 300
"""A name that moves is found again within five minutes, whatever its TTL said."""


class Cache:
    """At most `entries` answers, by name and type; 0 turns it off. `clock` gives seconds, monotonic."""

    def __init__(self, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock
        self._answers: dict[tuple[str, int], tuple[float, Answer]] = {}

    def __len__(self) -> int:
        return len(self._answers)

    def get(self, key: tuple[str, int]) -> Answer | None:
        """The answer while it lives, its TTLs counted down to what is left."""
        found = self._answers.get(key)
        if found is None:
            return None
        left = int(found[0] - self._clock())
        if left <= 0:
            del self._answers[key]
            return None
        records = tuple(msgspec.structs.replace(record, ttl=left) for record in found[1].records)
        return Answer(found[1].rcode, records)

    def put(self, key: tuple[str, int], answer: Answer) -> None:
        """Keep `answer` for its lowest TTL; an answer without records is not kept (RFC 2308 5: no SOA, no negative caching)."""
        if not self._entries or answer.rcode != NOERROR or not answer.records:
            return
        seconds = min(MAX_SECONDS, *(record.ttl for record in answer.records))
        if seconds < 1:
            return
        self._answers.pop(key, None)
        if len(self._answers) >= self._entries:
            # The oldest eighth goes: no book-keeping on reads, no scan on every write.
            for old in list(self._answers)[: max(1, self._entries // 8)]:
                del self._answers[old]
        self._answers[key] = (self._clock() + seconds, answer)
