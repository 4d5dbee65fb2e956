"""From a decided target to a connected socket: resolve once, vet every address, dial exactly a vetted one.

Rules: the addresses that are vetted are the ones that are dialled, nothing is looked up twice; an address of kap itself is refused
whatever the policy says; attempts are staggered in the resolver's order, the first to connect wins and the rest are dropped; the
deadline is the owner's (`Dial.cancel`). A `Dial` reports to its owner exactly once, or never after `cancel`.
"""

from __future__ import annotations

import asyncio
import errno
import sys
from collections.abc import Callable, Container, Coroutine
from typing import Any, Protocol

from kap.egress.resolve import ResolveError, Resolver
from kap.egress.verdicts import Verdicts
from kap.names.addresses import classify
from kap.names.hosts import Target
from kap.policy.compiler import Policy

STAGGER = 0.25
"""Seconds before the next address is tried beside one that has not answered (RFC 8305 5: 250 ms)."""

ATTEMPTS = 6
"""Addresses of one name that are tried at most."""

_FORBIDDEN = frozenset({"egress.deny-rule", "egress.always-denied"})
_LOCAL = frozenset({"loopback", "link-local", "metadata", "unspecified", "this-network"})


class Owner(Protocol):
    """Who wants the connection."""

    def dialled(self, protocol: Any, address: str) -> None:
        """Connected: `protocol` was made by the factory and has had its ``connection_made``."""

    def dial_failed(self, code: str, address: str, detail: str, status: int = 0) -> None:
        """No connection: one code, the address it is about ("" where there is none), words for the log; `status`: of an upstream
        proxy's refusal."""


class Connector:
    """What all dials of a plane share; `loop` is set when the plane starts."""

    __slots__ = ("loop", "own_addresses", "resolver", "verdicts")

    loop: asyncio.AbstractEventLoop

    def __init__(self, resolver: Resolver, own_addresses: Container[str]) -> None:
        self.resolver = resolver
        self.own_addresses = own_addresses
        self.verdicts = Verdicts()

    def refusal(self, policy: Policy, target: Target, address: str, subject: str) -> str:
        """The code that forbids dialling `target` at `address`, or "" when it may be dialled."""
        if address in self.own_addresses:
            return "egress.own-address"
        decision = self.verdicts.address(policy, target, address, subject)
        return "" if decision.allowed else decision.code

    def dial(
        self, policy: Policy, target: Target, subject: str, factory: Callable[[], asyncio.Protocol], owner: Owner
    ) -> Dial:
        """Start connecting to `target`. May report to `owner` before it returns."""
        dial = Dial(self, target, factory, owner)
        dial.start(lambda address: self.refusal(policy, target, address, subject))
        return dial

    def dial_proxy(
        self,
        policy: Policy,
        target: Target,
        subject: str,
        factory: Callable[[], asyncio.Protocol],
        owner: Owner,
        ssl: Any = None,
    ) -> Dial:
        """Connect to the upstream proxy `target`, which needs no allow rule: see `proxy_refusal`."""
        dial = Dial(self, target, factory, owner, ssl)
        dial.start(lambda address: self.proxy_refusal(policy, target, address, subject))
        return dial

    def proxy_refusal(self, policy: Policy, target: Target, address: str, subject: str) -> str:
        """The code that forbids the upstream proxy `target` at `address`, or "".

        One of the machine's owner may be anywhere but at kap itself. One that a project chose must not undo what is denied, nor lead
        to what only this machine reaches (itself, its link, metadata services) unless that is granted.
        """
        if address in self.own_addresses:
            return "egress.own-address"
        config = policy.config
        if config.wrote("global", "proxy", "upstream") or not config.wrote("project", "proxy", "upstream"):
            return ""
        named = self.verdicts.egress(policy, target, "connect", subject)
        if named.code in _FORBIDDEN:
            return named.code
        placed = self.verdicts.address(policy, target, address, subject)
        local = placed.code in _FORBIDDEN or classify(address).name in _LOCAL
        return "" if placed.allowed or not local else placed.code


def start_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Run `work` to its first wait at once where Python can (3.12), else at the loop's next turn."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


