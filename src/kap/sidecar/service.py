"""The sidecar, put together: policy, log, planes, listeners, and their order.

Rules: nothing listens before it is decided which policy is in force, even if that is "none, refuse everything"; all listeners open or
the process ends with the reason; what dies later is opened again and reported; SIGTERM stops listening at once, lets open connections
end for a moment, then ends them. Killed at any point, nothing passes: there is no other way out of the capsule than these sockets.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kap import __version__
from kap.audit.event import Event
from kap.audit.log import AuditLog
from kap.config.model import Proxy
from kap.egress.credentials import upstream_proxy
from kap.policy.compiler import Policy
from kap.policy.live import Live
from kap.sidecar import status as status_file
from kap.sidecar.interfaces import find_addresses
from kap.sidecar.listeners import DEFAULT_PORTS, Endpoint, Kind, Listener, Supervisor, bind, parse_endpoint
from kap.sidecar.planes import Planes
from kap.sidecar.reload import Reloader
from kap.sidecar.source import PolicySource, Refusal
from kap.sidecar.status import PolicyStatus, Status

DEFAULT_LOG = Path("/var/log/kap/events.jsonl")
_ANYWHERE = "0.0.0.0"  # noqa: S104 - the sidecar's container publishes nothing; the capsule's network is all that reaches it
_DRAIN_STEP = 0.05

_log = logging.getLogger("kap.sidecar")


class Options(msgspec.Struct, frozen=True):
    """The command line. `listen`: where each kind listens, else the policy's address, else everywhere at the usual port (``gate``: only
    where it is given). `log`: None for the policy's, else `DEFAULT_LOG`. `status`: None for ``status.json`` beside the log.
    `own_addresses`: what allowed names are answered with, () to find out; all other addresses of this machine are never dialled either.
    `drain`: seconds open connections have at the end. `capsule`: put into every event. `addons`: scripts of other people's mitmproxy
    addons, for what comes in by the gate."""

    config: Path
    global_path: Path | None = None
    global_required: bool = False
    log: Path | None = None
    status: Path | None = None
    listen: Mapping[Kind, Endpoint] = {}
    transparent: bool = True
    own_addresses: tuple[str, ...] = ()
    drain: float = 5.0
    capsule: str = ""
    addons: tuple[Path, ...] = ()


class Service:
    """One sidecar: `prepare`, `run`, `close`. `status` is what ``status.json`` says; `frame` names what the planes run under."""

    def __init__(self, options: Options, *, frame: str = "plain") -> None:
        self._options = options
        self._source = PolicySource(
            options.config, options.global_path, global_required=options.global_required, check=_check_settings
        )
        log = options.log or self._log_of_policy()
        self.live = Live()
        self.audit = AuditLog(log, capsule=options.capsule)
        self.status_path = options.status or log.with_name("status.json")
        self.status = Status(__version__, os.getpid(), time.time(), frame=frame)
        self.reloader = Reloader(self._source, self.live, self.audit, apply=self._apply, changed=self.report)
        self.planes: Planes | None = None
        self.supervisor = Supervisor((), self.audit)
        self._stopping = ""

    async def prepare(self) -> Planes:
        """Have a policy in force where there is one, and the planes, which listen to nobody yet. Raises `KapError`."""
        await self.reloader.look()
        policy = self.live.policy
        found = find_addresses()
        answers = self._options.own_addresses or found.capsule
        self.status.own_addresses = list(answers)
        self.planes = Planes(
            self.live,
            self.audit,
            policy.config.proxy if policy else Proxy(),
            own=(*found.own, *answers),
            answers=answers,
            transparent=self._options.transparent,
            gate="gate" in self._options.listen,
        )
        return self.planes

    async def run(self, stop: asyncio.Event) -> None:
        """Serve what was prepared until `stop` is set, and end. Raises `KapError` where it cannot."""
        try:
            await self._open()
            gc.collect()
            gc.freeze()  # what is alive now stays alive: no collection looks at it again
            await self._serve(stop)
        finally:
            await self._close_planes()

    def close(self) -> None:
        """Say how it is now, and close the log. The last call."""
        self.report()
        self.audit.close()

    def stopping(self, why: str) -> None:
        """Remember, for the log, what ends the service."""
        self._stopping = self._stopping or why

    def report(self) -> None:
        """Write ``status.json``."""
        status = self.status
        status.policy = PolicyStatus(**msgspec.structs.asdict(self.reloader.state), source=str(self._options.config))
        status.listeners = [listener.status for listener in self.supervisor.listeners]
        status.problems = self._problems()
        status.healthy = not status.problems
        status.connections = self.planes.connections if self.planes else 0
        status.events_dropped = self.audit.dropped
        policy = self.live.policy
        status.restart_needed = self.planes.restart_needed(policy) if self.planes and policy else []
        status.updated = time.time()
        try:
            status_file.write(self.status_path, status)
        except OSError as error:
            _log.warning("cannot write %s: %s", self.status_path, error.strerror)

    async def _open(self) -> None:
        """Listeners, by the policy in force, or by the defaults where there is none."""
        assert self.planes is not None
        policy = self.live.policy
        self.supervisor = Supervisor(
            self._bind(policy.config.proxy if policy else Proxy(), self.planes), self.audit, changed=self.report
        )
        await self.supervisor.start()
        up = ", ".join(f"{one.status.kind} {one.status.address}:{one.status.port}" for one in self.supervisor.listeners)
        self._notice("sidecar.started", f"kap {__version__} on {up}")
        _log.info("kap %s (%s) listens: %s", __version__, self.status.frame, up)
        self.report()

    def _bind(self, proxy: Proxy, planes: Planes) -> list[Listener]:
        """Every socket bound, or none: those that were are closed again where one fails. Raises `KapError`."""
        wanted: dict[Kind, Endpoint] = {"proxy": parse_endpoint(proxy.listen, DEFAULT_PORTS["proxy"])}
        if self._options.transparent:
            wanted |= {"http": Endpoint(_ANYWHERE, 80), "tls": Endpoint(_ANYWHERE, 443)}
        wanted["dns"] = parse_endpoint(proxy.dns_listen, DEFAULT_PORTS["dns"])
        if "gate" in self._options.listen:
            wanted["gate"] = self._options.listen["gate"]
        made: list[Listener] = []
        try:
            for kind, usual in wanted.items():
                for sock in bind(kind, self._options.listen.get(kind, usual)):
                    made.append(Listener(kind, sock, planes.server(kind, sock)))  # noqa: PERF401 - kept where `bind` raises
        except BaseException:
            for listener in made:
                listener.sock.close()
            raise
        return made

    async def _serve(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part) for part in (self.reloader.run(), self.supervisor.run(), self._beat())]
            await stop.wait()
            for task in tasks:
                task.cancel()

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(status_file.HEARTBEAT)
            self.report()

    async def _close_planes(self) -> None:
        if self.planes is not None:
            self.status.listeners = []
            self.supervisor = Supervisor((), self.audit)
            self.planes.stop_accepting()
            self.report()
            await self._drain(self.planes)
            await self.planes.close()
            self._notice("sidecar.stopped", self._stopping)
            _log.info("stopped: %s", self._stopping or "an error")

    async def _drain(self, planes: Planes) -> None:
        """Give open connections their moment."""
        deadline = time.monotonic() + self._options.drain
        while planes.connections and time.monotonic() < deadline:  # noqa: ASYNC110 - a plane has no event for "empty"
            await asyncio.sleep(_DRAIN_STEP)

    def _apply(self, policy: Policy) -> int:
        if self.planes is None:
            observe = policy.config.proxy.observe
            self.audit.resize(max_bytes=observe.max_bytes, keep=observe.keep)
            return 0
        needed = self.planes.restart_needed(policy)
        if needed:
            _log.warning("%s changed: restart the sidecar for that", ", ".join(needed))
        return self.planes.apply(policy)

    def _problems(self) -> list[str]:
        listeners = self.supervisor.listeners
        problems = [
            f"{one.kind} {one.address}:{one.port}: {one.error}" for one in (x.status for x in listeners) if not one.up
        ]
        if not listeners:
            problems.append("no listener is up")
        if self.live.policy is None:
            problems.append(f"no policy is in force: {self.reloader.state.error or 'none was found yet'}")
        return problems

    def _log_of_policy(self) -> Path:
        """Where the policy wants the log: known before anything is logged."""
        found = self._source.load()
        configured = "" if isinstance(found, Refusal) else found.config.proxy.observe.log
        return Path(configured) if configured else DEFAULT_LOG

    def _notice(self, code: str, detail: str) -> None:
        digest = self.reloader.state.digest[:12]
        self.audit.record(Event("notice", "sidecar", code, policy=digest, detail=detail))


def _check_settings(policy: Policy) -> None:
    """What a policy names outside itself has to be there: the upstream proxy's credentials and CA. Raises `KapError`."""
    upstream_proxy(policy.config.proxy.upstream)
