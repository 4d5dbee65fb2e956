"""The capsule of ``kap run``: everything is prepared, the planes serve, and only then the command starts.

Rules: any failure before that ends the capsule with nothing of the command run; when kap ends, however it ends, the capsule ends with
it (bwrap dies with its parent, and the capsule's processes with bwrap). The planes run in this process, outside of the capsule, on
sockets that exist only inside of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

import msgspec

from kap.audit.event import Event
from kap.audit.log import AuditLog
from kap.backend import bubblewrap
from kap.backend.diagnosis import why_it_failed
from kap.backend.sockets import PlaneSocket, open_sockets
from kap.dns.server import NameServer
from kap.egress.plane import Kind, Plane
from kap.egress.resolve import SystemResolver
from kap.errors import BackendError, UsageError
from kap.host.attribution import Attribution
from kap.host.command import locate, visible_path
from kap.host.machine import look
from kap.host.own_addresses import OwnAddresses
from kap.host.signals import Signals
from kap.host.streams import Streams
from kap.host.trust import carry
from kap.host.upstream import upstream_proxy
from kap.policy.compiler import Policy
from kap.policy.live import Live
from kap.sandbox import environment
from kap.sandbox.filesystem import Found, beneath, mounts
from kap.sandbox.plan import Plan

HOSTNAME = "kap"
PROCESSES = 8192


class Job(msgspec.Struct, frozen=True):
    """What to run. `workspace`: the project, a real path; `passed`: names of host variables; `read_only`: host paths of ``--ro``;
    `events`: the audit log; `id`: the project's name in it."""

    command: tuple[str, ...]
    workspace: str
    policy: Policy
    events: Path
    id: str
    passed: tuple[str, ...] = ()
    read_only: tuple[str, ...] = ()


class Result(msgspec.Struct, frozen=True):
    """`status`: the command's exit status (128 + n for signal n); `refused`: requests refused, ``dns`` ones included."""

    status: int
    refused: int


class Counting:
    """A recorder that counts what is refused, in front of the log."""

    def __init__(self, log: AuditLog) -> None:
        self.refused = 0
        self._log = log

    def record(self, event: Event) -> None:
        """Count and pass on."""
        if event.verdict == "deny" and event.kind == "decision":
            self.refused += 1
        self._log.record(event)


def run(job: Job, say: Callable[[str], None]) -> Result:
    """Run `job` and wait for it; `say` gets what the person should know before. Call from the main thread.

    Raises `KapError`; then nothing of the command has run.
    """
    engine = bubblewrap.find_engine(os.environ.get("PATH", ""), job.workspace)
    streams = Streams()
    try:
        plan, setsid = _plan(job, say, interactive=streams.interactive)
        return _on_loop(lambda: _run(job, plan, engine, streams, setsid))
    finally:
        streams.close()


def _plan(job: Job, say: Callable[[str], None], *, interactive: bool) -> tuple[Plan, str]:
    settings = job.policy.config.run
    found = look(job.workspace, read_only=settings.read_only, hide=settings.hide, extra=job.read_only)
    for name in found.unprotected:
        say(
            f"{name} is reached by a symbolic link, which the command can replace; make it a plain file or directory to protect it"
        )
    for name in found.not_there:
        say(f"[run] hide: {name} is not there, so nothing is hidden")
    path = visible_path(found, os.environ.get("PATH", ""))
    here = _here()
    directory = here if beneath(here, job.workspace) else job.workspace
    program = locate(job.command[0], found, path, directory)
    trust = carry(os.environ, found)
    plan = Plan(
        command=(program, *job.command[1:]),
        directory=directory,
        mounts=mounts(found, HOSTNAME, trust.files),
        environment=environment.build(
            os.environ,
            passed=(*settings.env, *job.passed),
            path=path,
            home=found.person.home,
            user=found.person.name,
            trust=trust.variables,
        ),
        hostname=HOSTNAME,
        terminal=interactive,
        limits=(("RLIMIT_CORE", 1, 1), ("RLIMIT_NPROC", PROCESSES, PROCESSES)),
    )
    return plan, _setsid(found) if interactive else ""


