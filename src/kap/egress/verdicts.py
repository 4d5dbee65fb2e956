"""The answers of one policy, remembered: `decide` is a pure function of policy and question, and the same questions come again and again.

Rules: a memo belongs to one `Policy` object and is dropped with it; it is bounded; it holds nothing `decide` did not say.
"""

from __future__ import annotations

from typing import TypeVar

from kap.names.hosts import Target
from kap.policy.compiler import Policy
from kap.policy.decision import Decision
from kap.policy.request import AddressRequest, EgressKind, EgressRequest

ENTRIES = 4096
K = TypeVar("K")


class Verdicts:
    """See the module."""

    __slots__ = ("_addresses", "_policy", "_targets")

    def __init__(self) -> None:
        self._policy: Policy | None = None
        self._targets: dict[tuple[Target, EgressKind, str], Decision] = {}
        self._addresses: dict[tuple[Target, str, str], Decision] = {}

    def egress(self, policy: Policy, target: Target, kind: EgressKind, subject: str) -> Decision:
        """`policy.decide(EgressRequest(target, kind, subject))`."""
        if policy is not self._policy:
            self._begin(policy)
        key = (target, kind, subject)
        decision = self._targets.get(key)
        if decision is None:
            decision = policy.decide(EgressRequest(target, kind, subject))
            _keep(self._targets, key, decision)
        return decision

    def address(self, policy: Policy, target: Target, address: str, subject: str) -> Decision:
        """`policy.decide(AddressRequest(target, address, subject))`."""
        if policy is not self._policy:
            self._begin(policy)
        key = (target, address, subject)
        decision = self._addresses.get(key)
        if decision is None:
            decision = policy.decide(AddressRequest(target, address, subject))
            _keep(self._addresses, key, decision)
        return decision

    def _begin(self, policy: Policy) -> None:
        self._policy = policy
        self._targets.clear()
        self._addresses.clear()


def _keep(memo: dict[K, Decision], key: K, decision: Decision) -> None:
    if len(memo) >= ENTRIES:
        memo.clear()
    memo[key] = decision
