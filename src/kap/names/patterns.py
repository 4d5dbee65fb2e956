"""Host patterns of rules: one parser, and for everything it refuses a sentence and, where one is clear, what to write instead.

Grammar: ``(name | "*." name | "*" | address | cidr) [":" port ["/" wire]]``; IPv6 takes brackets where a port follows.
``*.example.com`` is every name below ``example.com`` at any depth, and not ``example.com`` itself. ``*`` is every public name
(and where it denies, everything: the compiler sees to that).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from kap.names import addresses
from kap.names.hosts import Host, Target, is_loopback_name, parse_host, parse_port
from kap.names.literals import BadTarget, IPNetwork

PatternKind = Literal["host", "suffix", "any", "network"]
PatternWire = Literal["tls", "http", "ssh", "tcp", "auto"]

_WIRES: tuple[str, ...] = get_args(PatternWire)
_DEFAULT_WIRES: dict[int, PatternWire] = {22: "ssh", 80: "http", 443: "tls"}
_DEFAULT_PORTS = (80, 443)
# Suffixes that are never on the public internet: "*" does not include them (RFC 6761, 6762, 7686, 8375, 9476; ICANN .internal).
_LOCAL_SUFFIXES = frozenset(
    (
        "localhost",
        "local",
        "internal",
        "localdomain",
        "lan",
        "home",
        "corp",
        "intranet",
        "private",
        "svc",
        "onion",
        "invalid",
        "alt",
    )
)


class BadPattern(ValueError):
    """The text is not a pattern. `message`: why, for a person. `suggestion`: a valid pattern to write instead, or ""."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.suggestion = suggestion


class Pattern(msgspec.Struct, frozen=True):
    """One parsed pattern. `text` is canonical. `host`: the name ("" for ``*`` and networks; of ``*.x`` it is ``x``).

    `port` is None where none is written (then 80 and 443 are meant). `wire` is "" where the port's default is meant.
    """

    text: str
    kind: PatternKind
    host: str = ""
    network: IPNetwork | None = None
    port: int | None = None
    wire: PatternWire | Literal[""] = ""

    def ports(self) -> tuple[tuple[int, PatternWire], ...]:
        """Every port the pattern lists, with what may be spoken there."""
        if self.port is None:
            return tuple((port, _DEFAULT_WIRES[port]) for port in _DEFAULT_PORTS)
        return ((self.port, self.wire or _DEFAULT_WIRES.get(self.port, "auto")),)

    def matches_host(self, host: Host) -> bool:
        """True where the pattern includes `host`, ports aside."""
        if self.network is not None:
            if not host.is_ip:
                return False
            found = addresses.classify(host.text)
            shift = self.network.max_prefixlen - self.network.prefixlen
            return found.version == self.network.version and found.value >> shift == int(self.network[0]) >> shift
        if host.is_ip:
            return False
        if self.kind == "host":
            return host.text == self.host
        return is_public_name(host.text) if self.kind == "any" else host.text.endswith("." + self.host)

    def matches(self, target: Target) -> bool:
        """True where the pattern includes `target`, port included."""
        return self.matches_host(target.host) and any(port == target.port for port, _ in self.ports())


def is_public_name(name: str) -> bool:
    """True for a canonical name that can be on the public internet: two labels or more, and no local-only suffix."""
    _, dot, last = name.rpartition(".")
    return bool(dot) and last not in _LOCAL_SUFFIXES and not name.endswith(".home.arpa") and not is_loopback_name(name)


@lru_cache(maxsize=16384)
def parse_pattern(text: str, effect: str = "allow") -> Pattern:
    """Parse one pattern; raises `BadPattern`. With `effect` "deny" a wildcard may stand over a whole top-level domain."""
    try:
        return _parse(text, effect)
    except BadPattern as bad:
        raise BadPattern(bad.message, _checked(bad.suggestion, effect)) from bad


def _checked(cure: str, effect: str) -> str:
    """`cure` in canonical form if it is a pattern itself, else "": a suggestion that would be refused is worse than none. Nobody is
    told to write ``*``, which is the widest rule there is."""
    try:
        found = _parse(cure, effect) if cure else None
    except BadPattern:
        return ""
    return "" if found is None or found.kind == "any" else found.text


def _parse(text: str, effect: str) -> Pattern:
    if not text.strip():
        raise BadPattern('the pattern is empty; write a host such as "example.com"')
    if len(text) > 300:
        raise BadPattern("the pattern is too long; a name has at most 253 characters")
    _refuse_shapes(text)
    host_text, port_text = _split(text)
    port, wire = _parse_port(port_text, host_text)
    suffix = "" if port is None else f":{port}" + (f"/{wire}" if wire else "")
    network = _parse_network(host_text, suffix)
    if network is not None:
        single = network.prefixlen == network.max_prefixlen
        shown = str(network.network_address) if single else str(network)
        shown = f"[{shown}]" if port is not None and network.version == 6 else shown
        return Pattern(shown + suffix, "network", "", network, port, wire)
    if host_text == "*":
        return Pattern("*" + suffix, "any", "", None, port, wire)
    if host_text.startswith("*.") and "*" not in host_text[2:]:
        name = _parse_name(host_text[2:])
        if "." not in name and effect != "deny":
            raise BadPattern(f'"*.{name}" would include a whole top-level domain; name a domain below it')
        return Pattern(f"*.{name}{suffix}", "suffix", name, None, port, wire)
    if "*" in host_text:
        raise BadPattern(
            f'"*" stands only as a whole first label, as in "*.example.com", or alone; {_quote(host_text)} has it elsewhere',
            _star_suggestion(host_text) + suffix,
        )
    name = _parse_name(host_text)
    return Pattern(name + suffix, "host", name, None, port, wire)


def parse_network(text: str) -> IPNetwork:
    """A CIDR or one address, without port (the form of ``private`` grants); raises `BadPattern`."""
    pattern = parse_pattern(text)
    network = pattern.network
    if network is None or pattern.port is not None:
        raise BadPattern(f'{_quote(text)} is not a range of addresses; write one such as "10.1.0.0/16"')
    return network


def _refuse_shapes(text: str) -> None:
    """What people paste: URLs, user@host, spaces, regular expressions."""
    if text != text.strip() or text.startswith("."):
        cure = text.strip()
        cure = "*" + cure if cure.startswith(".") else cure
        why = "begins with a dot" if text.startswith(".") else "has white space around it"
        raise BadPattern(f"{_quote(text)} {why}", cure)
    if re.search(r"[\x00-\x20\x7f-\x9f\u2028\u2029]", text) or any(char.isspace() for char in text):
        raise BadPattern(f"{_quote(text)} contains white space or a control character; one pattern is one host")
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)", text)
    if scheme:
        ports = {"ssh": ":22", "git": ":9418", "ftp": ":21"}
        cure = scheme[2].rpartition("@")[2].removesuffix(":443").removesuffix(":80")
        cure += "" if re.search(r":\d+$", cure) else ports.get(scheme[1].lower(), "")
        raise BadPattern("a rule names a host, not a URL; leave the scheme and the path out", cure)
    if "@" in text:
        cure = text.rpartition("@")[2]
        head, colon, tail = cure.partition(":")
        cure = f"{head}:22" if colon and not tail.isdigit() else re.split("[/?#]", cure, maxsplit=1)[0]
        raise BadPattern("a rule names a host, without a user before an @", cure)
    bad = re.search(r"[\^$()|+\\{}?#\"'`,;=&<>!~%]", text)
    if bad:
        cure = _from_regex(text)
        raise BadPattern(f"{_quote(text)} contains {_quote(bad[0])}: rules are not regular expressions or lists", cure)


def _from_regex(text: str) -> str:
    plain = text.strip("^$").replace("\\.", ".").replace("(.*)", "*").replace(".*.", "*.", 1)
    return re.split(r"[?#,;]", plain, maxsplit=1)[0].strip("\"'`")


