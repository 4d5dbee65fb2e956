"""``status.json``: how the sidecar is, for its health check and for ``kap status`` on the host.

Rules: written whole and renamed into place, so a reader never sees half of one; written again every few seconds while the sidecar
lives, so an old `updated` means it hangs; holds no secret and nothing a client chose.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

import msgspec

from kap.audit.logfile import make_private_dir

HEARTBEAT = 5.0
"""Seconds between two writings where nothing changed."""

STALE = 20.0
"""Seconds after which a status counts as that of a sidecar that hangs."""


class ListenerStatus(msgspec.Struct):
    """`kind`: ``proxy``, ``http``, ``tls``, ``gate``, ``dns`` (UDP), ``dns-tcp``. `address`, `port`: as bound. `restarts`: how often it
    died."""

    kind: str
    address: str
    port: int
    up: bool = True
    restarts: int = 0
    error: str = ""


class PolicyState(msgspec.Struct):
    """What is in force and how the last look at the files went. Times: seconds since the epoch, 0 for never. `digest`: "" while there is
    none in force."""

    digest: str = ""
    loaded: float = 0.0
    loads: int = 0
    rules: int = 0
    error: str = ""
    error_since: float = 0.0


class PolicyStatus(PolicyState):
    """The same with `source`, the file or folder it is loaded from."""

    source: str = ""


class Status(msgspec.Struct):
    """Times are seconds since the epoch. `healthy`: a policy is in force and every listener is up. `problems`: why not, for people;
    a changed policy that does not load is one of them only while there is no other in force."""

    version: str
    pid: int
    started: float
    updated: float = 0.0
    healthy: bool = False
    problems: list[str] = []
    policy: PolicyStatus = msgspec.field(default_factory=PolicyStatus)
    listeners: list[ListenerStatus] = []
    own_addresses: list[str] = []
    frame: str = ""
    """``mitmproxy`` where the data plane runs under its frame, else ``plain``."""
    restart_needed: list[str] = []
    """Settings that changed since the start and cannot change while the sidecar runs."""
    connections: int = 0
    events_dropped: int = 0
    v: int = 1


def write(path: Path, status: Status) -> None:
    """Put `status` at `path`, atomically, readable by its owner. Raises `OSError`."""
    make_private_dir(path.parent)
    fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(status), indent=1) + b"\n")
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def read(path: Path) -> Status | None:
    """The status at `path`; None where there is none or it is not one of ours."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
