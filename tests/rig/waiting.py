"""Wait for what gives no sign, but not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 20.0


def eventually(check: Callable[[], Any], what: str) -> Any:
    """The first true answer of `check`; fails after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)
