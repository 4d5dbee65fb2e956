"""Listening sockets in another network namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from kap.backend.sockets import PLANES, open_sockets
from kap.errors import BackendError


@pytest.fixture
def sleeper() -> Iterator[int]:
    """A process in an empty network namespace with loopback up, as bwrap makes one; its number."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    reader, writer = os.pipe()
    options = [
        "--unshare-user",
        "--unshare-net",
        "--unshare-pid",
        "--die-with-parent",
        "--ro-bind",
        "/",
        "/",
        "--dev",
        "/dev",
    ]
    running = subprocess.Popen(["bwrap", *options, "--info-fd", str(writer), "sleep", "60"], pass_fds=[writer])
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    if not said:
        running.wait(timeout=20)
        pytest.skip("bubblewrap cannot make namespaces here")
    import json

    yield json.loads(said)["child-pid"]
    running.kill()
    running.wait(timeout=20)


def test_every_plane_on_loopback_inside_and_not_outside(sleeper: int) -> None:
    found = open_sockets(sleeper)
    try:
        assert {item.plane for item in found} == set(PLANES)
        four = {(item.plane, item.sock.getsockname()[:2]) for item in found if ":" not in item.sock.getsockname()[0]}
        assert four == {
            ("proxy", ("127.0.0.1", 3128)),
            ("http", ("127.0.0.1", 80)),
            ("tls", ("127.0.0.1", 443)),
            ("dns-tcp", ("127.0.0.1", 53)),
            ("dns-udp", ("127.0.0.1", 53)),
        }
        with open(f"/proc/{sleeper}/net/tcp") as inside, open("/proc/self/net/tcp") as outside:
            listening = {int(line.split()[1].split(":")[1], 16) for line in list(inside)[1:]}
            here = {line.split()[9] for line in list(outside)[1:]}
        assert {3128, 80, 443, 53} <= listening
        assert not {str(os.fstat(item.sock.fileno()).st_ino) for item in found} & here
    finally:
        for item in found:
            item.sock.close()


def test_our_own_namespace_is_refused() -> None:
    """Without a network namespace of its own the capsule's sockets would be the host's."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(BackendError, match="no network namespace of its own"):
        open_sockets(os.getpid())
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_that_is_gone() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait(timeout=20)
    with pytest.raises(BackendError, match="sockets"):
        open_sockets(gone.pid)
