"""The one mutable cell of a running sidecar: which policy is in force. Reload swaps the reference; readers never lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kap.policy.compiler import Policy


class Live:
    """`policy` is None until the first one loads; every plane then refuses with ``egress.no-policy``."""

    __slots__ = ("policy",)

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy
