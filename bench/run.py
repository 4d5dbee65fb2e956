"""kap beside its peers, in one run: ``python bench/run.py [--quick] [--json] [--write] [--only proxies,names,rules]``.

Builds its own load generator and origin, starts squid, tinyproxy and dnsmasq where they are installed, takes all of them in turn, and
prints medians and the ratios the project promised. Everything is on the loopback interface; what is measured has one core, what measures
it another. ``--write`` puts the result into docs/benchmarks.md. The exit code is 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import egress
import names
import report
from machine import HERE, LOAD_CORE, OtherWork, build, describe, find, version_of
from peers import Dnsmasq, Kap, Origin, proxies

PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two short rounds instead of five")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{PAGE.name}")
    parser.add_argument("--only", default="proxies,names,rules", help="parts to run, with commas")
    arguments = parser.parse_args()
    parts = set(arguments.only.split(","))
    plan = egress.Plan(arguments.quick)
    build()
    other_work = OtherWork()
    with tempfile.TemporaryDirectory(prefix="kap-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        proxy_samples, name_samples = measure_planes(folder, plan, parts)
    rules = measure_rules() if "rules" in parts else {}
    machine = [*describe(other_work.share()), *versions()]
    text = report.render(machine, proxy_samples, name_samples, rules, absent(parts))
    goals = report.goals(proxy_samples, name_samples, rules)
    if arguments.json:
        print(
            json.dumps({"proxies": proxy_samples, "names": name_samples, "rules": rules, "machine": machine}, indent=1)
        )
    else:
        print(text)
    if arguments.write:
        write(text)
    return 1 if any(goal.held is False for goal in goals) else 0


def measure_planes(folder: Path, plan: egress.Plan, parts: set[str]) -> tuple[report.Samples, report.Samples]:
    """What the proxies and the name servers did in every round."""
    origin = Origin(folder)
    upstream = Dnsmasq("upstream", folder, cores=LOAD_CORE) if find("dnsmasq") else None
    kap = Kap(folder, origin, upstream.port if upstream else 53)
    peers = proxies(folder, kap)
    found: egress.Samples = {}
    answered: egress.Samples = {}
    try:
        if "proxies" in parts:
            found = egress.measure(peers, origin, plan, say)
        if "names" in parts and upstream and not names.available():
            answered = names.measure(kap, upstream, folder, plan, say)
    finally:
        for peer in peers:
            peer.stop()
        if upstream:
            upstream.process.stop()
        origin.process.stop()
    return found, answered


def measure_rules() -> dict[str, Any]:
    """What one decision costs: bench/decide.py."""
    say("decisions")
    done = subprocess.run(
        [sys.executable, str(HERE / "decide.py"), "--json"], capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        say(done.stderr[-2000:])
        return {}
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def absent(parts: set[str]) -> list[str]:
    wanted = [("squid", "proxies"), ("tinyproxy", "proxies"), ("dnsmasq", "names"), ("dnsperf", "names")]
    return [program for program, part in wanted if part in parts and find(program) is None]


def versions() -> list[str]:
    """Versions of the peers that are there."""
    asked = (("squid", "--version"), ("tinyproxy", "-v"), ("dnsmasq", "--version"))
    found = [
        (program, re.search(r"\d+(?:\.\d+)+", version_of(program, argument)))
        for program, argument in asked
        if find(program)
    ]
    return [f"{program} {version[0]}" for program, version in found if version]


def write(text: str) -> None:
    """Replace what stands between the marks in the page."""
    page = PAGE.read_text()
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    if not rest or END not in rest:
        raise SystemExit(f"{PAGE} has no {BEGIN} ... {END}")
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    say(f"written to {PAGE}")


if __name__ == "__main__":
    sys.exit(main())
