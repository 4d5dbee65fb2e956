"""Near misses: why a rule that looks as if it allowed a host does not. Pure; run only where a person looks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from kap.config import presets
from kap.config.effective import Config
from kap.names.hosts import Host, Target
from kap.names.patterns import BadPattern, Pattern, parse_pattern

_CLOSE = 0.8  # difflib ratio from which two names are likely the same name mistyped
_MOST = 4
_MOST_LENGTH = 3  # by how many characters a mistyped name may differ in length
_MOST_COMPARED = 1_000


def allow_patterns(config: Config) -> Iterator[Pattern]:
    """The allow rules of every layer, parsed; a text that is no pattern is left out (it allows nothing)."""
    for rule in config.rules:
        if rule.effect == "allow":
            try:
                yield parse_pattern(rule.text)
            except BadPattern:
                continue


def near_misses(target: Target, config: Config) -> tuple[str, ...]:
    """Sentences about allow rules that nearly include `target`, at most four, the nearest kind first."""
    patterns = list(allow_patterns(config))
    found = [*_ports(target, patterns), *_shapes(target.host, patterns)]
    if not found and not target.host.is_ip:
        found = [*_telemetry(target.host), *_typos(target.host, patterns)]
    return tuple(dict.fromkeys(found))[:_MOST]


def _ports(target: Target, patterns: list[Pattern]) -> Iterator[str]:
    for pattern in patterns:
        if pattern.matches_host(target.host):
            ports = [port for port, _ in pattern.ports()]
            if target.port not in ports:
                listed = " and ".join(str(port) for port in ports)
                yield f'"{pattern.text}" lists port{"s" if len(ports) > 1 else ""} {listed} only, not {target.port}'


def _shapes(host: Host, patterns: list[Pattern]) -> Iterator[str]:
    for pattern in patterns:
        if host.is_ip:
            if pattern.kind == "any":
                yield f'"{pattern.text}" includes names only, never an IP address'
        elif pattern.kind == "suffix" and pattern.host == host.text:
            yield f'"{pattern.text}" does not include {host.text} itself'
        elif pattern.kind == "host" and host.text.endswith("." + pattern.host):
            yield f'"{pattern.text}" does not include names below it; "*.{pattern.host}" would'
        elif pattern.kind == "host" and pattern.host == f"www.{host.text}":
            yield f'"{pattern.text}" is another host than {host.text}'
        elif pattern.kind in ("host", "suffix") and host.text.startswith(pattern.host + "."):
            yield f"{host.text} begins like {pattern.host}, but belongs to another domain"
        elif pattern.kind == "any" and not pattern.matches_host(host):
            yield f'"{pattern.text}" includes public names only; {host.text} is a local one and must be written out'


def _telemetry(host: Host) -> Iterator[str]:
    for name, preset in presets.catalogue().items():
        if any(parse_pattern(text).matches_host(host) for text in preset.telemetry):
            yield f"{host.text} takes telemetry of {name}; what the agent does works without it"
            return


def _typos(host: Host, patterns: list[Pattern]) -> Iterator[str]:
    names = list(dict.fromkeys(pattern.host for pattern in patterns if pattern.kind in ("host", "suffix")))
    parent = host.text.partition(".")[2]
    for close in _close(host.text, names):
        yield f"did you mean {close}? A rule names that one"
        return
    if "." in parent:
        for close in _close(parent, names):
            yield f"did you mean a host of {close}? A rule names that one"


def _close(name: str, names: list[str]) -> list[str]:
    """The one name most like `name`; bounded, since the comparison is slow and a log may ask for it a thousand times."""
    alike = [other for other in names if abs(len(other) - len(name)) <= _MOST_LENGTH]
    return difflib.get_close_matches(name, alike[:_MOST_COMPARED], n=1, cutoff=_CLOSE)
