"""Garbage cannot fill the log."""

from __future__ import annotations

from kap.audit.event import Event
from kap.dns.throttle import Throttle


class Log:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def record(self, event: Event) -> None:
        self.events.append(event)


async def test_a_burst_passes_and_the_rest_is_counted_by_code() -> None:
    log, now = Log(), [0.0]
    throttle = Throttle(log, burst=3, rate=1.0, clock=lambda: now[0])
    for n in range(10):
        throttle.record(Event("decision", "dns", "dns.bad-query" if n % 2 else "dns.limit"))
    assert len(log.events) == 3
    throttle.flush()
    notices = {(e.kind, e.code, e.detail.split()[0]) for e in log.events[3:]}
    assert notices == {("notice", "dns.bad-query", "4"), ("notice", "dns.limit", "3")}
    throttle.flush()
    assert len(log.events) == 5, "nothing is told twice"


async def test_tokens_come_back_with_time() -> None:
    log, now = Log(), [0.0]
    throttle = Throttle(log, burst=2, rate=2.0, clock=lambda: now[0])
    for _ in range(4):
        throttle.record(Event("decision", "dns", "dns.bad-query"))
    now[0] = 0.5
    throttle.record(Event("decision", "dns", "dns.bad-query"))
    assert len(log.events) == 3
    throttle.flush()
