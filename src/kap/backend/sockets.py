"""A capsule's listening sockets, made inside its network namespace by a short-lived child (`kap.backend.inside`)."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from typing import NoReturn

import msgspec

from kap.backend import inside
from kap.errors import BackendError

PLANES = ("proxy", "http", "tls", "dns-tcp", "dns-udp")
SECONDS = 15.0
_MAX_SOCKETS = 2 * len(PLANES)


class PlaneSocket(msgspec.Struct, frozen=True):
    """One socket inside the capsule: `plane` is one of `PLANES`."""

    plane: str
    sock: socket.socket


def open_sockets(pid: int) -> list[PlaneSocket]:
    """The sockets of every plane, on 127.0.0.1 and (where the machine has it) ::1, in the network namespace of process `pid`.

    Raises `BackendError`; then none is left open. Call while the process has one thread: it forks.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            child = os.fork()
            if child == 0:
                _child(theirs, pid)
        ours.settimeout(SECONDS)
        try:
            message, descriptors, _, _ = socket.recv_fds(ours, 4096, _MAX_SOCKETS)
        except OSError as error:
            os.kill(child, signal.SIGKILL)
            raise BackendError(f"cannot make the capsule's sockets: {error}", _HINT) from error
        finally:
            os.waitpid(child, 0)
    try:
        names = json.loads(message) if descriptors else []
        found = [PlaneSocket(name, socket.socket(fileno=fd)) for name, fd in zip(names, descriptors, strict=True)]
    except (OSError, ValueError) as error:
        for fd in descriptors:
            os.close(fd)
        raise BackendError(f"cannot make the capsule's sockets: {error}", _HINT) from error
    missing = [plane for plane in PLANES if all(item.plane != plane for item in found)]
    if missing:
        for item in found:
            item.sock.close()
        reason = message.decode(errors="replace") or f"{', '.join(missing)} missing"
        raise BackendError(f"cannot make the capsule's sockets: {reason}", _HINT)
    return found


def _child(channel: socket.socket, pid: int) -> NoReturn:
    """In the forked child: the sockets are sent, or words that say why not. Never returns."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())  # the loop's handlers are the parent's
        inside.pass_sockets(channel, pid)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is told, and this process ends here
        with contextlib.suppress(OSError):
            channel.send(f"{type(error).__name__}: {error}".encode()[:1024])
    finally:
        os._exit(0)


_HINT = "kap must be allowed to enter the namespaces it makes; if a container or a security module forbids that, run kap outside of it"
