"""A capsule's listening sockets, made inside its network namespace by a short-lived child (`kap.backend.inside`)."""

from __future__ import annotations

import array
import json
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

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

    Raises `BackendError`; then none is left open.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(SECONDS)
        try:
            # The running interpreter, isolated: nothing of the workspace or the user's environment is imported.
            command = [sys.executable, "-I", str(Path(__file__).with_name("inside.py")), str(theirs.fileno()), str(pid)]
            done = subprocess.run(
                command, pass_fds=[theirs.fileno()], capture_output=True, timeout=SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendError(f"cannot make the capsule's sockets: {error}", _HINT) from error
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip()[-300:]
            raise BackendError(f"cannot make the capsule's sockets: {reason}", _HINT)
        found = _receive(ours)
    missing = [plane for plane in PLANES if all(item.plane != plane for item in found)]
    if missing:
        for item in found:
            item.sock.close()
        raise BackendError(f"cannot make the capsule's sockets: {', '.join(missing)} missing", _HINT)
    return found


def _receive(channel: socket.socket) -> list[PlaneSocket]:
    size = array.array("i").itemsize
    data, ancillary, _, _ = channel.recvmsg(4096, socket.CMSG_SPACE(_MAX_SOCKETS * size))
    descriptors = array.array("i")
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(payload[: len(payload) - len(payload) % size])
    return [PlaneSocket(name, socket.socket(fileno=fd)) for name, fd in zip(json.loads(data), descriptors, strict=True)]


_HINT = "kap must be allowed to enter the namespaces it makes; if a container or a security module forbids that, run kap outside of it"
