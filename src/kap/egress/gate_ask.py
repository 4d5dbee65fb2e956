"""The question a guarded connection asks before anything of a request goes further, as a hook of its own on the addon chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mitmproxy.proxy.commands import StartHook

from kap.egress.grant import Grant
from kap.names.hosts import Target
from kap.policy.decision import Decision, RuleRef
from kap.policy.request import EgressKind


class Ask:
    """May `client` reach `target`, and at which addresses? Denied until answered: `code` is "" only where an addon allowed it, with the
    vetted `addresses`, best first, and the `decision`. `grants`: what a new policy will be asked about."""

    __slots__ = ("addresses", "client", "code", "decision", "detail", "grants", "kind", "rule", "target")

    def __init__(self, client: Any, target: Target, kind: EgressKind) -> None:
        self.client = client
        self.target = target
        self.kind: EgressKind = kind
        self.code = "egress.internal-error"
        self.rule: RuleRef | None = None
        self.detail = ""
        self.addresses: tuple[str, ...] = ()
        self.decision: Decision | None = None
        self.grants: tuple[Grant, ...] = ()

    def refuse(self, code: str, *, rule: RuleRef | None = None, detail: str = "") -> None:
        """Answer no."""
        self.code, self.rule, self.detail = code, rule, detail
        self.addresses, self.decision, self.grants = (), None, ()

    def allow(self, decision: Decision, grants: tuple[Grant, ...]) -> None:
        """Answer yes: `grants` has one for each vetted address."""
        self.code, self.rule, self.detail = "", decision.rule, ""
        self.addresses, self.decision, self.grants = tuple(grant.address for grant in grants), decision, grants

    def use_ech(self) -> None:
        """The client used Encrypted ClientHello; a policy that takes it back has to know."""
        for grant in self.grants:
            grant.ech = True


@dataclass
class KapAskHook(StartHook):  # type: ignore[misc]
    """``kap_ask``: answered by `gate_addon.GateAddon`."""

    data: Ask
