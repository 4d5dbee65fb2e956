"""One line of the audit log (``schemas/event.schema.json``). A contract: fields are added, never renamed; `v` counts breaking changes.

Rules: one ``decision`` event per decision; a ``closed`` event gives a tunnel's bytes and duration under the decision's `id`;
``notice`` events say what happened to kap itself (reload, failed reload, start, stop). No secret is ever put in: no header values,
no URL path or query, no bodies. Text chosen by a client is bounded to 255 characters; control characters are escaped where shown.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from kap.policy.decision import RuleRef

Kind = Literal["decision", "closed", "notice"]

TEXT_LIMIT = 255
"""Characters kept of a text field."""

PROBE_HOST = "kap-probe.invalid"
"""The name kap's own health checks ask for. It can exist nowhere (RFC 6761 6.4), so whoever asks for it, refusing it tells nobody
anything: the log marks such events with the subject ``probe``, and they are left out of what people are shown."""


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
