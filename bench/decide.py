"""What one decision costs, and that it does not grow with the rules. Peers side by side: a linear fnmatch and one big regex.

Run: ``python bench/decide.py [--json]``. Half of the rules are exact hosts and half are wildcards; half of the requests are allowed.
Each number is the median of several rounds, in microseconds a call; every round measures every size, so that a busy machine slows them
alike. ``parse`` is text to target, of hosts not seen before.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import random
import re
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from kap.names import hosts
from kap.names.hosts import parse_authority
from kap.policy.compiler import Policy, compile_rules
from kap.policy.request import EgressRequest

SIZES = (100, 1_000, 10_000)
ROUNDS = 15
REQUESTS = 2_000
PEER_CALLS = 200  # the peers are slow: fewer calls, same mix

Row = dict[str, float]


def rules_of(size: int) -> list[str]:
    return [f"h{i}.example{i % 97}.com" if i % 2 else f"*.w{i}.example.org" for i in range(size)]


def authorities_of(size: int) -> list[str]:
    """Allowed and denied in turn, spread over the whole list of rules."""
    made: list[str] = []
    for i in range(REQUESTS // 2):
        k = i * max(1, 2 * size // REQUESTS) % size + i % 2
        made.append(f"h{k}.example{k % 97}.com:443" if k % 2 else f"api.v{i}.w{k}.example.org:443")
        made.append(f"h{k}.example{k % 97}.net:443")
    return made


class Setup:
    """One size: rules, the policy, the peers, and what is asked of them."""

    def __init__(self, size: int) -> None:
        self.size, rules = size, rules_of(size)
        start = time.perf_counter()
        self.policy: Policy = compile_rules(allow=rules)
        self.compile_ms = (time.perf_counter() - start) * 1e3
        self.authorities = authorities_of(size)
        self.requests = [EgressRequest(parse_authority(text)) for text in self.authorities]
        self.texts = random.Random(1).sample([text.partition(":")[0] for text in self.authorities], PEER_CALLS)
        self.rules = rules
        self.regex = re.compile("|".join(f"(?:{fnmatch.translate(rule)})" for rule in rules))
        allowed = sum(self.policy.decide(request).allowed for request in self.requests)
        assert 0.4 < allowed / len(self.requests) < 0.6, "both answers must be in the mix"

    def fnmatch(self, text: str) -> bool:
        """As it is often written: over the host only, without ports, layers or reasons."""
        return any(fnmatch.fnmatchcase(text, rule) for rule in self.rules)

    def measures(self) -> dict[str, Callable[[], float]]:
        """What is measured in every round, each after a pass that is not counted (or, for parsing, after emptying its cache)."""

        def decide() -> float:
            per_call(self.policy.decide, self.requests)
            return per_call(self.policy.decide, self.requests)

        def parse() -> float:
            hosts._parse_host.cache_clear()
            return per_call(parse_authority, self.authorities)

        return {
            "decide_us": decide,
            "parse_us": parse,
            "fnmatch_us": lambda: per_call(self.fnmatch, self.texts[:40]),
            "regex_us": lambda: per_call(self.regex.match, self.texts),
        }


def per_call(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    start = time.perf_counter()
    for item in items:
        call(item)
    return (time.perf_counter() - start) / len(items) * 1e6


def measure() -> list[Row]:
    setups = [Setup(size) for size in SIZES]
    rows: list[Row] = [{"rules": setup.size, "compile_ms": setup.compile_ms} for setup in setups]
    for name in setups[0].measures():
        calls = [setup.measures()[name] for setup in setups]
        rounds = [[call() for call in calls] for _ in range(ROUNDS)]
        for index, row in enumerate(rows):
            row[name] = statistics.median(one[index] for one in rounds)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of one decision at 100, 1,000 and 10,000 rules.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    rows = measure()
    ratio = rows[-1]["decide_us"] / rows[0]["decide_us"]
    if arguments.json:
        print(json.dumps({"rows": rows, "ratio_10000_to_100": ratio}))
        return
    print(f"{'rules':>7} {'decide':>10} {'parse':>10} {'fnmatch list':>14} {'one regex':>12} {'compile':>12}")
    for row in rows:
        print(
            f"{row['rules']:>7,} {row['decide_us']:>7.2f} us {row['parse_us']:>7.2f} us {row['fnmatch_us']:>11.1f} us"
            f" {row['regex_us']:>9.1f} us {row['compile_ms']:>9.1f} ms"
        )
    print(f"decide at 10,000 rules / at 100 rules: {ratio:.2f} (goal: at most 2; at most 3 us)")


if __name__ == "__main__":
    main()
