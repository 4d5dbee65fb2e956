"""Bound what garbage can write into the audit log: the first events of a kind pass, the rest are counted and told in one notice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from kap.audit.event import Event
from kap.audit.log import Recorder


class Throttle:
    """Pass events on to `audit`: `burst` at once, then `rate` per second; what is held back becomes a ``notice`` with the count.

    `clock` gives seconds, monotonic.
    """

    def __init__(
        self, audit: Recorder, *, burst: int = 20, rate: float = 5.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._audit = audit
        self._burst = float(burst)
        self._rate = rate
        self._clock = clock
        self._tokens = float(burst)
        self._at = clock()
        self._held: dict[str, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def record(self, event: Event) -> None:
        """Record `event`, or count it under its code."""
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens >= 1:
            self._tokens -= 1
            self._audit.record(event)
            return
        self._held[event.code] = self._held.get(event.code, 0) + 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(1.0, self.flush)

    def flush(self) -> None:
        """Tell now what was held back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, {}
        for code, count in held.items():
            self._audit.record(Event("notice", "dns", code, detail=f"{count} more queries refused for this reason"))
