"""Processes of the benchmark: built, started on a core of their own, measured through /proc, ended by their own pid."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE / "out"
HOST = "origin.bench.example"
DEADLINE = 60.0

_cores = sorted(os.sched_getaffinity(0))
PROXY_CORE = {_cores[0]}
LOAD_CORE = {_cores[-1]}
"""Whatever is measured runs on the first core, whatever measures it (and the origin) on the last."""


class Process:
    """One started program with everything it writes in a file. Its children count with it."""

    def __init__(
        self, name: str, argv: Sequence[str], cores: set[int], *, log: Path, environment: dict[str, str] | None = None
    ):
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **(environment or {})},
                preexec_fn=lambda: settle(cores),
            )

    def wait_for(self, *ports: int) -> None:
        """Until every TCP port of it takes connections; ends the benchmark with what it wrote where that does not happen."""
        end = time.monotonic() + DEADLINE
        for port in ports:
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    if time.monotonic() > end or self._process.poll() is not None:
                        raise SystemExit(
                            f"{self.name} does not listen on {port}:\n{self.log.read_text()[-2000:]}"
                        ) from None
                    time.sleep(0.02)

    def stop(self) -> None:
        """End it, and what it started."""
        family = self._family()
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(5)
        for pid in family[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def cpu_seconds(self) -> float:
        """User and system time so far, with the children that live."""
        total = 0.0
        for pid in self._family():
            try:
                ticks = sum(
                    int(field) for field in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
                )
                precise = sum(
                    int(task.read_text().split()[0]) for task in Path(f"/proc/{pid}/task").glob("*/schedstat")
                )
            except (OSError, IndexError):
                continue
            # schedstat is exact but forgets threads that have ended; stat keeps them, in ticks.
            total += max(precise / 1e9, ticks / os.sysconf("SC_CLK_TCK"))
        return total

    def resident_kib(self) -> int:
        """Resident memory of it and its children."""
        total = 0
        for pid in self._family():
            try:
                status = Path(f"/proc/{pid}/status").read_text()
                total += int(status.split("VmRSS:")[1].split()[0])
            except (OSError, IndexError):
                continue
        return total

    def _family(self) -> list[int]:
        family = [self._process.pid]
        for pid in family:
            try:
                family += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            except OSError:
                continue
        return family


def settle(cores: set[int]) -> None:
    """In a child before it becomes another program: these cores, and as many files as it may have."""
    os.sched_setaffinity(0, cores)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))


def run_load(*arguments: object, seconds: float = DEADLINE) -> dict[str, Any]:
    """Run the load generator to its end; its JSON object, {} where it failed."""
    try:
        done = subprocess.run(
            [str(OUT / "load"), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=seconds,
            preexec_fn=lambda: settle(LOAD_CORE),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {}
    return json.loads(done.stdout) if done.returncode == 0 and done.stdout else {}


def hold_tunnels(*arguments: object) -> subprocess.Popen[str]:
    """Start the load generator's ``idle`` mode and wait until its tunnels are open; ends when its standard input is closed."""
    holder = subprocess.Popen(
        [str(OUT / "load"), "idle", *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: settle(LOAD_CORE),
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    return holder


def build() -> None:
    """Compile the load generator and the origin, and write a real ClientHello for `HOST`."""
    OUT.mkdir(exist_ok=True)
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit("the benchmark builds its load generator from C: install gcc (apt-get install gcc libc6-dev)")
    for name in ("load", "origin"):
        source = HERE / "load" / f"{name}.c"
        subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(OUT / name), str(source)], check=True)
    (OUT / "hello.bin").write_bytes(client_hello())


def client_hello() -> bytes:
    """What this Python's TLS library sends first to `HOST`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname=HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()


def free_port() -> int:
    """A port that nobody uses, TCP or UDP, below those the kernel gives to outgoing connections: a peer is stopped and started again,
    and by then one of the load's own connections could have its port."""
    lowest_given = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(1000):
        port = random.randrange(min(10_000, lowest_given - 2000), lowest_given)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise SystemExit("no free port")


def find(program: str) -> str | None:
    """The path of a program; daemons lie in directories that a user's PATH may lack."""
    return shutil.which(program) or shutil.which(program, path="/usr/sbin:/usr/local/sbin:/sbin")


class OtherWork:
    """How much of the machine was taken by programs that are not the benchmark's, from now until `share` is asked."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy, self._ours = _busy_seconds(), _our_seconds()

    def share(self) -> float:
        """0 to 1, of all cores. To be asked when every process of the benchmark has ended: only then is their time known."""
        others = (_busy_seconds() - self._busy) - (_our_seconds() - self._ours)
        return max(0.0, others / ((time.monotonic() - self._began) * (os.cpu_count() or 1)))


def _busy_seconds() -> float:
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _, _, hard, soft, stolen = fields
    return (user + nice + system + hard + soft + stolen) / os.sysconf("SC_CLK_TCK")


def _our_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def describe(other_work: float) -> list[str]:
    """The machine in general words, for the report: nothing that names it. `other_work`: what `OtherWork.share` says."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        "unknown CPU",
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    kernel = ".".join(platform.release().split(".")[:2])
    return [
        f"{len(_cores)} cores ({model}), {memory / 1024**2:.0f} GiB, Linux {kernel}, Python {platform.python_version()}",
        f"other programs took {other_work:.0%} of the machine meanwhile",
    ]


def version_of(program: str, argument: str) -> str:
    """The first line a program says about its version."""
    path = find(program)
    if path is None:
        return "absent"
    done = subprocess.run([path, argument], capture_output=True, text=True, timeout=20, check=False)
    return (done.stdout or done.stderr).strip().splitlines()[0]


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
