"""What today's policy says of a denial of the past: still denied and why, or allowed by now; and what to do about it. Pure.

Rules: the question is asked anew from the denial alone, by the one engine; a reason the wire gave (a wrong SNI, a time-out) is no matter
of the policy, so it stays what it was and only its cure is looked up.
"""

from __future__ import annotations

import msgspec

from kap.audit.fold import Denial
from kap.names.hosts import BadTarget, Host, Target, parse_host
from kap.policy.codes import FAULTS_OF_HOST
from kap.policy.compiler import Policy
from kap.policy.decision import Decision
from kap.policy.explain import Explanation, explain, explain_bad_target
from kap.policy.request import AddressRequest, EgressRequest, NameRequest, Request

_ADDRESS = frozenset({"egress.address-not-global", "egress.own-address"})
_POLICY = frozenset(
    f"{plane}.{reason}"
    for plane in ("egress", "dns")
    for reason in (
        "not-listed",
        "deny-rule",
        "always-denied",
        "port-not-listed",
        "ip-not-listed",
        "no-policy",
        "type-refused",
    )
) | {"egress.address-not-global", "egress.revoked"}
"""Reasons the policy gives; the same question may have another answer today."""


class Finding(msgspec.Struct, frozen=True):
    """`denial` as it happened; `now`: today's decision (its own where the policy had no part in it); `explanation`: of `now`."""

    denial: Denial
    now: Decision
    explanation: Explanation

    @property
    def allowed_now(self) -> bool:
        """Whether the same request would be let through today."""
        return self.now.allowed

    @property
    def failed(self) -> bool:
        """Whether kap let it through and the host (or the way to it) failed."""
        return self.denial.code in FAULTS_OF_HOST


def look(denial: Denial, policy: Policy | None) -> Finding:
    """`denial` by today's `policy` (None: there is none to judge by)."""
    then = Decision("deny", denial.code, denial.rule)
    config = policy.config if policy else None
    try:
        request = question(denial)
    except BadTarget as bad:
        return Finding(denial, then, explain_bad_target(str(bad)))
    now = then
    if policy is not None and denial.code in _POLICY:
        now = _ask(request, policy)
    return Finding(denial, now, explain(request, now, config))


def question(denial: Denial) -> Request:
    """What was asked, as a request. Raises `BadTarget` where the denial's host is none, as in a request that was refused for that."""
    host = parse_host(denial.host) if denial.host else _no_host()
    if denial.port == 0:
        return NameRequest(host, _qtype(denial))
    target = Target(host, denial.port)
    if denial.code in _ADDRESS and denial.addresses and not host.is_ip:
        return AddressRequest(target, denial.addresses[-1])
    return EgressRequest(target)


def _ask(request: Request, policy: Policy) -> Decision:
    if isinstance(request, AddressRequest):
        by_name = policy.decide(EgressRequest(request.target))
        return policy.decide(request) if by_name.allowed else by_name
    return policy.decide(request)


def _no_host() -> Host:
    raise BadTarget("the request named no host")


def _qtype(denial: Denial) -> int:
    """The type of the query where another one than A was asked for: its number, as in ``TYPE65``."""
    known = {"A": 1, "AAAA": 28}
    for method in denial.methods:
        if method in known:
            return known[method]
    last = denial.methods[-1] if denial.methods else "A"
    number = last.removeprefix("TYPE")
    return int(number) if number.isascii() and number.isdigit() and len(number) < 6 else 1
