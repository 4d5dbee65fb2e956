"""A real sidecar process on loopback, what stands outside of it (a name server, a server that counts), and a client to drive it.

``a.example.com`` and every other name resolve to 127.0.0.2, where the outside server listens: an address of loopback that is not the
sidecar's own, granted as private by the policies here.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rrset

from rig.waiting import PATIENCE, eventually

OUTSIDE = "127.0.0.2"


class Resolver:
    """A name server on 127.0.0.1 that gives `OUTSIDE` for every A query; `asked` is what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                data, peer = self.sock.recvfrom(4096)
                query = dns.message.from_wire(data)
                question = query.question[0]
                self.asked.append(question.name.to_text(omit_final_dot=True))
                reply = dns.message.make_response(query)
                if question.rdtype == 1:
                    reply.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", OUTSIDE))
                self.sock.sendto(reply.to_wire(), peer)


class Outside:
    """A TCP server on `OUTSIDE` that echoes; `connections` and `received` count what reached it."""

    def __init__(self) -> None:
        self.connections = 0
        self.received = 0
        self.sock = socket.create_server((OUTSIDE, 0))
        self.port = self.sock.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self.sock.accept()
                self.connections += 1
                threading.Thread(target=self._echo, args=(sock,), daemon=True).start()

    def _echo(self, sock: socket.socket) -> None:
        with sock, suppress(OSError):
            while data := sock.recv(65_536):
                self.received += len(data)
                sock.sendall(data)


class Sidecar:
    """``kap sidecar-run`` as its own process, over the policy folder ``policy`` in `home`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.resolver = Resolver()
        self.outside = Outside()
        self.folder = home / "policy"
        self.folder.mkdir()
        self.policy = self.folder / "kap.toml"
        self.log = home / "log" / "events.jsonl"
        self.process: subprocess.Popen[bytes] | None = None

    def text(self, *allow: str, deny: tuple[str, ...] = (), more: str = "") -> str:
        """A kap.toml that allows these hosts on the outside server's port, whatever they speak."""
        rules = json.dumps([f"{host}:{self.outside.port}/tcp" for host in allow])
        return (
            f'[proxy]\ndns_upstream = "127.0.0.1:{self.resolver.port}"\n{more}'
            f'[proxy.network]\nallow = {rules}\ndeny = {json.dumps(deny)}\nprivate = ["{OUTSIDE}/32"]\n'
        )

    def write(self, text: str, path: Path | None = None) -> None:
        """Put `text` in the policy's place, atomically."""
        path = path or self.policy
        fresh = path.with_name(".new")
        fresh.write_text(text)
        fresh.replace(path)

    def start(self, *arguments: str, files: int = 4096) -> Sidecar:
        """Run it, by itself unless the arguments say ``--frame``, and wait until it says that it listens."""
        self.launch(*arguments, files=files)
        eventually(lambda: self.status().get("listeners"), "the sidecar listens")
        return self

    def launch(self, *arguments: str, files: int = 4096) -> subprocess.Popen[bytes]:
        """Run it."""
        argv = [
            sys.executable,
            "-m",
            "kap.cli.main",
            "sidecar-run",
            "--config",
            str(self.folder),
            "--log",
            str(self.log),
        ]
        for kind in ("proxy", "http", "tls", "dns"):
            argv += ["--listen", f"{kind}=127.0.0.1:0"]
        argv += ["--own-address", "127.0.0.1", "--global", str(self.global_path()), "--drain", "1"]
        argv += ["--no-frame", *arguments]
        self.process = subprocess.Popen(
            argv,
            stdout=subprocess.DEVNULL,
            stderr=(self.home / "stderr").open("wb"),
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
            env={**os.environ, "HOME": str(self.home)},
        )
        return self.process

    def global_path(self) -> Path:
        """The global policy; empty until a test writes one."""
        path = self.home / "global.toml"
        if not path.exists():
            path.write_text("# nothing\n")
        return path

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it and wait; the exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.resolver.sock.close()
        self.outside.sock.close()

    @property
    def stderr(self) -> str:
        """What it said so far."""
        return (self.home / "stderr").read_text()

    def status(self) -> dict[str, Any]:
        """``status.json``, {} before there is one."""
        try:
            return dict(json.loads(self.log.with_name("status.json").read_text()))
        except FileNotFoundError:
            return {}

    def loads(self, count: int) -> None:
        """Wait until policies were loaded `count` times."""
        eventually(lambda: self.status()["policy"]["loads"] >= count, f"{count} loads")

    def events(self, code: str = "") -> list[dict[str, Any]]:
        """The log so far, or the events of one code."""
        found = [json.loads(line) for line in self.log.read_bytes().splitlines()] if self.log.exists() else []
        return [event for event in found if not code or event["code"] == code]

    def port(self, kind: str) -> int:
        """Where a listener is."""
        return int(next(one["port"] for one in self.status()["listeners"] if one["kind"] == kind))

    def connect(self, kind: str = "proxy") -> socket.socket:
        """A client connection to a listener."""
        return socket.create_connection(("127.0.0.1", self.port(kind)), timeout=PATIENCE)

    def tunnel(self, host: str) -> tuple[socket.socket, int, str]:
        """CONNECT to `host` on the outside server's port: the socket, the status, the reason."""
        sock = self.connect()
        name = f"{host}:{self.outside.port}"
        sock.sendall(f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            part = sock.recv(1)
            if not part:
                break
            head += part
        words = head.decode().split("\r\n")
        reason = next((line.split(": ", 1)[1] for line in words if line.lower().startswith("x-kap-reason")), "")
        return sock, int(words[0].split()[1]), reason

    def verdict(self, host: str) -> tuple[int, str]:
        """Status and reason of a CONNECT to `host`."""
        sock, status, reason = self.tunnel(host)
        sock.close()
        return status, reason

    def ask(self, name: str, rdtype: str = "A", *, tcp: bool = False) -> dns.message.Message:
        """A DNS query by the sidecar's name server."""
        import dns.query

        query = dns.message.make_query(name, rdtype)
        send = dns.query.tcp if tcp else dns.query.udp
        return send(query, "127.0.0.1", timeout=PATIENCE, port=self.port("dns-tcp" if tcp else "dns"))

    def check(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """``kap sidecar-check``."""
        status = str(self.log.with_name("status.json"))
        argv = [sys.executable, "-m", "kap.cli.main", "sidecar-check", "--status", status, *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@contextmanager
def sidecar(home: Path) -> Iterator[Sidecar]:
    """A sidecar that is not running yet, and its surroundings."""
    made = Sidecar(home)
    try:
        yield made
    finally:
        made.close()
