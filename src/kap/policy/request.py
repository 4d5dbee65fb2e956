"""The questions a plane can ask. Each carries its subject: who asks (``app``: the agent's container or capsule)."""

from __future__ import annotations

from typing import Literal

import msgspec

from kap.names.hosts import Host, Target

EgressKind = Literal["connect", "http", "transparent-tls", "transparent-http"]


class EgressRequest(msgspec.Struct, frozen=True):
    """May `subject` reach `target` (a TCP connection, by any of the ways in)?"""

    target: Target
    kind: EgressKind = "connect"
    subject: str = "app"


class AddressRequest(msgspec.Struct, frozen=True):
    """May `target`, already allowed by name, be dialled at `address` (the canonical text of an IP address it resolved to)?"""

    target: Target
    address: str
    subject: str = "app"


class NameRequest(msgspec.Struct, frozen=True):
    """May `subject` resolve `host`? `qtype` is the RR TYPE number (RFC 1035 3.2.2)."""

    host: Host
    qtype: int = 1
    subject: str = "app"


Request = EgressRequest | AddressRequest | NameRequest