class Dial:
    """One connection being made. Holds at most one task per attempt, and one while the name is looked up."""

    __slots__ = (
        "_addresses",
        "_connector",
        "_done",
        "_error",
        "_factory",
        "_next",
        "_owner",
        "_ssl",
        "_target",
        "_tasks",
        "_timer",
    )

    def __init__(
        self,
        connector: Connector,
        target: Target,
        factory: Callable[[], asyncio.Protocol],
        owner: Owner,
        ssl: Any = None,
    ) -> None:
        self._connector = connector
        self._target = target
        self._factory = factory
        self._owner = owner
        self._ssl = ssl
        self._addresses: list[str] = []
        self._next = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._error: OSError | None = None
        self._done = False

    def start(self, refusal: Callable[[str], str]) -> None:
        """Resolve (without a task where the answer is known), vet with `refusal`, dial."""
        host = self._target.host
        known = (host.text,) if host.is_ip else self._connector.resolver.cached(host.text)
        if known is not None:
            self._vet(known, refusal)
        else:
            self._spawn(self._look_up(host.text, refusal))

    def cancel(self) -> None:
        """Stop; nothing is reported any more and no attempt stays behind."""
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = start_task(self._connector.loop, work)
        if not task.done():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _look_up(self, name: str, refusal: Callable[[str], str]) -> None:
        try:
            addresses = await self._connector.resolver.resolve(name)
        except ResolveError as error:
            self._fail("egress.dns-failure", "", str(error))
        except Exception as error:  # noqa: BLE001 - a resolver that breaks must not leave the client waiting
            self._fail("egress.internal-error", "", repr(error))
        else:
            if not self._done:
                self._vet(addresses, refusal)

    def _vet(self, addresses: tuple[str, ...], refusal: Callable[[str], str]) -> None:
        refused = ""
        about = ""
        for address in addresses[:ATTEMPTS]:
            code = refusal(address)
            if not code:
                self._addresses.append(address)
            elif not refused:
                refused, about = code, address
        if self._addresses:
            self._try_next()
        elif refused:
            self._fail(refused, about, "")
        else:
            self._fail("egress.dns-failure", "", "the resolver gave no address")

    def _try_next(self) -> None:
        """The next address; the one after it has its timer before this one can fail (which it may do at once)."""
        if self._done or self._next >= len(self._addresses):
            return
        address = self._addresses[self._next]
        self._next += 1
        if self._next < len(self._addresses):
            self._timer = self._connector.loop.call_later(STAGGER, self._try_next)
        self._spawn(self._attempt(address))

    async def _attempt(self, address: str) -> None:
        name = self._target.host.text if self._ssl is not None else None
        try:
            transport, protocol = await self._connector.loop.create_connection(
                self._factory, address, self._target.port, ssl=self._ssl, server_hostname=name
            )
        except OSError as error:  # ssl.SSLError is one
            self._attempt_failed(address, error)
            return
        except Exception as error:  # noqa: BLE001
            self._fail("egress.internal-error", address, repr(error))
            return
        if self._done:
            transport.abort()
            return
        self._finish()
        self._owner.dialled(protocol, address)

    def _attempt_failed(self, address: str, error: OSError) -> None:
        if self._done:
            return
        self._error = error
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._next < len(self._addresses):
            self._try_next()
        elif not self._others():
            code = "egress.connect-timeout" if error.errno == errno.ETIMEDOUT else "egress.connect-failed"
            self._fail(code, address, error.strerror or str(error))

    def _fail(self, code: str, address: str, detail: str) -> None:
        if self._done:
            return
        self._finish()
        self._owner.dial_failed(code, address, detail)

    def _finish(self) -> None:
        """From here on nothing is reported; the other attempts go away (the running one ends by itself)."""
        self._done = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._others():
            task.cancel()

    def _others(self) -> list[asyncio.Task[None]]:
        """The attempts beside the one that is running."""
        if not self._tasks:
            return []
        current = asyncio.current_task(self._connector.loop)
        return [task for task in self._tasks if task is not current and not task.done()]
