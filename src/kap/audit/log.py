"""Append events to the audit log, cheaply and without ever hurting the plane that reports them.

Rules: `record` never raises, never waits, and holds a bounded buffer; lines reach the file within 50 ms where an event loop runs and
at once where none does (no fsync: a crash of the machine may lose the last moments, a crash of kap at most 50 ms). While the disk
refuses (full, read-only, gone) events wait in the buffer; what does not fit is counted, and one ``audit.dropped`` notice says so when
writing works again. Every line is valid UTF-8 JSON whatever bytes a client chose.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from kap.audit.event import PROBE_ANSWERS, TEXT_LIMIT, Event
from kap.audit.logfile import LogFile

MIN_BYTES = 65_536
"""Smallest size a log rotates at; a smaller `max_bytes` is raised to it, so that the longest line always fits."""

_DELAY = 0.05
_CHUNK = 65_536
_BUFFER_LIMIT = 1_048_576
_RETRY = 1.0

_FIELDS = ("code", "plane", "verdict", "subject", "host", "method", "policy", "address", "client", "process", "detail")
_log = logging.getLogger("kap.audit")


class Recorder(Protocol):
    """What a plane needs of an audit log."""

    def record(self, event: Event) -> None:
        """Take one event; never raises."""


class AuditLog:
    """The log at `path`, rotated at `max_bytes` to ``path.1`` ... ``path.<keep>``. `capsule` is put into every event.

    `attribute`, where given, names the process behind a denial (``curl[4711]``) or gives ""; it is called for deny decisions only,
    must not block, and may raise. Safe to call from several threads.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        capsule: str = "",
        max_bytes: int = 16_777_216,
        keep: int = 4,
        attribute: Callable[[Event], str] | None = None,
    ) -> None:
        self.path = Path(path)
        self.dropped = 0
        """Events lost since the last notice."""
        self._file = LogFile(self.path, max_bytes=max(max_bytes, MIN_BYTES), keep=max(keep, 0))
        self._chunk = min(_CHUNK, self._file.max_bytes // 4)
        self._capsule = clip(capsule)
        self._attribute = attribute
        self._encode_into = msgspec.json.Encoder().encode_into
        self._buffer = bytearray()
        self._seq = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._lock = threading.RLock()
        self._failing = False
        self._retry_at = 0.0
        self._closed = False

    def record(self, event: Event) -> None:
        """Stamp `event` (`ts`, `seq`, `capsule`, `process`) and append it; what `PROBE_ANSWERS` names is left out. Never raises."""
        try:
            self._record(event)
        except Exception:  # noqa: BLE001 - a plane must not fail because its log does
            self.dropped += 1
            _log.debug("event not recorded", exc_info=True)

    def resize(self, *, max_bytes: int, keep: int) -> None:
        """Rotate at another size and keep another number of old files from the next write on."""
        with self._lock:
            self._file.max_bytes = max(max_bytes, MIN_BYTES)
            self._file.keep = max(keep, 0)
            self._chunk = min(_CHUNK, self._file.max_bytes // 4)

    def flush(self) -> None:
        """Write what is buffered now; never raises."""
        with self._lock:
            self._stop_timer()
            self._drain()

    def close(self) -> None:
        """Write what is buffered and close the file; later events are dropped."""
        with self._lock:
            self._retry_at = 0.0
            self.flush()
            self._closed = True
            self._file.close()
            lost = self.dropped + self._buffer.count(b"\n")
            self._buffer.clear()
        if lost:
            _log.error("%d audit events were never written to %s", lost, self.path)

    def _record(self, event: Event) -> None:
        expected = PROBE_ANSWERS.get(event.host)
        if expected is not None:
            if event.code in expected and event.kind == "decision":
                return
            event.subject = "probe"
        if self._attribute is not None and event.verdict == "deny" and event.kind == "decision" and not event.process:
            try:
                event.process = self._attribute(event)
            except Exception:  # noqa: BLE001 - best effort: an event without a process is still an event
                event.process = ""
        if self._capsule:
            event.capsule = self._capsule
        length = len(event.host) + len(event.detail) + len(event.process) + len(event.client) + len(event.method)
        if length > TEXT_LIMIT:
            _clip_fields(event)
        with self._lock:
            buffer = self._buffer
            if self._closed or len(buffer) >= _BUFFER_LIMIT:
                self.dropped += 1
                if not self._closed:
                    self._schedule()
                return
            self._seq = event.seq = self._seq + 1
            event.ts = time.time()
            start = len(buffer)
            try:
                self._encode_into(event, buffer, -1)
            except (UnicodeEncodeError, msgspec.EncodeError):
                del buffer[start:]  # what was encoded before it failed
                _clip_fields(event)
                self._encode_into(event, buffer, -1)
            buffer += b"\n"
            self._schedule()

    def _schedule(self) -> None:
        """Have the buffer written: by a timer of the running loop, or at once where there is none or the buffer is large."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self._drain()
            return
        if len(self._buffer) >= self._chunk and not self._failing:
            self._drain()
        elif self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(_RETRY if self._failing else _DELAY, self._on_timer)

    def _on_timer(self) -> None:
        with self._lock:
            self._timer = None
            self._drain()
            if self._failing:
                self._schedule()

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and self._loop is not None and not self._loop.is_closed():
            timer.cancel()

    def _drain(self) -> None:
        """Write the buffer; on failure keep it (bounded) and try again after a second."""
        if not self._buffer and not self.dropped:
            return
        if self._closed or (self._failing and time.monotonic() < self._retry_at):
            return
        try:
            self._write_all()
        except OSError as error:
            self._retry_at = time.monotonic() + _RETRY
            if not self._failing:
                self._failing = True
                _log.error(
                    "cannot write the audit log %s: %s; events are kept in memory for now",
                    self.path,
                    error.strerror or error,
                )
            return
        if self._failing:
            self._failing = False
            _log.warning("the audit log %s is written again", self.path)
        if self.dropped:
            lost, self.dropped = self.dropped, 0
            self.record(Event("notice", "audit", "audit.dropped", detail=f"{lost:,} events were not written"))

    def _write_all(self) -> None:
        while self._buffer:
            part = self._buffer[: self._chunk]
            if len(part) < len(self._buffer):
                part = self._buffer[: self._buffer.index(b"\n", len(part) - 1) + 1]
            done = self._file.write(part)
            if done < len(part):
                # The line the disk cut short is lost; the lines before it are not written twice.
                end = self._buffer.index(b"\n", done) + 1 if self._buffer[done - 1 : done] != b"\n" else done
                self.dropped += end > done
                done = end
            del self._buffer[:done]


def clip(text: str) -> str:
    """`text` bounded to 255 characters, with what UTF-8 cannot carry (lone surrogates) written as ``\\udcXX``."""
    text = text[:TEXT_LIMIT]
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-8", "backslashreplace").decode()[:TEXT_LIMIT]
    return text


def _clip_fields(event: Event) -> None:
    for name in _FIELDS:
        setattr(event, name, clip(getattr(event, name)))
