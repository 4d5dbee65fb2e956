"""Which process of the capsule is behind a denial: its name and number, by /proc, best effort.

Looked up for denials only, and bounded: at most so many look-ups a second and so many processes looked at, since a capsule decides
how often it is denied. Sources: proc(5), ``net/tcp``, ``net/tcp6``, ``net/udp``, ``fd``.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from kap.audit.event import Event

PER_SECOND = 20
MAX_PROCESSES = 512
MAX_TABLE = 262_144  # bytes of a socket table that are read
_NAME = 32


class Attribution:
    """`init` is the host's number of the capsule's first process; the others are found below it."""

    def __init__(self, init: int, *, proc: Path = Path("/proc"), clock: Callable[[], float] = time.monotonic) -> None:
        self._init = init
        self._proc = proc
        self._clock = clock
        self._second = 0.0
        self._asked = 0

    def __call__(self, event: Event) -> str:
        """``curl[12]`` (the number as the capsule sees it) for the process that asked, or ""."""
        _, _, port = event.client.rpartition(":")
        if not port.isdigit() or not self._may_look():
            return ""
        tables = ("udp", "udp6", "tcp", "tcp6") if event.plane == "dns" else ("tcp", "tcp6")
        inodes = {inode for table in tables if (inode := self._inode(table, int(port)))}
        return self._owner(inodes) if inodes else ""

    def _may_look(self) -> bool:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._asked = now, 0
        self._asked += 1
        return self._asked <= PER_SECOND

    def _inode(self, table: str, port: int) -> str:
        """The socket whose *local* port is `port`: the asking end (the plane's own end is not in a table of the capsule's processes)."""
        try:
            with (self._proc / str(self._init) / "net" / table).open("rb") as file:
                lines = file.read(MAX_TABLE).splitlines()[1:]
        except OSError:
            return ""
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and int(fields[1].rpartition(b":")[2], 16) == port and fields[9] != b"0":
                return fields[9].decode("ascii")
        return ""

    def _owner(self, inodes: set[str]) -> str:
        wanted = {f"socket:[{inode}]" for inode in inodes}
        for pid in self._family():
            directory = f"{self._proc}/{pid}/fd"
            try:
                for fd in os.listdir(directory):  # noqa: PTH208 - names only
                    if str(Path(f"{directory}/{fd}").readlink()) in wanted:
                        return self._label(pid)
            except OSError:
                continue  # It ended meanwhile.
        return ""

    def _family(self) -> list[int]:
        """Processes of the capsule, newest first: those that share the first one's process namespace."""
        try:
            namespace = str(Path(f"{self._proc}/{self._init}/ns/pid").readlink())
            numbers = sorted((int(name) for name in os.listdir(self._proc) if name.isdigit()), reverse=True)  # noqa: PTH208
        except OSError:
            return []
        found: list[int] = []
        for pid in numbers:
            try:
                if str(Path(f"{self._proc}/{pid}/ns/pid").readlink()) == namespace:
                    found.append(pid)
            except OSError:
                continue
            if len(found) >= MAX_PROCESSES:
                break
        return found

    def _label(self, pid: int) -> str:
        status = (self._proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        inside = fields.get("NSpid", str(pid)).split()[-1]
        return f"{fields.get('Name', '').strip()[:_NAME]}[{inside}]"
