"""Resolving by named servers. The server is the rig's, on loopback: it gives 127.0.0.2 for A and nothing for AAAA."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from kap.egress.resolve import ResolveError
from kap.sidecar.resolver import ServerResolver
from rig.sidecar import OUTSIDE, Resolver


@pytest.fixture
async def server() -> AsyncIterator[Resolver]:
    made = Resolver()
    yield made
    made.sock.close()


async def test_both_types_are_asked_once_and_remembered(server: Resolver) -> None:
    resolver = ServerResolver([("127.0.0.1", server.port)], seconds=5, inflight=8)
    assert resolver.cached("a.example.com") is None
    async with asyncio.timeout(10):
        assert await resolver.resolve("a.example.com") == (OUTSIDE,)
        assert await resolver.resolve("a.example.com") == (OUTSIDE,)
    assert resolver.cached("a.example.com") == (OUTSIDE,)
    assert server.asked == ["a.example.com"] * 2
    resolver.close()


async def test_no_answer_in_time_is_an_error_with_words(server: Resolver) -> None:
    server.sock.close()
    resolver = ServerResolver([("127.0.0.1", server.port)], seconds=0.3, inflight=8)
    async with asyncio.timeout(10):
        with pytest.raises(ResolveError):
            await resolver.resolve("a.example.com")
    assert resolver.cached("a.example.com") is None
    resolver.close()


async def test_too_many_at_once_is_an_error(server: Resolver) -> None:
    resolver = ServerResolver([("127.0.0.1", server.port)], seconds=5, inflight=0)
    with pytest.raises(ResolveError, match="too many names"):
        await resolver.resolve("a.example.com")
    resolver.close()


async def test_what_is_remembered_is_bounded(server: Resolver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kap.sidecar.resolver.ENTRIES", 3)
    resolver = ServerResolver([("127.0.0.1", server.port)], seconds=5, inflight=8)
    async with asyncio.timeout(20):
        for number in range(6):
            await resolver.resolve(f"h{number}.example.com")
    assert len(resolver._known) == 3
    resolver.close()
