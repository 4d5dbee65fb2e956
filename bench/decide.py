"""What one decision costs, and that it does not grow with the rules. Peers side by side: a linear fnmatch and one big regex.

Run: ``python bench/decide.py [--json]``. Half of the rules are exact hosts and half are wildcards; half of the requests are allowed.
Each number is the median of several runs, in microseconds a decision; parsing (text to target, of
hosts not seen before) is shown apart.
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

from kap.names import hosts
from kap.names.hosts import parse_authority
from kap.policy.compiler import compile_rules
from kap.policy.request import EgressRequest

SIZES = (100, 1_000, 10_000)
RUNS = 7
REQUESTS = 2_000


def rules_of(size: int) -> list[str]:
    return [f"h{i}.example{i % 97}.com" if i % 2 else f"*.w{i}.example.org" for i in range(size)]


def authorities_of(size: int) -> list[str]:
    """Allowed exact, denied, allowed wildcard, denied: spread over the whole list."""
    step = max(1, size // REQUESTS)
    made: list[str] = []
    for i in range(0, REQUESTS * step, step):
        k = i % size
        made.append(f"h{k}.example{k % 97}.com:443" if k % 2 else f"api.v{i}.w{k}.example.org:443")
        made.append(f"h{k}.example{k % 97}.net:443")
    return made[:REQUESTS]


def per_call(
    call: Callable[[object], object], items: Sequence[object], before: Callable[[], None] | None = None
) -> float:
    """Median over the runs of the mean time of one call, in microseconds; `before` each run is not counted."""
    found = []
    for _ in range(RUNS):
        if before is not None:
            before()
        start = time.perf_counter()
        for item in items:
            call(item)
        found.append((time.perf_counter() - start) / len(items) * 1e6)
    return statistics.median(found)


def peers_of(rules: list[str]) -> tuple[Callable[[object], bool], Callable[[object], bool]]:
    """Matchers as they are often written: over the host text only, without ports, layers or reasons."""
    big = re.compile("|".join(f"(?:{fnmatch.translate(rule)})" for rule in rules))

    def linear(text: object) -> bool:
        return any(fnmatch.fnmatchcase(str(text), rule) for rule in rules)

    def regex(text: object) -> bool:
        return big.match(str(text)) is not None

    return linear, regex


def measure(size: int) -> dict[str, float]:
    rules = rules_of(size)
    start = time.perf_counter()
    policy = compile_rules(allow=rules)
    compiled = (time.perf_counter() - start) * 1e3
    authorities = authorities_of(size)
    requests = [EgressRequest(parse_authority(text)) for text in authorities]
    allowed = sum(policy.decide(request).allowed for request in requests)
    assert 0 < allowed < len(requests), "both answers must be in the mix"
    linear, regex = peers_of(rules)
    texts = [text.partition(":")[0] for text in authorities]
    few = random.Random(1).sample(texts, 200)  # the peers are slow: fewer calls, same mix
    return {
        "rules": size,
        "decide_us": per_call(policy.decide, requests),  # type: ignore[arg-type]
        "parse_us": per_call(parse_authority, authorities, hosts._parse_host.cache_clear),  # type: ignore[arg-type]
        "fnmatch_us": per_call(linear, few),
        "regex_us": per_call(regex, few),
        "compile_ms": compiled,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Cost of one decision at 100, 1,000 and 10,000 rules.")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    arguments = parser.parse_args()
    rows = [measure(size) for size in SIZES]
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
