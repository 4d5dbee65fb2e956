"""What was measured, as tables for people: on the terminal and in docs/benchmarks.md."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Sequence
from typing import Any

Samples = dict[str, dict[str, list[float]]]
"""Peer, measure, one value for each round."""
Medians = dict[str, dict[str, float]]

PROXY_COLUMNS = (
    ("tunnels_per_s", "new tunnels/s", "{:,.0f}"),
    ("tunnels_p50_us", "p50 µs", "{:,.0f}"),
    ("tunnels_p99_us", "p99 µs", "{:,.0f}"),
    ("tunnels_cpu_us", "CPU µs/tunnel", "{:,.0f}"),
    ("down_gbit", "down Gbit/s", "{:.1f}"),
    ("up_gbit", "up Gbit/s", "{:.1f}"),
    ("cpu_ms_per_gib", "CPU ms/GiB", "{:,.0f}"),
    ("http_per_s", "HTTP req/s", "{:,.0f}"),
    ("http_cpu_us", "CPU µs/req", "{:,.0f}"),
    ("kib_per_tunnel", "KiB/idle tunnel", "{:.1f}"),
    ("resident_mib", "idle MiB", "{:,.0f}"),
)
DNS_COLUMNS = (
    ("udp_per_s", "UDP q/s", "{:,.0f}"),
    ("udp_cpu_us", "CPU µs/q", "{:.1f}"),
    ("new_per_s", "UDP q/s, every name new", "{:,.0f}"),
    ("new_cpu_us", "CPU µs/q", "{:.1f}"),
    ("tcp_per_s", "TCP q/s", "{:,.0f}"),
    ("udp_lost", "lost", "{:,.0f}"),
)
KAP = "kap (log)"
GOALS = (
    ("new tunnels", "tunnels_per_s", "tunnels_cpu_us", 0.9),
    ("bulk down", "down_gbit", "cpu_ms_per_gib", 1.5),
    ("bulk up", "up_gbit", "cpu_ms_per_gib", 1.5),
    ("plain HTTP", "http_per_s", "http_cpu_us", 2.0),
)


class Goal:
    """One thing the project promised: what this run says by the clock, and by CPU time where both sides have it (steadier on a machine
    that does other work too). `held`: whether the run kept it, by the clock."""

    def __init__(
        self, what: str, value: float | None, wanted: str, held: bool | None, by_cpu: float | None = None
    ) -> None:
        self.what, self.value, self.wanted, self.held, self.by_cpu = what, value, wanted, held, by_cpu

    def row(self) -> list[str]:
        value = "absent" if self.value is None else f"{self.value:.2f}"
        by_cpu = "-" if self.by_cpu is None else f"{self.by_cpu:.2f}"
        return [self.what, value, by_cpu, self.wanted, {True: "yes", False: "NO", None: "-"}[self.held]]


def goals(proxies: Samples, names: Samples, rules: dict[str, Any]) -> list[Goal]:
    """The promises of the project against this run."""
    out = []
    for what, measure, cost, least in GOALS if proxies else ():
        for peer in ("squid (log)", "squid (no log)"):
            ratio, by_cpu = _ratio(proxies, KAP, peer, measure), _ratio(proxies, peer, KAP, cost)
            out.append(_at_least(f"{what}, to {peer}", ratio, by_cpu, least))
    if proxies:
        memory = medians(proxies).get(KAP, {}).get("kib_per_tunnel")
        out.append(Goal("resident KiB per idle tunnel", memory, "<= 8", None if memory is None else memory <= 8))
    for mode, least in (("forward", 0.9), ("local", 0.5)) if names else ():
        for log in ("log", "no log"):
            ours, theirs = f"kap {mode} (log)", f"dnsmasq {mode} ({log})"
            ratio, by_cpu = _ratio(names, ours, theirs, "udp_per_s"), _ratio(names, theirs, ours, "udp_cpu_us")
            out.append(_at_least(f"DNS {mode}, to dnsmasq ({log})", ratio, by_cpu, least))
    if rules:
        largest = rules["rows"][-1]
        out.append(Goal("decide() at 10,000 rules, µs", largest["decide_us"], "< 3", largest["decide_us"] < 3))
        ratio = rules["ratio_10000_to_100"]
        out.append(Goal("decide() at 10,000 rules, to 100 rules", ratio, "<= 2", ratio <= 2))
    return out


def medians(samples: Samples) -> Medians:
    """The median of every measure."""
    return {
        peer: {name: statistics.median(values) for name, values in found.items()} for peer, found in samples.items()
    }


def table(first: str, columns: Sequence[tuple[str, str, str]], rows: Medians) -> list[str]:
    """A Markdown table of medians."""
    body = [
        [name, *(form.format(found[key]) if key in found else "-" for key, _, form in columns)]
        for name, found in rows.items()
    ]
    return grid([first, *(title for _, title, _ in columns)], body)


def grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its columns aligned."""
    widths = [max(len(row[column]) for row in [head, *body]) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [head, *body]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return lines


def render(machine: list[str], proxies: Samples, names: Samples, rules: dict[str, Any], absent: list[str]) -> str:
    """The whole report in Markdown."""
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines = [f"Measured on {day}: {'; '.join(machine)}.", ""]
    if absent:
        lines += [f"Absent on this machine, so not measured: {', '.join(absent)}.", ""]
    rows = [goal.row() for goal in goals(proxies, names, rules)]
    lines += ["### Promises", "", *grid(["kap", "this run", "by CPU time", "promised", "kept"], rows), ""]
    if proxies:
        lines += ["### Proxies", "", *table("proxy", PROXY_COLUMNS, medians(proxies)), ""]
    if names:
        lines += ["### Name servers", "", *table("server", DNS_COLUMNS, medians(names)), ""]
    if rules:
        keys = [key for key in rules["rows"][0] if key != "rules"]
        body = [[f"{row['rules']:,.0f}", *(f"{row[key]:,.2f}" for key in keys)] for row in rules["rows"]]
        lines += ["### Decisions", "", *grid(["rules", *keys], body), ""]
    return "\n".join(lines)


def _ratio(samples: Samples, above: str, below: str, measure: str) -> float | None:
    """The median over the rounds of one peer's value to the other's in the same round: what slows a whole round cancels out."""
    pairs = zip(samples.get(above, {}).get(measure, []), samples.get(below, {}).get(measure, []), strict=False)
    ratios = [upper / lower for upper, lower in pairs if lower]
    return statistics.median(ratios) if ratios else None


def _at_least(what: str, ratio: float | None, by_cpu: float | None, least: float) -> Goal:
    return Goal(what, ratio, f">= {least}", None if ratio is None else ratio >= least, by_cpu)
