"""The system resolver's cache, single flight, limits and canonical answers; lookups are plain functions given by the test."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from kap.egress.resolve import ResolveError, SystemResolver


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def counting(answer: Callable[[str], list[str]]) -> tuple[list[str], Callable[[str], list[str]]]:
    asked: list[str] = []

    def lookup(name: str) -> list[str]:
        asked.append(name)
        return answer(name)

    return asked, lookup


async def test_an_answer_is_remembered_for_its_time() -> None:
    clock = Clock()
    asked, lookup = counting(lambda _: ["192.0.2.1"])
    resolver = SystemResolver(lookup=lookup, clock=clock)
    assert resolver.cached("a.test") is None
    assert await resolver.resolve("a.test") == ("192.0.2.1",)
    assert resolver.cached("a.test") == ("192.0.2.1",)
    assert await resolver.resolve("a.test") == ("192.0.2.1",)
    assert len(asked) == 1
    clock.now += 31
    assert resolver.cached("a.test") is None
    await resolver.resolve("a.test")
    assert len(asked) == 2
    resolver.close()


async def test_a_failure_is_remembered_briefly() -> None:
    clock = Clock()

    def fails(name: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    asked, lookup = counting(fails)
    resolver = SystemResolver(lookup=lookup, clock=clock)
    for _ in range(3):
        with pytest.raises(ResolveError, match="not known"):
            await resolver.resolve("a.test")
    assert len(asked) == 1
    assert resolver.cached("a.test") is None
    clock.now += 3
    with pytest.raises(ResolveError):
        await resolver.resolve("a.test")
    assert len(asked) == 2
    resolver.close()


async def test_askers_of_one_name_share_a_lookup_and_survive_each_other() -> None:
    release = threading.Event()

    def slow(name: str) -> list[str]:
        release.wait(5)
        return ["192.0.2.1"]

    asked, lookup = counting(slow)
    resolver = SystemResolver(lookup=lookup)
    first, second = (asyncio.ensure_future(resolver.resolve("a.test")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    release.set()
    assert await asyncio.wait_for(second, 5) == ("192.0.2.1",)
    assert len(asked) == 1
    resolver.close()


async def test_a_slow_resolver_is_given_up() -> None:
    release = threading.Event()

    def slow(name: str) -> list[str]:
        release.wait(5)
        return []

    resolver = SystemResolver(lookup=slow, seconds=0.05)
    with pytest.raises(ResolveError, match="within"):
        await resolver.resolve("a.test")
    release.set()
    resolver.close()


async def test_what_is_remembered_is_bounded() -> None:
    resolver = SystemResolver(lookup=lambda _: ["192.0.2.1"], entries=10)
    for number in range(50):
        await resolver.resolve(f"n{number}.test")
    assert resolver.cached("n49.test") and resolver.cached("n0.test") is None
    assert len(resolver._known) == 10
    resolver.close()


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (["192.0.2.1", "192.0.2.1"], ("192.0.2.1",)),
        (["2001:DB8:0:0::1"], ("2001:db8::1",)),
        (["fe80::1%eth0"], ("fe80::1",)),
        (["garbage", "192.0.2.1"], ("192.0.2.1",)),
    ],
)
async def test_addresses_come_out_canonical(raw: list[str], canonical: tuple[str, ...]) -> None:
    resolver = SystemResolver(lookup=lambda _: raw)
    assert await resolver.resolve("a.test") == canonical
    resolver.close()


async def test_no_address_at_all_is_a_failure() -> None:
    resolver = SystemResolver(lookup=lambda _: ["garbage"])
    with pytest.raises(ResolveError):
        await resolver.resolve("a.test")
    resolver.close()


async def test_a_resolver_that_breaks_is_a_failure_not_a_hang() -> None:
    def breaks(name: str) -> list[str]:
        raise UnicodeError("label too long")

    resolver = SystemResolver(lookup=breaks)
    with pytest.raises(ResolveError):
        await resolver.resolve("a.test")
    resolver.close()
