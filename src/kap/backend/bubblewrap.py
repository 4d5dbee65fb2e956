"""Run a `Plan` with bubblewrap: started and set up, but held before the command until `Box.release`.

Rules: whatever goes wrong before `release` ends the capsule with nothing of the command run. Everything bwrap needs comes through
descriptors; none of them is left open in the command.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec

from kap.backend.diagnosis import no_bubblewrap, why_it_failed
from kap.errors import BackendError
from kap.sandbox import seccomp
from kap.sandbox.bubblewrap import Descriptors, arguments
from kap.sandbox.plan import File, Pin, Plan, Writable

START_SECONDS = 15.0
STOP_SECONDS = 5.0
OPTIONAL = frozenset({"--bind-fd", "--disable-userns", "--size"})
REQUIRED = frozenset(
    {"--perms", "--ro-bind-data", "--seccomp", "--info-fd", "--block-fd", "--remount-ro", "--cap-drop"}
)


class Engine(msgspec.Struct, frozen=True):
    """A usable bwrap: where it is and which optional arguments it has."""

    program: str
    options: frozenset[str]


class Stdio(msgspec.Struct, frozen=True):
    """The command's descriptors 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


def find_engine() -> Engine:
    """Raises `BackendError` where bwrap is missing or too old."""
    program = shutil.which("bwrap")
    if program is None:
        raise no_bubblewrap()
    try:
        done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=START_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{program} does not run: {error}", "reinstall the package bubblewrap") from error
    words = frozenset((done.stdout + done.stderr).split())
    missing = sorted(REQUIRED - words)
    if missing:
        raise BackendError(
            f"{program} is too old: it lacks {', '.join(missing)}",
            "install bubblewrap 0.6 or newer (Debian 12 and Ubuntu 22.04 have it)",
        )
    return Engine(program, OPTIONAL & words)


class Box:
    """One running capsule. `pid` is bwrap, `init` the first process of the capsule (its process 1, seen from the host)."""

    def __init__(self, process: subprocess.Popen[bytes], init: int, gate: int) -> None:
        self.pid = process.pid
        self.init = init
        self._process = process
        self._gate = gate

    def release(self) -> None:
        """Let the command run."""
        os.write(self._gate, b"x")
        os.close(self._gate)
        self._gate = -1

    def poll(self) -> int | None:
        """The exit status as a shell would show it (128 + n for signal n), or None while it runs."""
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def kill(self) -> None:
        """End everything in the capsule now and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self.reap()

    def reap(self) -> None:
        """Wait until bwrap and the capsule's first process are gone; with that one the kernel ends all the others."""
        self._process.wait()
        with contextlib.suppress(OSError):
            fd = os.pidfd_open(self.init)
            try:
                select.select([fd], [], [], STOP_SECONDS)
            finally:
                os.close(fd)
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1


def start(plan: Plan, engine: Engine, stdio: Stdio, *, setsid: str = "") -> Box:
    """Set the capsule up and hold it. Call from the main thread: the capsule dies with the thread that started it.

    Raises `BackendError`.
    """
    fds = _Opened()
    try:
        info, gate = fds.pipe()
        block_reader, block_writer = fds.pipe()
        words = arguments(
            plan,
            _descriptors(plan, engine, fds, gate, fds.both_ends(block_reader)),
            options=engine.options,
            setsid=setsid,
        )
        args = fds.content(b"\0".join(os.fsencode(word) for word in words[: words.index("--")]) + b"\0")
        command = [engine.program, "--args", str(args), *words[words.index("--") :]]
        try:
            process = subprocess.Popen(
                command,
                stdin=stdio.stdin,
                stdout=stdio.stdout,
                stderr=stdio.stderr,
                env=dict(plan.environment),
                pass_fds=tuple(fds.passed),
                start_new_session=plan.terminal,
                extra_groups=[] if os.geteuid() == 0 else None,
                cwd="/",
            )
        except OSError as error:
            raise BackendError(
                f"{engine.program} does not start: {error}", "check the installation of bubblewrap"
            ) from error
        fds.close_passed()
        init = _read_info(info, process)
        box = Box(process, init, os.dup(block_writer))
        try:
            _limit(init, plan)
        except OSError as error:
            box.kill()
            raise BackendError(f"cannot set the capsule's limits: {error}", "") from error
        return box
    finally:
        fds.close()


class _Opened:
    """Descriptors of one start: `passed` go to bwrap, and nothing stays open after `close`."""

    def __init__(self) -> None:
        self.passed: list[int] = []
        self._own: list[int] = []

    def pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        self._own += [reader, writer]
        return reader, writer

    def both_ends(self, reader: int) -> int:
        """The pipe of `reader`, open for reading and writing: its reader never sees an end of file, so a kap that dies before
        `release` does not let the command run."""
        return self._pass(os.open(f"/proc/self/fd/{reader}", os.O_RDWR))

    def content(self, data: bytes) -> int:
        fd = self._pass(os.memfd_create("kap", os.MFD_CLOEXEC))
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def source(self, path: str) -> int:
        """An absolute path without symbolic links, opened one name at a time so that none can be slipped in meanwhile."""
        fd = os.open("/", os.O_PATH)
        for name in Path(path).parts[1:]:
            try:
                below = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        if stat.S_ISLNK(os.fstat(fd).st_mode):
            os.close(fd)
            raise BackendError(
                f"{path} became a symbolic link while the capsule started", "look who changes it, then run again"
            )
        return self._pass(fd)

    def pass_on(self, fd: int) -> int:
        self._own.remove(fd)
        return self._pass(fd)

    def _pass(self, fd: int) -> int:
        self.passed.append(fd)
        return fd

    def close_passed(self) -> None:
        while self.passed:
            os.close(self.passed.pop())

    def close(self) -> None:
        self.close_passed()
        while self._own:
            os.close(self._own.pop())


def _descriptors(plan: Plan, engine: Engine, fds: _Opened, info: int, block: int) -> Descriptors:
    sources: dict[int, int] = {}
    contents: dict[int, int] = {}
    for index, mount in enumerate(plan.mounts):
        match mount:
            case File(content=content):
                contents[index] = fds.content(content)
            case Writable(source=path) | Pin(path=path) if "--bind-fd" in engine.options:
                # What the plan looked at is what gets mounted, even if another capsule swaps the path meanwhile.
                sources[index] = fds.source(path)
            case _:
                pass
    machine = os.uname().machine
    try:
        program = seccomp.program(machine)
    except KeyError:
        raise BackendError(f"kap has no system call filter for {machine}", "run kap on x86_64 or aarch64") from None
    return Descriptors(fds.pass_on(info), block, fds.content(program), sources, contents)


def _read_info(info: int, process: subprocess.Popen[bytes]) -> int:
    """The host's number of the capsule's first process, as bwrap tells it. Raises `BackendError` when bwrap gives up instead."""
    said = b""
    while b"}" not in said:
        ready, _, _ = select.select([info], [], [], START_SECONDS)
        piece = os.read(info, 4096) if ready else b""
        if not piece:
            process.kill()
            process.wait()
            raise why_it_failed()
        said += piece
    return int(json.loads(said)["child-pid"])


def _limit(init: int, plan: Plan) -> None:
    for name, soft, hard in plan.limits:
        kind = getattr(resource, name)
        _, ceiling = resource.prlimit(init, kind)
        if ceiling != resource.RLIM_INFINITY:
            hard = ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)
            soft = hard if soft == resource.RLIM_INFINITY else min(soft, hard)
        resource.prlimit(init, kind, (soft, hard))
