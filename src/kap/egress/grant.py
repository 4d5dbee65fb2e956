"""What a connection was allowed, kept as long as it lives, so that a new policy can be asked again."""

from __future__ import annotations

from kap.egress.connector import Connector
from kap.names.hosts import Target
from kap.policy.compiler import Policy
from kap.policy.decision import Decision
from kap.policy.request import EgressKind, EgressRequest


class Grant:
    """`number` is the id of the allowing decision event; `address` the dialled address ("" where an upstream proxy chose it);
    `ech`: the client used Encrypted ClientHello."""

    __slots__ = ("address", "decision", "ech", "kind", "number", "subject", "target")

    def __init__(self, target: Target, kind: EgressKind, subject: str, decision: Decision, address: str = "") -> None:
        self.target = target
        self.kind = kind
        self.subject = subject
        self.decision = decision
        self.address = address
        self.number = 0
        self.ech = False

    def permitted_by(self, policy: Policy, connector: Connector) -> bool:
        """True when `policy` would still let exactly this through."""
        decision = policy.decide(EgressRequest(self.target, self.kind, self.subject))
        if not decision.allowed or decision.wire != self.decision.wire or (self.ech and not decision.ech):
            return False
        return not self.address or not connector.refusal(policy, self.target, self.address, self.subject)