def _here() -> str:
    try:
        return os.path.realpath(Path.cwd())
    except FileNotFoundError:  # somebody removed it
        return "/"


def _setsid(found: Found) -> str:
    try:
        return locate("setsid", found, (), "/")
    except UsageError:
        raise BackendError("a command on a terminal needs the program setsid", "install util-linux") from None


def _on_loop(work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    with contextlib.suppress(ImportError):
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(work())


async def _run(job: Job, plan: Plan, engine: bubblewrap.Engine, streams: Streams, setsid: str) -> Result:
    signals = Signals(streams)
    signals.install()
    box = None
    try:
        box = bubblewrap.start(plan, engine, streams.stdio, setsid=setsid)
        _raise_descriptor_limit()
        async with contextlib.AsyncExitStack() as stack:
            counting = await _serve(job, _sockets(box, plan), box, stack)
            await asyncio.sleep(0)
            await asyncio.sleep(0)  # two turns of the loop: what came meanwhile is read, then handled
            if signals.first is not None:
                return Result(128 + signals.first, 0)
            signals.forward_to(box.init)
            counting.record(_notice(job, "capsule.started"))
            box.release()
            streams.started()
            status = await _ended(box)
            counting.record(_notice(job, "capsule.ended", f"exit status {status}, {counting.refused} refused"))
            return Result(status, counting.refused)
    finally:
        if box is not None:
            box.kill()
        signals.remove()


def _raise_descriptor_limit() -> None:
    """As many descriptors as the system gives: each tunnel holds some. The command has its own limit by now."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _notice(job: Job, code: str, detail: str = "") -> Event:
    return Event("notice", "capsule", code, policy=job.policy.digest[:12], detail=detail)


def _sockets(box: bubblewrap.Box, plan: Plan) -> list[PlaneSocket]:
    try:
        sockets = open_sockets(box.init)
    except BackendError:
        if box.gave_up():  # then that is the reason
            raise why_it_failed() from None
        raise
    try:
        box.wait_until_held()
        box.verify(plan)
    except BackendError:
        for item in sockets:
            item.sock.close()
        raise
    return sockets


async def _serve(
    job: Job, sockets: list[PlaneSocket], box: bubblewrap.Box, stack: contextlib.AsyncExitStack
) -> Counting:
    """Have every plane serve its sockets; `stack` closes them all."""
    config = job.policy.config
    observe, limits = config.proxy.observe, config.proxy.limits
    log = AuditLog(
        job.events, capsule=job.id, max_bytes=observe.max_bytes, keep=observe.keep, attribute=Attribution(box.init)
    )
    stack.callback(log.close)
    counting = Counting(log)
    live = Live(job.policy)
    resolver = SystemResolver(seconds=limits.dns_seconds)
    stack.callback(resolver.close)
    plane = Plane(
        live, counting, resolver=resolver, limits=limits, upstream=upstream_proxy(config), own_addresses=OwnAddresses()
    )
    stack.push_async_callback(plane.close)
    addresses = tuple(dict.fromkeys(item.sock.getsockname()[0] for item in sockets))
    names = NameServer(live, counting, answer="self", addresses=addresses, limits=limits)
    stack.push_async_callback(names.close)
    for item in sockets:
        if item.plane == "dns-udp":
            await names.serve_udp(item.sock)
        elif item.plane == "dns-tcp":
            await names.serve_tcp(item.sock)
        else:
            await plane.serve(item.sock, cast(Kind, item.plane))
    return counting


async def _ended(box: bubblewrap.Box) -> int:
    """The command's exit status, as soon as bwrap ends."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    fd = os.pidfd_open(box.pid)
    try:
        loop.add_reader(fd, ended.set)
        await ended.wait()
        loop.remove_reader(fd)
    finally:
        os.close(fd)
    box.reap()
    status = box.poll()
    return 70 if status is None else status
