"""What every test may use: where the corpora lie, and the count of what was skipped, by name, at the end."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO / "tests"))  # for `rig`


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of acceptance corpora (``KAP_CORPORA``, else beside the checkout); skips where there is none."""
    path = Path(os.environ.get("KAP_CORPORA", REPO.parent / "shared" / "corpora"))
    if not path.is_dir():
        pytest.skip(f"no corpora at {path}; set KAP_CORPORA")
    return path


def pytest_configure() -> None:
    """Take back what a background job or nohup had ignored: programs under test inherit it, and tests send them these signals."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if record := os.environ.get("KAP_FAILED"):
        failed = [*terminalreporter.stats.get("failed", []), *terminalreporter.stats.get("error", [])]
        Path(record).write_text("".join(f"{report.nodeid}\n" for report in failed), "utf-8")
    skipped = terminalreporter.stats.get("skipped", [])
    terminalreporter.section(f"skipped: {len(skipped)}")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"  {report.nodeid}: {reason}")
