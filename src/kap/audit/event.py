"""One line of the audit log (``schemas/event.schema.json``). A contract: fields are added, never renamed; `v` counts breaking changes.

Rules: one ``decision`` event per decision, probes of the health check that went as they should excepted (`PROBE_ANSWERS`); a ``closed``
event gives a tunnel's bytes and duration under the decision's `id`; ``notice`` events say what happened to kap itself (reload, failed
reload, start, stop). No secret is ever put in: no header values, no URL path or query, no bodies. Text chosen by a client is bounded to
255 characters; control characters are escaped where shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from kap.policy.decision import RuleRef

Kind = Literal["decision", "closed", "notice"]

TEXT_LIMIT = 255
"""Characters kept of a text field."""

PROBE_HOST = "kap-probe.invalid"
"""The name kap's own health checks ask for, which every plane has to refuse. It can exist nowhere (RFC 6761 6.4), so whoever asks for
it, refusing it tells nobody anything."""

PROBE_OWN_NAME = "kap-self.invalid"
"""The name they ask the name server for, which it has to answer with its own address."""

PROBE_ANSWERS: Mapping[str, frozenset[str]] = {
    PROBE_HOST: frozenset({"egress.not-listed", "egress.deny-rule", "dns.not-listed", "dns.deny-rule"}),
    PROBE_OWN_NAME: frozenset({"dns.allowed"}),
}
"""What comes of a probe where all is well: the log leaves it out, or it would hold little else (seven events every few seconds). What
else comes of one is recorded with the subject ``probe``, and left out of what people are shown as denials."""


class Event(msgspec.Struct, omit_defaults=True):
    """`ts`: seconds since the epoch, UTC, with microseconds. `plane`: ``egress``, ``dns``, ``sidecar``, ``audit``. `seq` and `ts` are
    set by the log; `seq` counts from 1 in each process that writes."""

    kind: Kind
    plane: str
    code: str
    v: int = 1
    ts: float = 0.0
    seq: int = 0
    id: int = 0
    verdict: str = ""
    subject: str = "app"
    host: str = ""
    port: int = 0
    method: str = ""
    """``CONNECT``, ``GET`` ..., ``TLS`` (transparent), ``A``/``AAAA``/``TYPE65`` (dns)."""
    rule: RuleRef | None = None
    policy: str = ""
    """First 12 hex digits of the policy digest."""
    address: str = ""
    """The IP address that was (or would have been) dialled."""
    client: str = ""
    """``address:port`` of the asking socket."""
    process: str = ""
    """Name and pid of the asking process, where it can be known."""
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    detail: str = ""
    capsule: str = ""
    """Which capsule wrote it, where several write to one log. Set by the log."""
