"""From the command line to a running `Service`: the process's own settings, the loop, the signals, the frame.

Rules: the loop is uvloop's where that is installed; the planes run under the mitmproxy frame where that is importable and wanted, on
the plain loop otherwise, with the same verdicts.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from functools import partial

from kap.errors import EXIT_SOFTWARE, KapError
from kap.sidecar.process import harden, log_to_stderr, on_loop_exception
from kap.sidecar.service import Options, Service

Work = Callable[[], Awaitable[None]]
_log = logging.getLogger("kap.sidecar")


def run(options: Options, *, frame: bool = True) -> None:
    """Run the sidecar until SIGTERM or SIGINT; `frame`: under mitmproxy's, where that is installed. Raises `KapError` where it cannot
    start."""
    harden()
    log_to_stderr()
    framed = _find_frame() if frame else None
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(options, framed))


async def _main(options: Options, framed: Callable[[Work], Awaitable[None]] | None) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_exception)
    service = Service(options, frame="mitmproxy" if framed else "plain")
    stop = asyncio.Event()

    def end(number: int) -> None:
        service.stopping(signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    work = partial(service.run, stop)
    await (framed(work) if framed else work())
    if not stop.is_set():
        raise KapError(
            "the frame around the planes ended by itself",
            "see the lines above; the sidecar is started again",
            EXIT_SOFTWARE,
        )


def _find_frame() -> Callable[[Work], Awaitable[None]] | None:
    """The frame's runner, None where mitmproxy is not installed (it needs a newer Python than kap does) or is not one kap knows."""
    try:
        from kap.egress.frame import run_framed
    except ImportError as error:
        _log.info("the planes run without the mitmproxy frame: %s", error)
        return None
    return run_framed


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    new_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return new_loop
