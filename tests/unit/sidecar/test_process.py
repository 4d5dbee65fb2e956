"""What the process sets for itself, and that its diagnostics are short, safe and few."""

from __future__ import annotations

import io
import logging
import shlex
import subprocess
import sys

import pytest

from kap.sidecar.process import RateLimit, _OneLine


def logger(burst: int = 3, window: float = 10.0) -> tuple[logging.Logger, io.StringIO, RateLimit]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    limit = RateLimit(burst, window)
    handler.addFilter(limit)
    handler.setFormatter(_OneLine("%(levelname)s %(message)s"))
    found = logging.Logger("test")
    found.addHandler(handler)
    return found, stream, limit


def test_a_flood_is_cut_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("kap.sidecar.process.time.monotonic", lambda: now[0])
    log, stream, _ = logger()
    for number in range(100):
        log.warning("no %d", number)
    log.error("another level")
    assert stream.getvalue().splitlines() == ["WARNING no 0", "WARNING no 1", "WARNING no 2", "ERROR another level"]
    now[0] = 11.0
    log.warning("later %d", 1)
    assert stream.getvalue().splitlines()[-1] == "WARNING later 1 (97 more like this were not printed)"


def test_an_exception_is_one_line_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KAP_DEBUG", raising=False)
    log, stream, _ = logger()
    try:
        raise ValueError("what\x1b[31m\nhappened")
    except ValueError:
        log.exception("it failed")
    assert stream.getvalue() == "ERROR it failed: ValueError: what\\x1b[31m\\x0ahappened\n"


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAP_DEBUG", "1")
    log, stream, _ = logger()
    try:
        raise ValueError("x")
    except ValueError:
        log.exception("it failed")
    assert "Traceback" in stream.getvalue()


def test_harden_in_a_process_of_its_own() -> None:
    program = (
        "import ctypes, os, resource\nfrom kap.sidecar.process import harden\nharden()\n"
        "print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE), resource.getrlimit(resource.RLIMIT_NOFILE),"
        "ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), ctypes.CDLL(None).prctl(39, 0, 0, 0, 0))"
    )
    out = subprocess.run(
        ["sh", "-c", f"ulimit -Sn 64; ulimit -Hn 256; exec {shlex.quote(sys.executable)} -c '{program}'"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert out.stdout.strip() == "0o77 (0, 0) (256, 256) 0 1"
