"""The health check is not fooled: by silence, by a stranger on the port, by a status of yesterday, by a plane that lets things through."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kap.sidecar import status as status_file
from kap.sidecar.probe import Check, check
from kap.sidecar.status import ListenerStatus, PolicyStatus, Status

Talk = Callable[[socket.socket], None]


class Port:
    """A TCP port on loopback where each connection is handed to `talk`."""

    def __init__(self, talk: Talk) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.number = self.sock.getsockname()[1]
        self._talk = talk
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                with sock, suppress(OSError):
                    sock.settimeout(5)
                    sock.recv(65_536)
                    self._talk(sock)


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Callable[..., list[Check]]]:
    ports: list[Port] = []

    def run(kind: str, talk: Talk, **more: object) -> list[Check]:
        ports.append(Port(talk))
        listener = ListenerStatus(kind, "127.0.0.1", ports[-1].number)
        fields = {
            "updated": time.time(),
            "healthy": True,
            "listeners": [listener],
            "own_addresses": ["127.0.0.1"],
            **more,
        }
        path = tmp_path / "status.json"
        status_file.write(path, Status("0", 1, 1.0, policy=PolicyStatus(digest="d" * 64), **fields))  # type: ignore[arg-type]
        return check(path, seconds=3.0)

    yield run
    for port in ports:
        port.sock.close()


def say(data: bytes) -> Talk:
    def talk(sock: socket.socket) -> None:
        sock.sendall(data)

    return talk


REFUSED = b"HTTP/1.1 403 Forbidden\r\nx-kap-reason:  egress.not-listed \r\nContent-Length: 0\r\n\r\n"


@pytest.mark.parametrize("kind", ["proxy", "http"])
def test_a_refusal_of_kaps_is_health(ask: Callable[..., list[Check]], kind: str) -> None:
    assert [one.ok for one in ask(kind, say(REFUSED))] == [True, True]


@pytest.mark.parametrize("kind", ["proxy", "http"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "was let through"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "without a reason"),
        (b"HTTP/1.1 503 x\r\nX-Kap-Reason: egress.no-policy\r\n\r\n", "no policy is in force"),
        (b"HTTP/1.1 500 x\r\nX-Kap-Reason: egress.internal-error\r\n\r\n", "egress.internal-error"),
        (b"", "closed without an answer"),
        (b"SSH-2.0-x\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1\r\n\r\n", "not HTTP"),
        (b"\xff" * 100_000, "not HTTP"),
    ],
)
def test_anything_else_is_not(ask: Callable[..., list[Check]], kind: str, answer: bytes, words: str) -> None:
    found = ask(kind, say(answer))[1]
    assert not found.ok and words in found.detail


def test_tls_closed_without_a_word_is_health_and_a_server_hello_is_not(ask: Callable[..., list[Check]]) -> None:
    assert ask("tls", say(b""))[1].ok
    found = ask("tls", say(b"\x16\x03\x03\x00\x10"))[1]
    assert not found.ok and "was let through" in found.detail
    assert ask("tls", say(b"\x15\x03\x03\x00\x02\x02\x28"))[1].ok  # an alert


@pytest.mark.parametrize("answer", [b"", b"\0\x05abcde", b"\0\x0c" + b"\0" * 12, b"\xff" * 600])
def test_dns_answers_that_are_none(ask: Callable[..., list[Check]], answer: bytes) -> None:
    assert not ask("dns-tcp", say(answer))[1].ok


def test_silence_does_not_hang(ask: Callable[..., list[Check]]) -> None:
    found = ask("proxy", lambda sock: time.sleep(4))[1]
    assert not found.ok and "no answer" in found.detail


def test_a_listener_of_a_kind_it_does_not_know(ask: Callable[..., list[Check]]) -> None:
    assert not ask("smtp", say(b""))[1].ok


def test_an_old_status_is_a_sidecar_that_hangs(ask: Callable[..., list[Check]]) -> None:
    found = ask("proxy", say(REFUSED), updated=time.time() - 60)[0]
    assert not found.ok and "hangs" in found.detail


def test_its_own_problems_are_repeated(ask: Callable[..., list[Check]]) -> None:
    found = ask("proxy", say(REFUSED), healthy=False, problems=["tls 0.0.0.0:443: gone"])[0]
    assert (found.ok, found.detail) == (False, "tls 0.0.0.0:443: gone")


def test_no_status_at_all(tmp_path: Path) -> None:
    (found,) = check(tmp_path / "none.json")
    assert not found.ok and "none.json" in found.detail


def test_no_listeners(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    status_file.write(path, Status("0", 1, 1.0, updated=time.time(), healthy=True))
    assert [one.ok for one in check(path)] == [False]
