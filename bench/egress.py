"""The proxies: new tunnels, bulk through one tunnel, plain HTTP, and what an idle tunnel costs in memory."""

from __future__ import annotations

import time
from collections.abc import Callable

from machine import OUT, hold_tunnels, run_load
from peers import Origin, Peer
from report import Samples

HELLO = OUT / "hello.bin"
CONCURRENCY = 16
DIRECT = "no proxy"


class Plan:
    """How much is measured. `mib`: of one bulk transfer; `idle`: tunnels held."""

    def __init__(self, quick: bool) -> None:
        self.rounds = 2 if quick else 5
        self.seconds = 0.7 if quick else 1.5
        self.mib = 128 if quick else 512
        self.idle = 500 if quick else 2000


def measure(peers: list[Peer], origin: Origin, plan: Plan, say: Callable[[str], None]) -> Samples:
    """Every measure of every peer, interleaved: in each round all peers take their turn, in another order each time."""
    samples: Samples = {}
    for peer in peers:
        peer.start()
        run_load("tunnels", peer.port, peer.host, origin.tls, HELLO, 4, 0.3)
        run_load("http", peer.port, peer.host, origin.http, "-", 4, 0.3)
    for number in range(plan.rounds):
        say(f"proxies, round {number + 1} of {plan.rounds}")
        turn = number % len(peers)
        order: list[Peer | None] = [None, *peers[turn:], *peers[:turn]]
        for kind in (tunnels, http, bulk):
            for peer in order:
                for name, value in kind(peer, origin, plan).items():
                    samples.setdefault(peer.name if peer else DIRECT, {}).setdefault(name, []).append(value)
    for peer in peers:
        peer.stop()
    for peer in peers:
        say(f"idle tunnels: {peer.name}")
        for name, value in idle(peer, origin, plan).items():
            samples[peer.name].setdefault(name, []).append(value)
    return samples


def tunnels(peer: Peer | None, origin: Origin, plan: Plan) -> dict[str, float]:
    """Tunnels a second: connect, CONNECT, a real ClientHello, 1500 octets back, close; `CONCURRENCY` at a time."""
    before = _cpu(peer)
    got = run_load("tunnels", *_way(peer), origin.tls, HELLO, CONCURRENCY, plan.seconds)
    return _rates(got, "tunnels", _cpu(peer) - before)


def http(peer: Peer | None, origin: Origin, plan: Plan) -> dict[str, float]:
    """Plain GETs of 1 KiB a second, on `CONCURRENCY` connections that stay open."""
    before = _cpu(peer)
    got = run_load("http", *_way(peer), origin.http, "-", CONCURRENCY, plan.seconds)
    return _rates(got, "http", _cpu(peer) - before)


def bulk(peer: Peer | None, origin: Origin, plan: Plan) -> dict[str, float]:
    """Gbit/s through one tunnel, each way."""
    out: dict[str, float] = {}
    before = _cpu(peer)
    for way in ("down", "up"):
        got = run_load(way, *_way(peer), origin.tls, HELLO, plan.mib)
        if got:
            out[f"{way}_gbit"] = got["bytes"] * 8 / got["seconds"] / 1e9
    if peer and len(out) == 2:
        out["cpu_ms_per_gib"] = (_cpu(peer) - before) * 1e3 / (2 * plan.mib / 1024)
    return out


def idle(peer: Peer, origin: Origin, plan: Plan) -> dict[str, float]:
    """Resident KiB of the process without and with idle tunnels, in a process of its own: no earlier load has stretched its heap."""
    peer.start()
    assert peer.process is not None
    run_load("tunnels", peer.port, peer.host, origin.tls, HELLO, 4, 0.3)
    time.sleep(0.3)
    before = peer.process.resident_kib()
    holder = hold_tunnels(peer.port, peer.host, origin.tls, HELLO, plan.idle)
    time.sleep(0.7)
    held = peer.process.resident_kib()
    alive = holder.poll() is None
    holder.communicate()
    peer.stop()
    out = {"resident_mib": before / 1024}
    if alive:
        out["kib_per_tunnel"] = max(0.0, held - before) / plan.idle
    return out


def _way(peer: Peer | None) -> tuple[int, str]:
    return (peer.port, peer.host) if peer else (0, "origin")


def _cpu(peer: Peer | None) -> float:
    return peer.process.cpu_seconds() if peer and peer.process else 0.0


def _rates(got: dict[str, float], name: str, cpu: float) -> dict[str, float]:
    if not got or not got["count"]:
        return {f"{name}_failed": 1.0}
    out = {
        f"{name}_per_s": got["count"] / got["seconds"],
        f"{name}_p50_us": got["p50_us"],
        f"{name}_p99_us": got["p99_us"],
    }
    out[f"{name}_failed"] = got["failed"]
    if cpu:
        out[f"{name}_cpu_us"] = cpu * 1e6 / got["count"]
    return out
