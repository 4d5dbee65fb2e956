"""What the sidecar's process sets for itself before it opens anything: limits, masks, and where its diagnostics go.

Rules: all of it is best effort and none of it is needed for safety. Diagnostics go to standard error, one line each, never a
traceback unless ``KAP_DEBUG`` is set, and at most so many per ten seconds, since a client may be able to cause them.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import sys
import time
from typing import Any

_FILES_WANTED = 1_048_576
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
BURST = 20
WINDOW = 10.0


def harden() -> None:
    """No core dumps, not traceable, no new privileges, files private, and as many descriptors as the system gives."""
    os.umask(0o077)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES_WANTED if hard == resource.RLIM_INFINITY else min(hard, _FILES_WANTED)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None, use_errno=True)
            libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


class RateLimit(logging.Filter):
    """Lets at most `burst` records of one logger and level through per `window` seconds, then says how many it held back."""

    def __init__(self, burst: int = BURST, window: float = WINDOW) -> None:
        super().__init__()
        self._burst = burst
        self._window = window
        self._seen: dict[tuple[str, int], list[float]] = {}  # (since, count); loggers and levels are few

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` is printed."""
        key = (record.name, record.levelno)
        now = time.monotonic()
        entry = self._seen.setdefault(key, [now, 0])
        if now - entry[0] >= self._window:
            held = int(entry[1]) - self._burst
            entry[:] = [now, 0]
            if held > 0:
                record.msg = f"{record.getMessage()} ({held} more like this were not printed)"
                record.args = ()
        entry[1] += 1
        return entry[1] <= self._burst


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if not os.environ.get("KAP_DEBUG"):
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                record = logging.makeLogRecord({**record.__dict__, "exc_info": None, "exc_text": None})
                record.msg, record.args = f"{record.getMessage()}: {type(error).__name__}: {error}", ()
            record = logging.makeLogRecord({**record.__dict__, "exc_text": None, "stack_info": None})
        from kap.audit.printable import printable

        text = super().format(record)
        return text if os.environ.get("KAP_DEBUG") else printable(text, 2000)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Send the diagnostics of this process to standard error; replaces what was set before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def on_loop_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler: what asyncio would print with a traceback becomes one (rate-limited) line."""
    error = context.get("exception")
    words = context.get("message", "something failed")
    logging.getLogger("kap.sidecar").warning("%s%s", words, f": {error!r}" if error else "", exc_info=None)
