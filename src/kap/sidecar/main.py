"""From the command line to a running `Service`: the process's own settings, the loop, the signals, the frame.

Rules: the loop is uvloop's where that is installed; the planes run under the mitmproxy frame where that is importable and wanted, on
the plain loop otherwise, with the same verdicts.
"""

from __future__ import annotations

import asyncio
import signal

from kap.sidecar.process import harden, log_to_stderr, on_loop_exception
from kap.sidecar.service import Options, Service


def run(options: Options) -> None:
    """Run the sidecar until SIGTERM or SIGINT. Raises `KapError` where it cannot start."""
    harden()
    log_to_stderr()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(options))


async def _main(options: Options) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(on_loop_exception)
    service = Service(options)
    stop = asyncio.Event()

    def end(number: int) -> None:
        service.stopping(signal.Signals(number).name)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number)
    await service.run(stop)


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    loop: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop
