"""(request, decision, config) -> why, for people, and what to do about it. Pure, so yesterday's log can be explained today.

A fix is data (`config.problem.Fix`): its edits are for the *project's* file; what another layer decides has a fix in words only.
"""

from __future__ import annotations

import msgspec

from kap.config import presets
from kap.config.effective import Config
from kap.config.problem import Edit, Fix
from kap.names.addresses import BadTarget, classify
from kap.names.hosts import Host, Target, is_loopback_name
from kap.policy.codes import CODES
from kap.policy.decision import Decision, RuleRef
from kap.policy.near import near_misses
from kap.policy.request import AddressRequest, NameRequest, Request

_NETWORK = ("proxy", "network")
_UNLISTED = frozenset({"egress.not-listed", "dns.not-listed", "egress.port-not-listed", "egress.ip-not-listed"})
_NEVER_OFFERED = frozenset({"loopback", "metadata", "unspecified", "this-network", "multicast", "broadcast"})
_NEEDS_TCP = frozenset({"egress.server-first", "egress.not-tls", "egress.not-http", "egress.not-ssh"})

_WHY = {
    "egress.allowed": "{rule} allows {host} on port {port}; the address it resolves to is checked as well.",
    "dns.allowed": "{rule} allows {host}.",
    "egress.not-listed": "No allow rule of any layer includes {host}.",
    "dns.not-listed": "No allow rule of any layer includes {host}, so its name is not resolved.",
    "egress.deny-rule": "{rule} denies it; a deny of any layer wins over every allow.",
    "dns.deny-rule": "{rule} denies it; a deny of any layer wins over every allow.",
    "egress.port-not-listed": "{rule} allows {host}, but no rule lists port {port}; where none is written, 80 and 443 are meant.",
    "egress.always-denied": "{host} carries DNS or cloud credentials; only a rule that names exactly this host opens it, no wildcard.",
    "dns.always-denied": "{host} carries DNS or cloud credentials; only a rule that names exactly this host opens it, no wildcard.",
    "dns.type-refused": "Only A, AAAA and TXT are answered; other types name other hosts, serve tunnels, or hide the host (HTTPS, SVCB).",
    "egress.ech-refused": "The client hides the host it wants from kap behind {host}, so no rule can be held to it.",
    "egress.server-first": "On port {port} of {host} the server speaks first, which only a rule with /tcp lets through.",
    "egress.internal-error": "kap failed while it judged {host}:{port}, and refused; nothing passes on a failure.",
}


class Explanation(msgspec.Struct, frozen=True):
    """`title`: the code in one line. `why`: this case, in a sentence or two. `rule`: its text, "" where no rule decided.

    `where`: ``path:line`` of the rule, `layer` and `via` (the preset) as in `RuleRef`. `near`: rules that nearly matched.
    `fixes`: choices, the narrowest first. `docs`: the page about the code.
    """

    verdict: str
    code: str
    title: str
    why: str
    rule: str = ""
    where: str = ""
    layer: str = ""
    via: str = ""
    near: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    docs: str = ""


def explain(request: Request, decision: Decision, config: Config | None) -> Explanation:
    """Why `decision` is the answer to `request`, the rule with its place, near misses and fixes. Never raises for any code."""
    rule = decision.rule
    known = CODES.get(decision.code)
    near: tuple[str, ...] = ()
    if config is not None and decision.code in _UNLISTED:
        near = near_misses(_target(request), config)
    return Explanation(
        decision.verdict,
        decision.code,
        known.title if known else decision.code,
        _why(request, decision),
        rule=rule.text if rule else "",
        where=locate(rule, config),
        layer=rule.layer if rule else "",
        via=rule.via if rule else "",
        near=near,
        fixes=() if decision.allowed else _fixes(request, decision, config),
        docs=f"docs/codes/{decision.code}.md",
    )


def explain_bad_target(message: str) -> Explanation:
    """The explanation of a text that is no target at all; `message` is that of the `BadTarget`."""
    code = CODES["egress.bad-target"]
    return Explanation("deny", code.id, code.title, message, docs=f"docs/codes/{code.id}.md")


def locate(rule: RuleRef | None, config: Config | None) -> str:
    """``path:line`` of a rule, ``path`` where the line is not known, "" where nothing is."""
    if rule is None or config is None:
        return ""
    path, line = config.locate(rule.layer, rule.route)
    return f"{path}:{line}" if line else path


def _target(request: Request) -> Target:
    return Target(request.host, 443) if isinstance(request, NameRequest) else request.target


def _why(request: Request, decision: Decision) -> str:
    target, rule = _target(request), decision.rule
    if isinstance(request, AddressRequest) and decision.code in ("egress.allowed", "egress.address-not-global"):
        return _why_address(request, decision)
    if decision.code == "egress.address-not-global":
        return _why_literal(target.host.text, decision)
    if target.host.is_ip and decision.code == "egress.allowed" and rule:
        return f'"{rule.text}" {_source(rule)} allows {target.host.text} on port {target.port}.'
    if target.host.is_ip and decision.code in ("egress.ip-not-listed", "egress.always-denied"):
        return f"{_describe(target.host.text)}, is not in any CIDR rule. Rules for names and * do not include addresses; a CIDR rule must."
    if is_loopback_name(target.host.text) and decision.code == "egress.not-listed":
        return f"{target.host.text} is the machine that kap runs on; * does not include it."
    title = CODES[decision.code].title if decision.code in CODES else decision.code
    sentence = _WHY.get(decision.code, "{host}:{port}: " + title + ".")
    written = f'"{rule.text}" {_source(rule)}' if rule else "A rule"
    return sentence.format(host=target.host.text, port=target.port, rule=written)


def _source(rule: RuleRef | None) -> str:
    if rule is None:
        return ""
    preset = f", preset {rule.via}" if rule.via and rule.layer != "builtin" else ""
    words = {"builtin": "built into kap", "global": "global file", "project": "project file", "run": "command line"}
    return f"({words.get(rule.layer, rule.layer)}{preset})"


def _why_literal(host: str, decision: Decision) -> str:
    if is_loopback_name(host):
        return f"{host} is the machine that kap runs on; it opens only where loopback addresses are granted as well."
    rule = f'"{decision.rule.text}" is too wide to count as a grant of it' if decision.rule else "no rule grants it"
    return f"{_describe(host)}; {rule}. A range of non-global addresses must be spelled out."


def _why_address(request: AddressRequest, decision: Decision) -> str:
    what = _describe(request.address)
    if not decision.allowed:
        return f"{request.target.host.text} resolves to {what}, and no grant includes it."
    grant = f', which "{decision.rule.text}" {_source(decision.rule)} grants' if decision.rule else ""
    return f"{request.target.host.text} resolves to {what}{grant}."


def _describe(address: str) -> str:
    try:
        found = classify(address)
    except BadTarget:
        return f"{address}, which is no address"
    if found.is_global:
        return f"{address}, a public address"
    inside = f", carrying {found.embedded}" if found.embedded else ""
    return f"{address}, a {found.name} address ({found.source}){inside}"


def _fixes(request: Request, decision: Decision, config: Config | None) -> tuple[Fix, ...]:
    code, target, rule = decision.code, _target(request), decision.rule
    if code in ("egress.deny-rule", "dns.deny-rule"):
        return _lift(rule, config)
    if code == "egress.address-not-global":
        address = request.address if isinstance(request, AddressRequest) else target.host.text
        return _grant(address, target, by_name=isinstance(request, AddressRequest))
    if code == "egress.ech-refused":
        return (_append("ech", target.host.text, "let this host use Encrypted ClientHello"),)
    if code in _NEEDS_TCP:
        return (_append("allow", f"{_bare(target.host)}:{target.port}/tcp", "let anything be spoken on this port"),)
    if code in _UNLISTED or code in ("egress.always-denied", "dns.always-denied"):
        if _is_never_fixed(target.host):
            return ()
        if code == "egress.port-not-listed":
            return (_append("allow", _rule_for(target)),)
        return (_append("allow", _rule_for(target)), *_preset_fixes(target.host, config))
    return ()


def _is_never_fixed(host: Host) -> bool:
    """Ourselves, and what hands out credentials: a person may write such a rule, no button offers it."""
    return is_loopback_name(host.text) or (host.is_ip and classify(host.text).name in _NEVER_OFFERED)


def _rule_for(target: Target) -> str:
    """The narrowest pattern for a target; 80 and 443 come together, as people mean them."""
    return target.host.text if target.port in (80, 443) else f"{_bare(target.host)}:{target.port}"


def _bare(host: Host) -> str:
    return f"[{host.text}]" if ":" in host.text else host.text


def _append(table: str, value: str, why: str = "") -> Fix:
    title = f'add "{value}" to {table} in [proxy.network]'
    return Fix(f"{title}: {why}" if why else title, (Edit("append", (*_NETWORK, table), value),), widens=True)


def _lift(rule: RuleRef | None, config: Config | None) -> tuple[Fix, ...]:
    if rule is None:
        return ()
    if rule.layer == "project" and not rule.via:
        return (Fix(f'take "{rule.text}" out of deny in [proxy.network]', (Edit("remove", rule.route),), widens=True),)
    place = locate(rule, config) or f"the {rule.layer} layer"
    return (Fix(f'"{rule.text}" is denied by {place}; only there can it be lifted, a project cannot', widens=True),)


def _grant(address: str, target: Target, *, by_name: bool) -> tuple[Fix, ...]:
    if is_loopback_name(address):
        return ()
    try:
        found = classify(address)
    except BadTarget:
        return ()
    if found.name in _NEVER_OFFERED:
        return ()
    if by_name:
        return (_append("private", address, f"let allowed names resolve to this {found.name} address"),)
    return (_append("allow", _rule_for(target), "spell the address out"),)


def _preset_fixes(host: Host, config: Config | None) -> tuple[Fix, ...]:
    """Presets that list exactly this host, offered after the narrow rule. Telemetry is named, never offered."""
    fixes = []
    for name, preset in presets.catalogue().items():
        if config is not None and name in config.presets:
            continue
        for entry, hosts in ((name, preset.hosts), (f"{name}:optional", preset.optional)):
            if host.text in hosts:
                edit = Edit("append", ("presets",), entry)
                fixes.append(Fix(f'add "{entry}" to presets: it lists this host', (edit,), widens=True))
    return tuple(fixes[:2])
