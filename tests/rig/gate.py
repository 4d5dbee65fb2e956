"""A `GateAddon` in a `Frame` on loopback: the same policy, resolver and log as `rig.plane`, on mitmproxy's layers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from kap.config.model import Limits
from kap.egress.frame import Frame
from kap.egress.gate_addon import GateAddon
from kap.egress.upstream import UpstreamProxy
from kap.policy.compiler import compile_rules
from kap.policy.live import Live
from rig.plane import SOON, EventList, Handler, StaticResolver, bound, serve


class GateRig:
    """One frame. Has what `rig.plane.Rig` has, as far as the tests of both engines need it."""

    def __init__(
        self, gate: GateAddon, frame: Frame, events: EventList, resolver: StaticResolver, stack: AsyncExitStack
    ):
        self.plane = gate
        self.frame = frame
        self.events = events
        self.resolver = resolver
        self._stack = stack

    async def listen(self) -> int:
        sock = bound()
        await self.plane.serve(sock)
        return int(sock.getsockname()[1])

    async def origin(self, handler: Handler, **options: object) -> int:
        return await serve(self._stack, handler, **options)

    async def settled(self) -> None:
        """Wait until no client is connected."""
        async with asyncio.timeout(SOON):
            while self.frame.master.addons.get("proxyserver").connections:  # noqa: ASYNC110
                await asyncio.sleep(0.005)


@asynccontextmanager
async def gate_rig(
    *addons: Any,
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
    private: tuple[str, ...] = ("127.0.0.0/8",),
    ech: tuple[str, ...] = (),
    names: dict[str, tuple[str, ...]] | None = None,
    limits: Limits | None = None,
    own_addresses: frozenset[str] = frozenset(),
    upstream: UpstreamProxy | None = None,
    settings: dict[str, Any] | None = None,
) -> AsyncIterator[GateRig]:
    """As `rig.plane.plane_rig`; `addons`: others' addons, behind kap's own."""
    events = EventList()
    known = {"allowed.test": ("127.0.0.1",), "other.test": ("127.0.0.1",)} if names is None else names
    resolver = StaticResolver(known)
    policy = compile_rules(allow=allow, deny=deny, private=private, ech=ech)
    gate = GateAddon(
        Live(policy),
        events,
        resolver=resolver,
        limits=limits or Limits(),
        own_addresses=own_addresses,
        upstream=upstream,
    )
    frame = Frame(gate, *addons, settings=settings)
    async with AsyncExitStack() as stack:
        task = asyncio.create_task(frame.run())
        try:
            await asyncio.wait_for(frame.ready.wait(), SOON)
            yield GateRig(gate, frame, events, resolver, stack)
        finally:
            await gate.close()
            frame.shutdown()
            await asyncio.wait_for(task, SOON)
