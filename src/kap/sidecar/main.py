"""From the command line to a running `Service`: the process's own settings, the loop, the signals, the frame.

Rules: the loop is uvloop's where that is installed; the planes run under the mitmproxy frame where that is importable and wanted, on
the plain loop otherwise, with the same verdicts. The ``gate`` listener and other people's addons are there only under the frame.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from kap.errors import EXIT_SOFTWARE, EXIT_UNAVAILABLE, KapError, UsageError
from kap.sidecar.addons import load_addons
from kap.sidecar.process import harden, log_to_stderr, on_loop_exception
from kap.sidecar.service import Options, Service

Framed = Callable[..., Awaitable[None]]
"""`kap.egress.frame.run_framed`: the work, then the addons."""

_log = logging.getLogger("kap.sidecar")


def run(options: Options, *, frame: bool = True) -> None:
    """Run the sidecar until SIGTERM or SIGINT; `frame`: under mitmproxy's, where that is installed. Raises `KapError` where it cannot
    start."""
    harden()
    log_to_stderr()
    framed = _find_frame() if frame else None
    _check_gate(options, framed)
    addons = load_addons(options.addons, options.config)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_main(options, framed, addons))


def _check_gate(options: Options, framed: Framed | None) -> None:
    """The gate needs the frame, and addons the gate. Raises `KapError`."""
    if "gate" in options.listen and framed is None:
        raise KapError(
            "--listen gate=... needs the mitmproxy frame, and this sidecar runs without it",
            "install kap[sidecar] on Python 3.13 and leave --no-frame out, or leave the gate out",
            EXIT_UNAVAILABLE,
        )
    if options.addons and "gate" not in options.listen:
        raise UsageError(
            "--addon without a gate: nothing would pass through the addon",
            "add --listen gate=0.0.0.0:3129 and send clients there",
        )


async def _main(options: Options, framed: Framed | None, addons: Sequence[object]) -> None:
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
    try:
        planes = await service.prepare()
        gate = [planes.gate] if planes.gate is not None else []
        await (framed(work, *gate, *addons) if framed else work())
    finally:
        service.close()
    if not stop.is_set():
        raise KapError(
            "the frame around the planes ended by itself",
            "see the lines above; the sidecar is started again",
            EXIT_SOFTWARE,
        )


def _find_frame() -> Framed | None:
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
