"""The frame on both event loops, with kap's data plane inside it: mitmproxy's wish for eager tasks must not stop or change either."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest

pytest.importorskip("mitmproxy", reason="mitmproxy is not installed (it needs Python 3.13)")

from kap.config.model import Limits
from kap.egress.frame import run_framed
from kap.egress.plane import Plane
from kap.policy.live import Live
from rig.client import ask, open_tunnel
from rig.gate import gate_rig
from rig.plane import SOON, EventList, StaticResolver, bound, client_hello, policy_of, serve
from rig.wire import PONG, Origin


def loops() -> list[object]:
    found: list[object] = [pytest.param(asyncio.new_event_loop, id="asyncio")]
    try:
        import uvloop
    except ImportError:
        return [*found, pytest.param(None, id="uvloop", marks=pytest.mark.skip(reason="uvloop is not installed"))]
    return [*found, pytest.param(uvloop.new_event_loop, id="uvloop")]


async def plane_in_the_frame() -> list[str]:
    """Runs a plane as the frame's work and one tunnel and one request through it; the codes of its events."""
    events, origin = EventList(), Origin()

    async def work() -> None:
        assert asyncio.get_running_loop().get_task_factory() is None, "tasks are the usual kind"
        async with AsyncExitStack() as stack:
            http, pong = await serve(stack, origin.http), await serve(stack, origin.pong)
            live = Live(policy_of(f"allowed.test:{http}", f"allowed.test:{pong}"))
            resolver = StaticResolver({"allowed.test": ("127.0.0.1",)})
            plane = Plane(live, events, resolver=resolver, limits=Limits())
            sock = bound()
            await plane.serve(sock, "proxy")
            port = sock.getsockname()[1]
            raw = f"GET http://allowed.test:{http}/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n".encode()
            assert (await ask(port, raw))[2] == b"ok"
            client = await open_tunnel(port, f"allowed.test:{pong}")
            await client.send(client_hello("allowed.test"))
            assert await client.exactly(len(PONG)) == PONG
            client.close()
            await plane.close()

    await asyncio.wait_for(run_framed(work), 4 * SOON)
    return events.codes()


async def gate_in_the_frame() -> list[str]:
    origin = Origin()
    async with gate_rig() as rig:
        http = await rig.origin(origin.http)
        rig.plane.apply(policy_of(f"allowed.test:{http}"))
        port = await rig.listen()
        raw = f"GET http://allowed.test:{http}/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n".encode()
        assert (await ask(port, raw))[2] == b"ok"
        assert (await ask(port, b"CONNECT denied.test:443 HTTP/1.1\r\n\r\n"))[0] == 403
        return rig.events.codes()


@pytest.mark.parametrize("make", loops())
def test_the_plane_runs_in_the_frame(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make) as runner:
        assert runner.run(plane_in_the_frame()) == ["egress.allowed", "egress.allowed"]


@pytest.mark.parametrize("make", loops())
def test_the_gate_runs_in_the_frame(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=make) as runner:
        assert runner.run(gate_in_the_frame()) == ["egress.allowed", "egress.not-listed"]


async def test_the_loops_reports_go_where_they_went_before() -> None:
    reports: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: reports.append(context["message"]))

    async def work() -> None:
        loop.call_exception_handler({"message": "no descriptors left"})

    await asyncio.wait_for(run_framed(work), SOON)
    assert reports == ["no descriptors left"]
