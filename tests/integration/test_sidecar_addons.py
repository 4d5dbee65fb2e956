"""Other people's mitmproxy addons in the sidecar: what they may do, and what comes of it when they fail."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("mitmproxy", reason="mitmproxy needs Python 3.13 here")

from rig.sidecar import OUTSIDE, Sidecar, sidecar
from rig.site import threaded
from rig.waiting import PATIENCE, eventually

HEADER = """
class AddHeader:
    def responseheaders(self, flow):
        flow.response.headers["X-Added"] = "by-the-addon"

addons = [AddHeader()]
"""
BROKEN = """
class Broken:
    def requestheaders(self, flow):
        raise ValueError("a bug in the addon")

addons = [Broken()]
"""


@pytest.fixture
def origin() -> Iterator[tuple[int, list[str]]]:
    """The port of a site on `OUTSIDE`, and what it was asked for."""
    with threaded(OUTSIDE) as made:
        yield made


@pytest.fixture
def site(origin: tuple[int, list[str]]) -> int:
    """Its port."""
    return origin[0]


@contextmanager
def gated(home: Path, site: int, *addons: str) -> Iterator[Sidecar]:
    """A sidecar with a gate and these addons; a.example.com is allowed on the site's port."""
    with sidecar(home) as box:
        box.write(policy(box, f"a.example.com:{site}"))
        files = []
        for number, text in enumerate(addons):
            path = home / f"addon{number}.py"
            path.write_text(text)
            files += ["--addon", str(path)]
        yield box.start("--frame", "--listen", "gate=127.0.0.1:0", *files)


def policy(box: Sidecar, *rules: str) -> str:
    return (
        f'[proxy]\ndns_upstream = "127.0.0.1:{box.resolver.port}"\n'
        f'[proxy.network]\nallow = {json.dumps(rules)}\nprivate = ["{OUTSIDE}/32"]\n'
    )


def ended(sock: socket.socket) -> bool:
    try:
        return sock.recv(1) == b""
    except ConnectionError:
        return True


def get(box: Sidecar, host: str, port: int, by: str = "gate") -> str:
    """The whole answer to a plain HTTP request, "" where there is none."""
    with box.connect(by) as sock:
        sock.sendall(f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := sock.recv(65_536):
            answer += part
    return answer.decode("latin-1")


def test_an_addon_changes_what_passes_the_gate_and_nothing_else(tmp_path: Path, origin: tuple[int, list[str]]) -> None:
    site, asked = origin
    with gated(tmp_path, site, HEADER) as box:
        answer = get(box, "a.example.com", site)
        assert answer.startswith("HTTP/1.1 200") and "x-added: by-the-addon" in answer.lower() and "origin" in answer
        assert "x-added" not in get(box, "a.example.com", site, by="proxy").lower()
        denied = get(box, "b.example.com", site)
        assert denied.startswith("HTTP/1.1 403") and "egress.not-listed" in denied
        assert len(asked) == 2
        eventually(lambda: box.events("egress.not-listed"), "the denial is logged")


def test_an_addon_that_fails_denies_at_the_gate_alone(tmp_path: Path, origin: tuple[int, list[str]]) -> None:
    site, asked = origin
    with gated(tmp_path, site, BROKEN) as box:
        answer = get(box, "a.example.com", site)
        assert answer == "" or (answer.startswith("HTTP/1.1 500") and "egress.internal-error" in answer)
        assert asked == []
        assert get(box, "a.example.com", site, by="proxy").endswith("origin")
        assert "a bug in the addon" in box.stderr and "Traceback" not in box.stderr


def test_a_reload_reaches_the_gate_and_health_asks_it(tmp_path: Path, site: int) -> None:
    with gated(tmp_path, site, HEADER) as box:
        checks = json.loads(box.check("--json").stdout)
        assert checks["healthy"] and any(check["name"].startswith("gate ") for check in checks["checks"]), checks
        box.write(policy(box, f"a.example.com:{site}", f"c.example.com:{box.outside.port}/tcp"))
        box.loads(2)
        name = f"c.example.com:{box.outside.port}"
        with box.connect("gate") as tunnel:
            tunnel.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
            assert tunnel.recv(65_536).startswith(b"HTTP/1.1 200")
            tunnel.sendall(b"ping")
            assert tunnel.recv(4) == b"ping"
            box.write(policy(box, f"b.example.com:{site}"))
            box.loads(3)
            assert ended(tunnel)
        assert get(box, "a.example.com", site).startswith("HTTP/1.1 403")
        assert get(box, "b.example.com", site).startswith("HTTP/1.1 200")
        assert box.end() == 0


@pytest.mark.parametrize(
    ("name", "text", "arguments", "words"),
    [
        ("a.py", HEADER, ("--no-frame", "--listen", "gate=127.0.0.1:0"), "needs the mitmproxy frame"),
        ("a.py", HEADER, ("--frame",), "--addon without a gate"),
        ("a.py", HEADER, ("--frame", "--listen", "gate=127.0.0.1"), "no port"),
        ("a.py", "x = 1\n", ("--frame", "--listen", "gate=127.0.0.1:0"), "defines no addons"),
        ("a.py", "def (\n", ("--frame", "--listen", "gate=127.0.0.1:0"), "failed to load: SyntaxError"),
        ("policy/a.py", HEADER, ("--frame", "--listen", "gate=127.0.0.1:0"), "in the folder of the policy"),
        (
            "a.py",
            "class A:\n    def running(self):\n        1 / 0\naddons = [A()]\n",
            ("--frame", "--listen", "gate=127.0.0.1:0"),
            "the addon A failed to start (running): ZeroDivisionError",
        ),
        (
            "a.py",
            "class kap_gate:\n    pass\naddons = [kap_gate()]\n",
            ("--frame", "--listen", "gate=127.0.0.1:0"),
            "already exists",
        ),
    ],
    ids=["no-frame", "no-gate", "no-port", "no-addons", "syntax", "project-file", "no-start", "kaps-name"],
)
def test_what_cannot_work_is_said_and_nothing_starts(
    tmp_path: Path, name: str, text: str, arguments: tuple[str, ...], words: str
) -> None:
    with sidecar(tmp_path) as box:
        box.write(box.text("a.example.com"))
        (tmp_path / name).write_text(text)
        assert box.launch(*arguments, "--addon", str(tmp_path / name)).wait(PATIENCE) in (1, 2, 69)
        assert words in box.stderr, box.stderr
        assert "fix:" in box.stderr and "Traceback" not in box.stderr
        assert not box.status().get("healthy")
