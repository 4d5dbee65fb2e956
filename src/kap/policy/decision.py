"""The answer every plane acts on: a verdict, one code, and the rule that decided (or None where no rule did).

Decisions are built when a policy is compiled and handed out by reference, so the hot path allocates nothing.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kap.document.route import Route

Verdict = Literal["allow", "deny"]

Wire = Literal["tls", "http", "ssh", "tcp", "auto"]
"""What may be spoken on an allowed tunnel.

``tls``: a ClientHello whose SNI is the target (port 443). ``http``: HTTP/1 whose Host is the target (port 80).
``ssh``: an SSH-2.0 banner from each side (port 22). ``tcp``: anything, the server may speak first; only where a rule says
``/tcp``. ``auto``: the first client bytes must be a ClientHello or an HTTP/1 request naming the target (other ports).
"""


class RuleRef(msgspec.Struct, frozen=True):
    """The rule that decided: the layer it is written in (``builtin``, ``global``, ``project``, ``run``), its route, its text.

    `via` names the preset that expanded to it (``python``), else "".
    """

    layer: str
    route: Route
    text: str
    via: str = ""


class Decision(msgspec.Struct, frozen=True):
    """`code` is one of `kap.policy.codes.CODES`; `wire` and `ech` say what an allowed tunnel may carry."""

    verdict: Verdict
    code: str
    rule: RuleRef | None = None
    wire: Wire = "tls"
    ech: bool = False

    @property
    def allowed(self) -> bool:
        """True only for an explicit allow."""
        return self.verdict == "allow"
