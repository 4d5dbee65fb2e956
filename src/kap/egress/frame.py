"""The frame: a mitmproxy `Master` with the least there is, in which kap's planes live as addons on one loop.

    await run_framed(partial(service.run, stop), gate, OtherAddon())       # until service.run returns; raises what it raised

Rules: no certificate authority, no configuration directory, no page of mitmproxy's own, no TLS termination, no listener mitmproxy opens
by itself, no default `NextLayer` (it lets through as raw TCP what it does not know); a failing hook denies (`strict`); every hook name is
checked at the start, because a misspelt hook is a hook that never runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from mitmproxy import ctx, hooks, master, options
from mitmproxy.addons import proxyserver
from mitmproxy.utils import asyncio_utils

from kap.egress.strict import StrictAddonManager
from kap.errors import EXIT_SOFTWARE, KapError

Work = Callable[[], Awaitable[None]]
_SETTINGS: dict[str, Any] = {
    "mode": [],
    "connection_strategy": "lazy",  # "eager" dials before anything has been decided
    "validate_inbound_headers": True,
    "rawtcp": False,
}


class StrictMaster(master.Master):  # type: ignore[misc]
    """A `Master` whose addon manager denies on failure, and which leaves what the loop reports to whoever saw to it before."""

    def __init__(self, opts: options.Options) -> None:
        super().__init__(opts)
        self._report = self.event_loop.get_exception_handler()
        # The stock manager has connected itself to the options; disconnected by being dropped (they hold it weakly).
        self.addons = StrictAddonManager(self)

    def _asyncio_exception_handler(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """mitmproxy's own writes a traceback for each failed accept; with no descriptors left those come by the thousand."""
        if self._report is not None:
            self._report(loop, context)
        else:
            loop.default_exception_handler(context)


class PlaneAddon:
    """Carries `work`, kap's own planes, on the frame's loop: started when everything is loaded, cancelled when the frame ends; the frame
    ends when it does. `result` raises what it raised."""

    name = "kap_plane"
    hooks = ("running", "done")

    def __init__(self, work: Work) -> None:
        self._work = work
        self._task: asyncio.Task[None] | None = None
        self.ended = asyncio.Event()

    def running(self) -> None:
        """Hook: everything is loaded."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self.ended.set()
            ctx.master.shutdown()

    async def done(self) -> None:
        """Hook: the frame ends; returns when the work has."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def result(self) -> None:
        """Raise what the work raised, a cancellation by `done` excepted."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()


class Frame:
    """One `Master`. `addons`: kap's first, then others'; the ones with a `hooks` tuple have it checked. Made inside a running loop."""

    def __init__(self, *addons: Any, settings: dict[str, Any] | None = None) -> None:
        logging.getLogger("mitmproxy").setLevel(logging.WARNING)
        for addon in addons:
            check_hooks(addon)
        self.ready = asyncio.Event()
        self._options = options.Options(confdir="/nonexistent")
        self.master = StrictMaster(self._options)
        self.master.addons.add(*addons, proxyserver.Proxyserver(), _Ready(self.ready))
        self._options.update(**(_SETTINGS | (settings or {})))

    async def run(self) -> None:
        """Until `shutdown`. Raises what a part raised in its start, after everything has been closed."""
        with without_eager_tasks():
            try:
                await self.master.run()
            finally:
                await self.master.addons.get("proxyserver").servers.update([])

    def shutdown(self) -> None:
        """End `run`. May be called from any thread."""
        self.master.shutdown()


class _Ready:
    """The last addon of the chain: when its hook runs, all others have started."""

    name = "kap_ready"
    hooks = ("running",)

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    def running(self) -> None:
        self._event.set()


def check_hooks(addon: object) -> None:
    """Hold an addon with a `hooks` tuple to it: each is a hook mitmproxy knows and a method the addon has. Raises `KapError`."""
    named = getattr(addon, "hooks", ())
    if not isinstance(named, tuple):  # another's addon, to which the word means something else
        return
    wrong = [name for name in named if name not in hooks.all_hooks or not callable(getattr(addon, name, None))]
    unnamed = [name for name in dir(addon) if name in hooks.all_hooks and named and name not in named]
    if wrong or unnamed:
        raise KapError(
            f"{type(addon).__name__}: hooks that would not run: {', '.join(wrong + unnamed)}",
            "This is a mismatch between kap and the installed mitmproxy; install the versions kap names.",
            EXIT_SOFTWARE,
        )


@contextlib.contextmanager
def without_eager_tasks() -> Iterator[None]:
    """mitmproxy switches its loop to eager tasks; uvloop cannot take that, and kap's own code is written for the usual kind."""
    before = asyncio_utils.set_eager_task_factory
    asyncio_utils.set_eager_task_factory = contextlib.nullcontext
    try:
        yield
    finally:
        asyncio_utils.set_eager_task_factory = before


async def run_framed(work: Work, *addons: Any, settings: dict[str, Any] | None = None) -> None:
    """Run `work` inside a `Frame` with `addons` (kap's gate first, then others'); returns when it returns, raises what it raises."""
    plane = PlaneAddon(work)
    frame = Frame(*addons, plane, settings=settings)
    try:
        await frame.run()
    finally:
        plane.result()
