"""The question a guarded connection asks before anything of a request goes further, as a hook of its own on the addon chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mitmproxy.proxy.commands import StartHook

from kap.names.hosts import Target
from kap.policy.decision import Decision, RuleRef
from kap.policy.request import EgressKind


class Ask:
    """May `client` reach `target`, and at which addresses? Denied until answered: `code` is "" only where an addon allowed it, with the
    vetted `addresses`, best first, and the `decision`."""

    __slots__ = ("addresses", "client", "code", "decision", "detail", "kind", "rule", "target")

    def __init__(self, client: Any, target: Target, kind: EgressKind) -> None:
        self.client = client
        self.target = target
        self.kind: EgressKind = kind
        self.code = "egress.internal-error"
        self.rule: RuleRef | None = None
        self.detail = ""
        self.addresses: tuple[str, ...] = ()
        self.decision: Decision | None = None

    def refuse(self, code: str, *, rule: RuleRef | None = None, detail: str = "") -> None:
        """Answer no."""
        self.code, self.rule, self.detail = code, rule, detail
        self.addresses, self.decision = (), None

    def allow(self, decision: Decision, addresses: tuple[str, ...]) -> None:
        """Answer yes."""
        self.code, self.rule, self.detail = "", decision.rule, ""
        self.addresses, self.decision = addresses, decision


@dataclass
class KapAskHook(StartHook):  # type: ignore[misc]
    """``kap_ask``: answered by `gate_addon.GateAddon`."""

    data: Ask
