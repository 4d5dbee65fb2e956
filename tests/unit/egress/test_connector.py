"""Dials on real sockets: vetted addresses only, staggered, reported once, and nothing left behind after `cancel`."""

from __future__ import annotations

import asyncio
import socket
from functools import partial

import pytest

from kap.egress.connector import Connector
from kap.egress.server_side import ServerSide
from kap.names.hosts import Host, Target
from kap.policy.compiler import Policy
from rig.plane import SOON, StaticResolver, bound, policy_of


class Report:
    """An owner that keeps what it is told."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.told: list[tuple[str, ...]] = []
        self.server: ServerSide | None = None

    def dialled(self, protocol: ServerSide, address: str) -> None:
        self.told.append(("connected", address))
        self.server = protocol
        self.done.set()

    def dial_failed(self, code: str, address: str, detail: str, status: int = 0) -> None:
        self.told.append((code, address))
        self.done.set()

    def server_data(self, data: bytes) -> None: ...

    def server_ended(self) -> bool:
        return False

    def server_lost(self, error: Exception | None) -> None: ...

    def server_full(self, full: bool) -> None: ...


def listener(address: str = "127.0.0.1", backlog: int = 8) -> socket.socket:
    sock = bound(address)
    sock.listen(backlog)
    return sock


async def dial(
    names: dict[str, tuple[str, ...]], port: int, policy: Policy, own: frozenset[str] = frozenset()
) -> Report:
    connector = Connector(StaticResolver(names), own)
    connector.loop = asyncio.get_running_loop()
    report = Report()
    target = Target(Host("allowed.test"), port)
    connector.dial(policy, target, "app", partial(ServerSide, report), report)
    await asyncio.wait_for(report.done.wait(), SOON)
    if report.server is not None:
        report.server.transport.abort()
    return report


async def test_only_the_vetted_address_is_dialled() -> None:
    """The first answer is not granted: it is skipped, never tried."""
    with listener() as granted:
        port = granted.getsockname()[1]
        names = {"allowed.test": ("127.0.0.2", "127.0.0.1")}
        report = await dial(names, port, policy_of(f"allowed.test:{port}/tcp", private=("127.0.0.1/32",)))
        assert report.told == [("connected", "127.0.0.1")]


@pytest.mark.parametrize(
    ("own", "private", "code"),
    [
        (frozenset({"127.0.0.1"}), ("127.0.0.0/8",), "egress.own-address"),
        (frozenset[str](), (), "egress.address-not-global"),
    ],
)
async def test_refused_addresses_are_reported_with_their_code(
    own: frozenset[str], private: tuple[str, ...], code: str
) -> None:
    names = {"allowed.test": ("127.0.0.1",)}
    report = await dial(names, 443, policy_of("allowed.test", private=private), own)
    assert report.told == [(code, "127.0.0.1")]


async def test_a_silent_address_does_not_hold_up_the_next() -> None:
    """127.0.0.2 has a full backlog and never answers; 127.0.0.1 does."""
    with listener() as answers:
        port = answers.getsockname()[1]
        full = socket.socket()
        full.bind(("127.0.0.2", port))
        full.listen(0)
        held = [socket.socket() for _ in range(4)]
        for sock in held:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.2", port))
        try:
            names = {"allowed.test": ("127.0.0.2", "127.0.0.1")}
            report = await dial(names, port, policy_of(f"allowed.test:{port}/tcp"))
            assert report.told == [("connected", "127.0.0.1")]
            others = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            await asyncio.wait(others, timeout=SOON) if others else None
            assert all(task.done() for task in others)
        finally:
            for sock in (full, *held):
                sock.close()


@pytest.mark.parametrize("special", [(), ("255.255.255.255",), ("255.255.255.255", "240.0.0.1")])
async def test_every_address_refusing_is_one_failure(special: tuple[str, ...]) -> None:
    """A broadcast address fails before the attempt has even waited."""
    with bound() as closed:
        port = closed.getsockname()[1]
        names = {"allowed.test": (*special, "127.0.0.1", "127.0.0.2", "127.0.0.3")}
        everywhere = ("127.0.0.0/8", "240.0.0.0/4")
        report = await dial(names, port, policy_of(f"allowed.test:{port}/tcp", private=everywhere))
        assert [code for code, _ in report.told] == ["egress.connect-failed"]


async def test_a_cancelled_dial_reports_nothing() -> None:
    resolver = StaticResolver({"allowed.test": ("127.0.0.1",)})
    resolver.hold = asyncio.Event()
    connector = Connector(resolver, frozenset())
    connector.loop = asyncio.get_running_loop()
    report = Report()
    policy = policy_of("allowed.test")
    handle = connector.dial(policy, Target(Host("allowed.test"), 443), "app", partial(ServerSide, report), report)
    await asyncio.sleep(0)
    handle.cancel()
    resolver.hold.set()
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.wait(others, timeout=SOON)
    assert report.told == []


async def test_a_resolver_that_breaks_is_an_internal_error() -> None:
    class Broken(StaticResolver):
        async def resolve(self, name: str) -> tuple[str, ...]:
            raise ZeroDivisionError

    connector = Connector(Broken({}), frozenset())
    connector.loop = asyncio.get_running_loop()
    report = Report()
    target = Target(Host("allowed.test"), 443)
    connector.dial(policy_of("allowed.test"), target, "app", partial(ServerSide, report), report)
    await asyncio.wait_for(report.done.wait(), SOON)
    assert report.told == [("egress.internal-error", "")]
