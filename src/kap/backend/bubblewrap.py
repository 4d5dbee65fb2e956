"""Run a `Plan` with bubblewrap: started and set up, but held before the command until `Box.release`.

Rules: whatever goes wrong before `release` ends the capsule with nothing of the command run. The gate is the pipe that bwrap reads the
system call filter from, once all else is set up: until the filter is written bwrap waits, and where kap dies first it reads an empty
filter, which the kernel refuses, and gives up. (``--block-fd`` alone would let the command run when kap dies.) Everything bwrap needs
comes through descriptors; none of them is left open in the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import termios
import time
from pathlib import Path

import msgspec

from kap.backend.diagnosis import no_bubblewrap, old_bubblewrap, why_it_failed
from kap.errors import BackendError
from kap.sandbox import seccomp
from kap.sandbox.bubblewrap import Descriptors, arguments
from kap.sandbox.filesystem import beneath
from kap.sandbox.plan import File, Pin, Plan, Writable

START_SECONDS = 15.0
PR_SET_CHILD_SUBREAPER = 36
STOP_SECONDS = 5.0
ENDING_SECONDS = 1.0
_PIECE = 8  # bytes: one instruction
OPTIONAL = frozenset({"--bind-fd", "--disable-userns", "--size"})
REQUIRED = frozenset({"--perms", "--ro-bind-data", "--seccomp", "--info-fd", "--remount-ro", "--cap-drop"})


class Engine(msgspec.Struct, frozen=True):
    """A usable bwrap: where it is and which optional arguments it has."""

    program: str
    options: frozenset[str]


class Stdio(msgspec.Struct, frozen=True):
    """The command's descriptors 0, 1 and 2."""

    stdin: int
    stdout: int
    stderr: int


def find_engine(path: str, writable: str) -> Engine:
    """The first bwrap on `path` (as in PATH) that does not lie in `writable`, the workspace: one in there a capsule may have put there.

    Raises `BackendError` where bwrap is missing or too old.
    """
    places = [place for place in path.split(os.pathsep) if place.startswith("/")]
    outside = [place for place in places if not beneath(os.path.realpath(place), writable)]
    program = shutil.which("bwrap", path=os.pathsep.join(outside) or "/usr/bin")
    if program is None or beneath(os.path.realpath(program), writable):
        raise no_bubblewrap()
    try:
        done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=START_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"{program} does not run: {error}", "reinstall the package bubblewrap") from error
    words = frozenset((done.stdout + done.stderr).split())
    missing = sorted(REQUIRED - words)
    if missing:
        raise old_bubblewrap(program, missing)
    options = OPTIONAL & words
    if os.statvfs("/proc/sys").f_flag & os.ST_RDONLY:  # in a container: bwrap could not write what the option needs
        options -= {"--disable-userns"}
    return Engine(program, options)


class Box:
    """One running capsule. `pid` is bwrap, `init` the first process of the capsule (its process 1, seen from the host).

    Raises `BackendError` where that is gone already; `process` and `gate` are then still the caller's.
    """

    def __init__(self, process: subprocess.Popen[bytes], init: int, gate: int, key: bytes) -> None:
        self.pid = process.pid
        self.init = init
        try:
            self._init_fd = os.pidfd_open(init)
        except ProcessLookupError:  # it gave up, and bwrap has reaped it, before we came to this
            raise why_it_failed() from None
        self._process = process
        self._gate = gate
        self._key = key

    def wait_until_held(self) -> None:
        """Wait until bwrap has set everything up and holds the command: it then reads the first piece of the filter, which alone is no
        filter. Raises `BackendError` when it gives up instead."""
        try:
            os.write(self._gate, self._key[:_PIECE])
        except BrokenPipeError:
            raise why_it_failed() from None
        deadline = time.monotonic() + START_SECONDS
        while struct.unpack("i", fcntl.ioctl(self._gate, termios.FIONREAD, b"\0" * 4))[0]:
            if self.poll() is not None:
                raise why_it_failed()
            if time.monotonic() > deadline:
                raise BackendError(
                    f"bubblewrap did not set the capsule up within {START_SECONDS:g} s", "is the machine overloaded?"
                )
            time.sleep(0.001)

    def verify(self, plan: Plan) -> None:
        """See that what the plan makes read-only in the workspace is so in the held capsule, and stands where the host has it: another
        capsule of the same workspace may have moved things while this one was set up. Raises `BackendError`."""
        for mount in plan.mounts:
            if isinstance(mount, Pin) and not mount.writable:
                inside = _open_plainly(f"/proc/{self.init}/root", mount.path)
                try:
                    here, there = Path(mount.path).lstat(), os.fstat(inside)
                    same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
                    frozen = os.fstatvfs(inside).f_flag & os.ST_RDONLY
                except FileNotFoundError:
                    raise _changed(mount.path) from None
                finally:
                    os.close(inside)
                if not same or not frozen:
                    raise _changed(mount.path)

    def release(self) -> None:
        """Let the command run: bwrap gets the rest of the filter. Call after `wait_until_held`. Raises `BackendError`."""
        try:
            os.write(self._gate, self._key[_PIECE:])
        except BrokenPipeError:
            raise why_it_failed() from None
        os.close(self._gate)
        self._gate = -1

    def poll(self) -> int | None:
        """The exit status as a shell would show it (128 + n for signal n), or None while it runs."""
        status = self._process.poll()
        return status if status is None or status >= 0 else 128 - status

    def gave_up(self) -> bool:
        """Whether the capsule's first process has ended. bwrap ends only after it, and it loses its namespaces before it has ended: then
        that is a moment away, and waited for."""
        return bool(select.select([self._init_fd], [], [], ENDING_SECONDS)[0])

    def kill(self) -> None:
        """End everything in the capsule now and wait until it is gone."""
        with contextlib.suppress(OSError):
            self._process.kill()
        with contextlib.suppress(OSError):  # before the release bwrap does not yet take it along
            signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
        self.reap()

    def reap(self) -> None:
        """Wait until bwrap and the capsule's first process are gone; with that one the kernel ends all the others. Closes this box."""
        self._process.wait()
        if self._init_fd >= 0:
            select.select([self._init_fd], [], [], STOP_SECONDS)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.init, os.WNOHANG)  # ours since bwrap ended: see _adopt_orphans
            os.close(self._init_fd)
            self._init_fd = -1
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1


