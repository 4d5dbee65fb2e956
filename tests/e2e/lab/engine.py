"""A Docker engine of the tests' own, with a fake internet behind it, in two network namespaces.

Nothing of the machine's is used or touched but its kernel: no engine that runs here, no route, no iptables rule, no resolver.
What is started is ended by its pid; namespaces, mounts and the engine's data go with it, also those of a run that was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

REPO = Path(__file__).resolve().parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kap-test"
PREFIX = "kap-e2e-"
DATA = Path("/var/lib")
RUN = Path("/run")

HOST_ADDRESS = "93.184.216.1"  # the engine's host, as the internet sees it
INTERNET_ADDRESS = "93.184.216.2"
HOST_SERVICE_PORT = 8099  # something that listens on every address of the engine's host
RESOLVER = "127.0.0.53"


class Unavailable(Exception):
    """This machine cannot give the lab; the text says why."""


def run(
    *argv: str | Path, check: bool = True, timeout: float = 120, **options: object
) -> subprocess.CompletedProcess[str]:
    """Runs a program; on failure raises with everything it printed, so that a red test says why."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout, **options)  # type: ignore[call-overload]
    if check and done.returncode:
        raise AssertionError(f"{argv} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-6000:]}")
    return done


def sweep() -> None:
    """Removes what runs that were killed have left: their pid is in the name, and it is gone."""
    listed = run("ip", "-j", "netns", "list", check=False).stdout
    for entry in json.loads(listed or "[]"):
        name = entry["name"]
        pid = name.removeprefix(PREFIX).split("-")[0]
        if name.startswith(PREFIX) and pid.isdigit() and not Path(f"/proc/{pid}").exists():
            for line in run("ip", "netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line), signal.SIGKILL)
            run("ip", "netns", "del", name, check=False)
            _remove_data(PREFIX + pid)


def _remove_data(name: str) -> None:
    for place in (str(DATA / name), str(RUN / name)):
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted((m for m in mounts if m == place or m.startswith(place + "/")), reverse=True):
            run("umount", "-l", mount, check=False)
        shutil.rmtree(place, ignore_errors=True)


class Lab:
    """`with Lab(directory) as lab:` a running engine; `lab.env` is the environment its clients need."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.name = f"{PREFIX}{os.getpid()}"
        self.internet = f"{self.name}-net"
        self.socket = directory / "docker.sock"
        self.processes: list[tuple[str, subprocess.Popen[bytes]]] = []
        self.env: dict[str, str] = {}
        self._logs: list[IO[bytes]] = []

    def __enter__(self) -> Lab:
        if os.geteuid() != 0:
            raise Unavailable("root is needed for network namespaces and an engine of the tests' own")
        prepared = subprocess.run([REPO / "scripts" / "engine.sh"], capture_output=True, text=True, timeout=400)
        if prepared.returncode:
            raise Unavailable(f"no Docker engine: {prepared.stderr.strip().splitlines()[:1]}")
        programs = prepared.stdout.split()[-1]
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.upper().endswith("_PROXY") and not k.startswith("DOCKER_")},
            "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "DOCKER_HOST": f"unix://{self.socket}",
            "HOME": str(self.directory / "home"),
            "DOCKER_CONFIG": str(self._docker_config(programs)),
        }
        sweep()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _docker_config(self, programs: str) -> Path:
        config = self.directory / "docker-config"
        plugins = Path(programs.split(":")[0]).parents[2] / "config" / "cli-plugins"
        config.mkdir(parents=True)
        (self.directory / "home").mkdir()
        if plugins.is_dir():
            (config / "cli-plugins").symlink_to(plugins)
        return config

    def _start(self) -> None:
        self._namespaces()
        self._certificate()
        server = Path(__file__).with_name("internet.py")
        inside = ["ip", "netns", "exec"]
        self.spawn("internet", [*inside, self.internet, sys.executable, str(server), str(self.cert), str(self.key)])
        self.spawn("resolver", [*inside, self.name, sys.executable, str(server), "--resolver", RESOLVER])
        self.spawn("host-service", [*inside, self.name, sys.executable, "-m", "http.server", str(HOST_SERVICE_PORT)])
        for name in ("internet", "resolver"):
            self.wait_for(lambda name=name: "ready" in self.log(name), f"the {name} to start")  # type: ignore[misc]
        self._engine()

    def _namespaces(self) -> None:
        for name in (self.name, self.internet):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", self.name, "link", "add", "up0", "type", "veth", "peer", "name", "up1", "netns", self.internet)
        for name, device, address in ((self.name, "up0", HOST_ADDRESS), (self.internet, "up1", INTERNET_ADDRESS)):
            run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", device)
            run("ip", "-n", name, "link", "set", device, "up")
        run("ip", "-n", self.name, "route", "add", "default", "via", INTERNET_ADDRESS)
        # Every address is this machine's: whatever escapes is answered and written down.
        run("ip", "-n", self.internet, "route", "add", "local", "0.0.0.0/0", "dev", "lo")

    def _certificate(self) -> None:
        self.cert, self.key = self.directory / "cert.pem", self.directory / "key.pem"
        names = "subjectAltName=DNS:example.com,DNS:*.example.com,DNS:*.example.net,DNS:*.example.org"
        options = [
            "-subj",
            "/CN=fake internet",
            "-addext",
            names,
            "-days",
            "30",
            "-keyout",
            self.key,
            "-out",
            self.cert,
        ]
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *options)

    def _engine(self) -> None:
        resolv = self.directory / "resolv.conf"
        resolv.write_text(f"nameserver {RESOLVER}\n")
        # Not `ip netns exec`: it mounts /sys anew, and the engine loses its cgroups.
        engine = (
            f"mount --bind {resolv} /etc/resolv.conf && exec dockerd --data-root {DATA / self.name} --exec-root {RUN / self.name} "
            f"--pidfile {self.directory}/dockerd.pid -H unix://{self.socket} --log-level warn"
        )
        self.spawn("dockerd", ["nsenter", f"--net=/run/netns/{self.name}", "unshare", "-m", "sh", "-c", engine])
        self.wait_for(lambda: self.docker("version", check=False).returncode == 0, "the engine to answer", timeout=60)

    def spawn(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        log = (self.directory / f"{name}.log").open("wb")
        process = subprocess.Popen(
            argv, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=self.env, cwd=self.directory
        )
        self._logs.append(log)
        self.processes.append((name, process))
        return process

    def wait_for(self, ready: object, what: str, timeout: float = 30) -> None:
        """Polls until `ready()`; fails with the logs when that takes too long or a part has died."""
        deadline = time.monotonic() + timeout
        while not ready():  # type: ignore[operator]
            dead = [name for name, process in self.processes if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                raise AssertionError(
                    f"waited for {what}; ended: {dead}\n"
                    + "\n".join(f"{n}: {self.log(n)[-2000:]}" for n in dead or ["dockerd"])
                )
            time.sleep(0.1)

    def log(self, name: str) -> str:
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def seen(self, what: str = "", resolver: bool = False) -> list[dict[str, str]]:
        """What the fake internet (or the host's resolver) has seen so far, oldest first."""
        lines = self.log("resolver" if resolver else "internet").splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if not what or event["what"] == what]

    def docker(
        self, *arguments: str | Path, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        return run("docker", *arguments, check=check, timeout=timeout, env=self.env)

    @contextlib.contextmanager
    def on_host(self, argv: list[str], name: str) -> Iterator[subprocess.Popen[bytes]]:
        """A further process on the engine's host (a registry, say), ended when the block ends."""
        process = self.spawn(name, ["ip", "netns", "exec", self.name, *argv])
        try:
            yield process
        finally:
            self.processes.remove((name, process))
            _end(process)

    def close(self) -> None:
        if self.socket.exists():
            ids = self.docker("ps", "-aq", check=False).stdout.split()
            if ids:
                self.docker("rm", "-f", "-v", *ids, check=False)
        for _, process in reversed(self.processes):
            _end(process)
        for log in self._logs:
            log.close()
        for name in (self.name, self.internet):
            for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name, check=False)
        _remove_data(self.name)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(5)
