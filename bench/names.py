"""The name servers: local answers and forwarding, by dnsperf, kap beside dnsmasq."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from egress import Plan
from machine import LOAD_CORE, Process, find, settle
from peers import Dnsmasq, Kap
from report import Samples

NAMES = 1000
FRESH = 400_000


def measure(kap: Kap, upstream: Dnsmasq, folder: Path, plan: Plan, say: Callable[[str], None]) -> Samples:
    """Queries a second of every server, interleaved; ``udp``, ``tcp``, and ``new``: UDP with a name that was never asked before."""
    repeated, fresh = folder / "repeated.txt", folder / "fresh.txt"
    repeated.write_text("".join(f"h{n}.names.bench.example A\n" for n in range(NAMES)))
    fresh.write_text("".join(f"f{n}.names.bench.example A\n" for n in range(FRESH)))
    kap.start()
    assert kap.process is not None
    kap.process.wait_for(kap.dns_self, kap.dns_forward)
    peers = [
        Dnsmasq("dnsmasq local (no log)", folder),
        Dnsmasq("dnsmasq local (log)", folder, log=True),
        Dnsmasq("dnsmasq forward (no log)", folder, upstream=upstream.port),
        Dnsmasq("dnsmasq forward (log)", folder, upstream=upstream.port, log=True),
    ]
    servers: list[tuple[str, int, Process]] = [
        ("kap local (log)", kap.dns_self, kap.process),
        *((peer.name, peer.port, peer.process) for peer in peers),
        ("kap forward (log)", kap.dns_forward, kap.process),
    ]
    servers.sort(key=lambda server: "forward" in server[0])
    samples: Samples = {}
    try:
        for number in range(plan.rounds):
            say(f"name servers, round {number + 1} of {plan.rounds}")
            turn = number % len(servers)
            for kind, queries, mode in (("udp", repeated, "udp"), ("tcp", repeated, "tcp"), ("new", fresh, "udp")):
                for name, port, process in servers[turn:] + servers[:turn]:
                    for measure_name, value in _ask(port, queries, mode, plan.seconds, process).items():
                        samples.setdefault(name, {}).setdefault(f"{kind}_{measure_name}", []).append(value)
    finally:
        for peer in peers:
            peer.process.stop()
        kap.stop()
    return samples


def available() -> str:
    """ "" where both dnsperf and dnsmasq are there; else what is absent."""
    return ", ".join(program for program in ("dnsmasq", "dnsperf") if find(program) is None)


def _ask(port: int, queries: Path, mode: str, seconds: float, process: Process) -> dict[str, float]:
    before = process.cpu_seconds()
    command = [find("dnsperf") or "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-m", mode]
    command += ["-l", str(seconds), "-c", "8", "-q", "64", "-T", "1", "-t", "2"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: settle(LOAD_CORE),
        env={**os.environ},
    )
    rate = re.search(r"Queries per second:\s+([\d.]+)", done.stdout)
    count = re.search(r"Queries completed:\s+(\d+)", done.stdout)
    lost = re.search(r"Queries lost:\s+(\d+)", done.stdout)
    if not rate or not count or not int(count[1]):
        return {}
    out = {"per_s": float(rate[1]), "lost": float(lost[1]) if lost else 0.0}
    out["cpu_us"] = (process.cpu_seconds() - before) * 1e6 / int(count[1])
    return out
