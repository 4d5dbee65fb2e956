"""Keep the policy in force equal to the files: atomically, with the last good one kept whatever happens to them.

Rules: one swap of one reference puts a policy in force; a policy that does not load, half-written files and vanished files change
nothing but the state that is reported; until a first policy loads there is none, and every plane refuses. Each change of state is one
notice in the audit log. A file found empty is given a second to be filled: most editors truncate before they write.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from kap.audit.event import Event
from kap.audit.log import Recorder
from kap.policy.compiler import Policy
from kap.policy.live import Live
from kap.sidecar.source import PolicySource, Refusal, Snapshot
from kap.sidecar.status import PolicyState

INTERVAL = 0.25
SETTLE = 0.1
BLANK_WAIT = 1.0
_SETTLE_LIMIT = 2.0

_log = logging.getLogger("kap.sidecar")


class Reloader:
    """Looks at `source` every `interval` seconds, and puts what it finds in force in `live`.

    `apply` is told the new policy after the swap and gives how many connections it cut; `changed` is called when `state` changed.
    `sleep` is asyncio's, or a test's.
    """

    def __init__(
        self,
        source: PolicySource,
        live: Live,
        audit: Recorder,
        *,
        apply: Callable[[Policy], int] = lambda policy: 0,
        changed: Callable[[], None] = lambda: None,
        interval: float = INTERVAL,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.state = PolicyState()
        self.apply = apply
        self.changed = changed
        self._source = source
        self._live = live
        self._audit = audit
        self._interval = interval
        self._sleep = sleep
        self._seen: Snapshot | None = None
        self._good: Snapshot | None = None

    async def run(self) -> None:
        """Look, for ever. A failure of a look is logged and the next one tried."""
        while True:
            await self._sleep(self._interval)
            try:
                await self.look()
            except Exception:  # noqa: BLE001 - the policy in force stays, and the files are loaded again at the next look
                self._seen = None
                _log.warning("looking at the policy files failed; the policy in force stays", exc_info=True)

    async def look(self) -> bool:
        """Look once; True when the files had changed. What was found is in force, or in `state.error`, when this returns."""
        now = await asyncio.to_thread(self._source.snapshot)
        if now == self._seen:
            return False
        if self._seen is not None:
            now = await self._settled(now)
            if now == self._seen:
                return False
        if self._good is not None and now == self._good:
            self._seen = now
            self._recovered()
            return True
        found: Policy | Refusal | None = self._vanished(now)
        if found is None:
            found = await asyncio.to_thread(self._source.load)
        if await asyncio.to_thread(self._source.snapshot) != now:
            return True  # changed while it was read: what was loaded may be half of each, so the next look decides
        self._seen = now
        if isinstance(found, Refusal):
            self._refused(found)
        else:
            self._put_in_force(found, now)
        return True

    async def _settled(self, now: Snapshot) -> Snapshot:
        """Wait until the files stay as they are for a moment: a writer may be in the middle of them."""
        waited = 0.0
        while waited < _SETTLE_LIMIT:
            await self._sleep(SETTLE)
            waited += SETTLE
            again = await asyncio.to_thread(self._source.snapshot)
            suspicious = again.blank and self._good is not None and not self._good.blank
            if again == now and (not suspicious or waited >= BLANK_WAIT):
                break
            now = again
        return now

    def _vanished(self, now: Snapshot) -> Refusal | None:
        if self._good is None:
            return None
        if self._good.project and not now.project:
            return Refusal(f"{self._source.config}: the policy file is gone", vanished=True)
        if self._good.global_ and not now.global_:
            return Refusal(f"{self._source.global_path}: the global policy file is gone", vanished=True)
        return None

    def _put_in_force(self, policy: Policy, snapshot: Snapshot) -> None:
        self._live.policy = policy
        cut = self.apply(policy)
        self._good = snapshot  # after `apply`: were it to fail, the next look loads and applies again
        state = self.state
        state.digest, state.loaded, state.loads = policy.digest, time.time(), state.loads + 1
        state.rules = sum(rule.layer != "builtin" for rule in policy.config.rules)
        state.error, state.error_since = "", 0.0
        more = f", {_count(cut, 'connection')} cut" if cut else ""
        self._notice("sidecar.policy-loaded", f"{_count(state.rules, 'rule')}{more}")
        _log.info("policy %s in force: %s%s", policy.digest[:12], _count(state.rules, "rule"), more)

    def _refused(self, refusal: Refusal) -> None:
        if self.state.error == refusal.message:
            return
        self.state.error, self.state.error_since = refusal.message, time.time()
        self._notice("sidecar.policy-vanished" if refusal.vanished else "sidecar.reload-failed", refusal.message)
        kept = (
            "the last good policy stays in force" if self._live.policy else "everything is refused until it is repaired"
        )
        _log.warning("%s; %s", refusal.message, kept)

    def _recovered(self) -> None:
        """The files are as they were when the policy in force was loaded."""
        if self.state.error:
            self.state.error, self.state.error_since = "", 0.0
            self._notice("sidecar.policy-loaded", "the policy file is again as it was loaded")

    def _notice(self, code: str, detail: str) -> None:
        self._audit.record(Event("notice", "sidecar", code, policy=self.state.digest[:12], detail=detail))
        self.changed()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
