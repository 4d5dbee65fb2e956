"""Where the sidecar listens, and that it goes on listening."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

from kap.audit.event import Event
from kap.errors import KapError, UsageError
from kap.sidecar.listeners import Endpoint, Listener, Supervisor, bind, parse_endpoint, parse_listen


@pytest.mark.parametrize(
    ("text", "kind", "endpoint"),
    [
        ("proxy=127.0.0.1:3128", "proxy", "127.0.0.1:3128"),
        ("proxy=127.0.0.1", "proxy", "127.0.0.1:3128"),
        ("dns=0.0.0.0", "dns", "0.0.0.0:53"),
        ("http=127.0.0.1:0", "http", "127.0.0.1:0"),
        ("tls=[::1]:8443", "tls", "[::1]:8443"),
        ("tls=[::1]:0", "tls", "[::1]:0"),
    ],
)
def test_parse_listen(text: str, kind: str, endpoint: str) -> None:
    found = parse_listen(text)
    assert (found[0], str(found[1])) == (kind, endpoint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "proxy",
        "proxy=",
        "smtp=127.0.0.1:25",
        "proxy=localhost:80",
        "proxy=127.0.0.1:70000",
        "proxy=127.0.0.1:-1",
        "proxy=:0",
    ],
)
def test_parse_listen_nonsense(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_listen(text)
    assert error.value.hint


def test_parse_endpoint_default_port() -> None:
    assert parse_endpoint("10.0.0.2", 3128) == Endpoint("10.0.0.2", 3128)


def test_dns_has_two_sockets_on_one_port() -> None:
    udp, tcp = bind("dns", Endpoint("127.0.0.1", 0))
    with udp, tcp:
        assert (udp.type, tcp.type) == (socket.SOCK_DGRAM, socket.SOCK_STREAM)
        assert udp.getsockname() == tcp.getsockname()


def test_a_taken_port_names_itself_and_the_cure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(KapError) as error:
        bind("proxy", Endpoint("127.0.0.1", taken.getsockname()[1]))
    assert "Address already in use" in error.value.message and "another program" in error.value.hint


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(KapError) as error:
        bind("proxy", Endpoint("192.0.2.77", 0))
    assert "no such address" in error.value.hint


class Rig:
    """One listener on loopback whose plane is a list, under a supervisor whose sleeps are counted."""

    def __init__(self, kind: str = "proxy") -> None:
        self.served: list[socket.socket] = []
        self.events: list[Event] = []
        self.changes = 0
        self.naps: list[float] = []
        self.refuse = 0
        self.stopped = asyncio.Event()
        sock = bind("proxy", Endpoint("127.0.0.1", 0))[0]
        self.listener = Listener("proxy", sock, self.serve)
        self.supervisor = Supervisor([self.listener], self, changed=self.changed, sleep=self.sleep)

    async def serve(self, sock: socket.socket) -> None:
        if self.refuse and self.served:
            self.refuse -= 1
            raise OSError(24, "Too many open files")
        self.served.append(sock)

    def record(self, event: Event) -> None:
        self.events.append(event)

    def changed(self) -> None:
        self.changes += 1

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        if len(self.served) > 1:
            self.stopped.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)


@pytest.fixture
async def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    for sock in rig.served:
        sock.close()


async def watch(rig: Rig) -> None:
    task = asyncio.create_task(rig.supervisor.run())
    await asyncio.wait_for(rig.stopped.wait(), 10)
    task.cancel()
    await asyncio.wait([task])


async def test_a_listener_that_dies_is_an_event_and_comes_back_on_its_port(rig: Rig) -> None:
    await rig.supervisor.start()
    port = rig.listener.status.port
    rig.served[0].close()
    assert not rig.listener.alive
    await watch(rig)
    assert rig.listener.alive and rig.listener.sock.getsockname()[1] == port
    assert (rig.listener.status.up, rig.listener.status.restarts, rig.listener.status.error) == (True, 1, "")
    assert [event.code for event in rig.events] == ["sidecar.listener-failed"]
    assert f"proxy 127.0.0.1:{port}" in rig.events[0].detail
    assert rig.changes >= 2


async def test_a_listener_that_does_not_come_back_is_tried_at_growing_intervals(rig: Rig) -> None:
    await rig.supervisor.start()
    rig.refuse = 4
    rig.served[0].close()
    await watch(rig)
    assert rig.naps[1:5] == [0.5, 1.0, 2.0, 4.0]
    assert len(rig.events) == 1


async def test_a_socket_that_was_shut_down_is_dead(rig: Rig) -> None:
    await rig.supervisor.start()
    assert rig.listener.alive
    rig.served[0].shutdown(socket.SHUT_RDWR)
    assert not rig.listener.alive


async def test_a_listener_that_cannot_start_stops_the_start() -> None:
    rig = Rig()
    rig.served.append(rig.listener.sock)
    rig.refuse = 1
    with pytest.raises(OSError, match="Too many open files"):
        await rig.supervisor.start()
    rig.listener.sock.close()