def _split(text: str) -> tuple[str, str | None]:
    """Host part and port part (None where there is no colon for one)."""
    bracketed = re.match(r"\[([^\]]*)\](/\d{1,3})?(?::(.*))?\Z", text)
    if bracketed and ":" not in bracketed[1]:
        raise BadPattern(f"{_quote(text)}: only an IPv6 address stands in brackets", re.sub(r"[\[\]]", "", text))
    if bracketed:
        return bracketed[1] + (bracketed[2] or ""), bracketed[3]
    cidr = re.match(r"([0-9.]+/\d{1,2})(?::(.*))?\Z", text)
    if cidr:
        return cidr[1], cidr[2]
    if text.count(":") >= 2 and re.match(r"[0-9A-Fa-f:.]+(/\d{1,3})?\Z", text):
        return text, None
    host, colon, port = text.partition(":")
    if "/" in host:
        raise BadPattern("a rule names a host, without a path", host.partition("/")[0])
    return host, port if colon else None


def _parse_port(text: str | None, host: str) -> tuple[int | None, PatternWire | Literal[""]]:
    if text is None:
        return None, ""
    shown = f"[{host}]" if ":" in host else host
    if text == "*":
        raise BadPattern("a rule cannot open every port; list each one, as in example.com:22", shown)
    digits, slash, wire = text.partition("/")
    try:
        port = parse_port(digits)
    except BadTarget as error:
        first = re.match(r"[1-9]\d{0,4}(?!\d)", digits)
        cure = f"{shown}:{first[0]}" if first and int(first[0]) <= 65535 else shown
        raise BadPattern(f"{error}; one rule lists one port", cure) from error
    for known in ("tls", "http", "ssh", "tcp", "auto"):
        if wire == known:
            return port, known
    if not slash:
        return port, ""
    raise BadPattern(
        f"after the port only /{', /'.join(_WIRES)} may follow, not {_quote('/' + wire)}", f"{shown}:{digits}"
    )


def _parse_network(text: str, suffix: str) -> IPNetwork | None:
    """The network `text` writes, or None where it is a name. Host bits set, odd spellings and mapped forms are refused."""
    address, slash, length = text.partition("/")
    if ":" not in address and not re.match(r"[0-9.]+\Z", address):
        if slash:
            raise BadPattern("a rule names a host, without a path", address + suffix)
        return None
    try:
        canonical = addresses.canonical(address)
    except BadTarget as error:
        raise BadPattern(str(error)) from error
    mapped = ":" in address and ":" not in canonical
    if mapped:
        bits = int(length or 128) - 96
        raise BadPattern("an IPv4 range is written as IPv4", f"{canonical}/{bits}{suffix}" if bits >= 0 else "")
    try:
        network = ipaddress.ip_network(f"{canonical}/{length}" if slash else canonical, strict=False)
    except ValueError as error:
        raise BadPattern(f"{_quote(text)}: the length after the / is not one this address has") from error
    if slash and str(network.network_address) != canonical:
        shown = f"[{network}]" if suffix and network.version == 6 else str(network)
        raise BadPattern(f"{_quote(text)} has bits set beyond its length", shown + suffix)
    return network


def _parse_name(text: str) -> str:
    try:
        host = parse_host(text)
    except BadTarget as error:
        raise BadPattern(str(error)) from error
    if host.is_ip:
        raise BadPattern(f"{_quote(text)} is an address; write it without wildcard")
    return host.text


def _star_suggestion(text: str) -> str:
    """``*hub.com`` -> ``*.hub.com``; ``api-*.x.com``, ``a.*.x.com``, ``**.x.com`` -> ``*.x.com``."""
    if text.startswith("*") and text.count("*") == 1:
        return "*." + text[1:].lstrip(".-")
    return "*." + text[text.rfind("*") + 1 :].partition(".")[2]


def _quote(text: str) -> str:
    short = text if len(text) <= 80 else text[:77] + "..."
    return '"' + ascii(short)[1:-1] + '"'
