"""The sidecar killed, starved and fed garbage while the outside counts what should not have reached it."""

from __future__ import annotations

import random
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from rig.sidecar import Sidecar, sidecar
from rig.waiting import eventually


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sidecar]:
    with sidecar(tmp_path) as made:
        made.write(made.text("a.example.com"))
        yield made


def test_killed_in_mid_traffic_nothing_passes_any_more(box: Sidecar) -> None:
    box.start()
    sock = box.tunnel("a.example.com")[0]
    sent = 0

    def pump() -> None:
        nonlocal sent
        with suppress(OSError):
            while True:
                sent += sock.send(b"x" * 4096)

    pumping = threading.Thread(target=pump, daemon=True)
    pumping.start()
    eventually(lambda: box.outside.received > 1_000_000, "traffic flows")
    ports = {kind: box.port(kind) for kind in ("proxy", "http", "tls", "dns-tcp")}
    box.end(signal.SIGKILL)
    pumping.join(20)
    assert not pumping.is_alive()  # its connection is dead with the sidecar
    assert box.outside.received <= sent
    for port in ports.values():
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
    assert box.outside.connections == 1


def test_killed_while_loading_it_never_listened(box: Sidecar) -> None:
    process = box.launch()
    process.kill()
    process.wait(20)
    assert not box.status().get("listeners")
    assert box.outside.connections == 0


GARBAGE = [
    b"",
    b"\0" * 4096,
    bytes(range(256)) * 64,
    b"\x16\x03\x01\xff\xff" + b"A" * 70_000,
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 20_000,
    b"CONNECT " + b"a" * 100_000,
    b"CONNECT a.example.com:443 HTTP/1.1\r\nHost: a.example.com:443\r\nHost: b.example.com\r\n\r\n",
    b"GET http://b.example.com/ HTTP/1.1\r\nHost: a.example.com\r\n\r\n",
    b"\x05\x01\x00",
    b"SSH-2.0-x\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xff\xff" + b"\xff" * 65_535,
    b"\0\x0c" + b"\0" * 12,
]


def test_garbage_on_every_port_is_refused_and_survived(box: Sidecar) -> None:
    box.start()
    noise = random.Random(7)
    for data in [*GARBAGE, *(noise.randbytes(noise.randrange(1, 3000)) for _ in range(30))]:
        for kind in ("proxy", "http", "tls", "dns-tcp"):
            with suppress(OSError), box.connect(kind) as sock:
                sock.settimeout(0.5)
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65_536):
                    pass
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.sendto(data[:60_000], ("127.0.0.1", box.port("dns")))
    assert box.check().returncode == 0
    assert box.outside.connections == 0 and box.resolver.asked == []
    assert box.verdict("a.example.com") == (200, "")
    assert "Traceback" not in box.stderr


def test_starved_of_descriptors_it_refuses_and_recovers(box: Sidecar) -> None:
    box.start(files=200)
    held: list[socket.socket] = []
    with suppress(OSError):
        for _ in range(400):
            held.append(box.connect())
    assert box.outside.connections == 0
    for sock in held:
        sock.close()
    eventually(lambda: box.check().returncode == 0, "healthy again")
    assert box.verdict("a.example.com") == (200, "")
    assert len(box.stderr) < 100_000


def test_the_log_disk_is_gone_and_verdicts_stay_the_same(box: Sidecar) -> None:
    box.start()
    eventually(box.log.is_file, "the log is there")
    box.log.unlink()
    box.log.mkdir()
    for _ in range(20):
        assert box.verdict("b.example.com") == (403, "egress.not-listed")
    assert box.verdict("a.example.com") == (200, "")
    eventually(lambda: "cannot write the audit log" in box.stderr, "it says so")
    assert box.stderr.count("cannot write the audit log") == 1
    box.log.rmdir()
    eventually(lambda: box.log.is_file() and len(box.events("egress.not-listed")) == 20, "what waited is written")


def test_a_policy_that_flips_all_the_time_opens_nothing_in_between(box: Sidecar) -> None:
    box.start()
    texts = [box.text("a.example.com"), "not toml at all [", box.text("c.example.com"), ""]
    stop = threading.Event()

    def flip() -> None:
        count = 0
        while not stop.wait(0.03):
            count += 1
            with suppress(OSError):
                box.policy.write_text(texts[count % len(texts)])

    writer = threading.Thread(target=flip, daemon=True)
    writer.start()
    try:
        for _ in range(100):
            assert box.verdict("b.example.com") == (403, "egress.not-listed")
    finally:
        stop.set()
        writer.join(20)
    box.write(box.text("a.example.com"))
    eventually(lambda: box.verdict("a.example.com") == (200, ""), "the last one holds")
    eventually(lambda: box.outside.connections >= 1, "and it is reached")