def start(plan: Plan, engine: Engine, stdio: Stdio, *, setsid: str = "") -> Box:
    """Set the capsule up and hold it. Call from the main thread: the capsule dies with the thread that started it.

    Raises `BackendError`.
    """
    _adopt_orphans()
    fds = _Opened()
    try:
        key = _filter()
        info, info_writer = fds.pipe()
        key_reader, gate = fds.pipe()
        descriptors = _descriptors(plan, engine, fds, info_writer, key_reader)
        words = arguments(plan, descriptors, options=engine.options, setsid=setsid)
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
        box = _boxed(process, init, gate, key)
        try:
            _limit(init, plan)
        except ProcessLookupError:
            box.kill()
            raise why_it_failed() from None
        except OSError as error:
            box.kill()
            raise BackendError(f"cannot set the capsule's limits: {error}", "") from error
        return box
    finally:
        fds.close()


def _boxed(process: subprocess.Popen[bytes], init: int, gate: int, key: bytes) -> Box:
    own = os.dup(gate)
    try:
        return Box(process, init, own, key)
    except BackendError:
        os.close(own)
        process.kill()
        process.wait()
        raise


class _Opened:
    """Descriptors of one start: `passed` go to bwrap, and nothing stays open after `close`."""

    def __init__(self) -> None:
        self.passed: list[int] = []
        self._own: list[int] = []

    def pipe(self) -> tuple[int, int]:
        reader, writer = os.pipe()
        self._own += [reader, writer]
        return reader, writer

    def content(self, data: bytes) -> int:
        fd = self._pass(os.memfd_create("kap", os.MFD_CLOEXEC))
        with os.fdopen(os.dup(fd), "wb") as file:
            file.write(data)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd

    def source(self, path: str) -> int:
        return self._pass(_open_plainly("/", path))

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


def _filter() -> bytes:
    machine = os.uname().machine
    try:
        return seccomp.program(machine)
    except KeyError:
        raise BackendError(f"kap has no system call filter for {machine}", "run kap on x86_64 or aarch64") from None


def _descriptors(plan: Plan, engine: Engine, fds: _Opened, info: int, key: int) -> Descriptors:
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
    return Descriptors(fds.pass_on(info), fds.pass_on(key), sources, contents)


def _adopt_orphans() -> None:
    """Make this process the reaper of what it started (prctl(2)), so that nothing is left behind where process 1 does not reap."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _open_plainly(root: str, path: str) -> int:
    """The absolute `path` below `root`, opened one name at a time, so that no symbolic link can be slipped in. Raises `BackendError`."""
    fd = os.open(root, os.O_PATH)
    try:
        for name in Path(path).parts[1:]:
            below = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        if not stat.S_ISLNK(os.fstat(fd).st_mode):
            return fd
    except OSError as error:
        os.close(fd)
        raise _changed(path) from error
    os.close(fd)
    raise _changed(path)


def _changed(path: str) -> BackendError:
    return BackendError(f"{path} changed while the capsule started", "look who changes it, then run again")


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
