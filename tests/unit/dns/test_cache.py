"""The cache is bounded in entries and in time."""

from __future__ import annotations

from kap.dns.answer import Answer
from kap.dns.cache import MAX_SECONDS, Cache
from kap.dns.wire import Record


def answer(ttl: int, rcode: int = 0) -> Answer:
    return Answer(rcode, (Record("a.test", 5, 900, "b.test"), Record("b.test", 1, ttl, b"\1\2\3\4")))


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_answer_lives_as_long_as_its_lowest_ttl_and_counts_down() -> None:
    clock = Clock()
    cache = Cache(8, clock)
    cache.put(("a.test", 1), answer(60))
    clock.now += 20.5
    got = cache.get(("a.test", 1))
    assert got is not None
    assert {record.ttl for record in got.records} == {39}
    assert cache.get(("a.test", 28)) is None
    clock.now += 40
    assert cache.get(("a.test", 1)) is None
    assert len(cache) == 0


def test_no_answer_outlives_the_cap() -> None:
    clock = Clock()
    cache = Cache(8, clock)
    cache.put(("a.test", 1), answer(86400))
    clock.now += MAX_SECONDS + 1
    assert cache.get(("a.test", 1)) is None


def test_what_has_no_ttl_no_records_or_failed_is_not_kept() -> None:
    cache = Cache(8)
    cache.put(("a.test", 1), answer(0))
    cache.put(("b.test", 1), Answer(0, ()))
    cache.put(("c.test", 1), answer(60, rcode=3))
    assert len(cache) == 0


def test_entries_are_bounded_and_the_oldest_go_first() -> None:
    cache = Cache(16)
    for n in range(100):
        cache.put((f"{n}.test", 1), answer(60))
        assert len(cache) <= 16
    assert cache.get(("99.test", 1)) is not None
    assert cache.get(("0.test", 1)) is None


def test_a_cache_of_no_entries_keeps_nothing() -> None:
    cache = Cache(0)
    cache.put(("a.test", 1), answer(60))
    assert cache.get(("a.test", 1)) is None
