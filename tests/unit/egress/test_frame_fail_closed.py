"""An addon that fails in any hook, in any way: nothing reaches an origin, or no answer reaches the client. Stock mitmproxy lets it pass."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytest.importorskip("mitmproxy", reason="mitmproxy is not installed (it needs Python 3.13)")

from mitmproxy import exceptions

from kap.egress.frame import Frame, PlaneAddon, check_hooks, run_framed
from kap.egress.gate_addon import GateAddon
from kap.errors import KapError
from rig.client import connect
from rig.gate import GateRig, gate_rig
from rig.plane import client_hello, policy_of
from rig.wire import LIMITS, PONG, Origin

FAILURES = {
    "ValueError": lambda: ValueError("a bug"),
    "AddonHalt": lambda: exceptions.AddonHalt(),
    "OptionsError": lambda: exceptions.OptionsError("a bug"),
    "CancelledError": lambda: asyncio.CancelledError(),
}
BEFORE = ("client_connected", "kap_ask", "server_connect", "server_connected")
PLAIN = (*BEFORE, "requestheaders", "request")
CONNECT = (*BEFORE, "http_connect", "http_connected")
AFTER = ("responseheaders",)


def failing(hook: str, failure: str, kind: str) -> Any:
    """An addon whose one hook fails: at once, or after it has waited."""

    def sync(self: object, subject: object) -> None:
        self.ran += 1  # type: ignore[attr-defined]
        raise FAILURES[failure]()

    async def waiting(self: object, subject: object) -> None:
        self.ran += 1  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        raise FAILURES[failure]()

    return type("Failing", (), {hook: sync if kind == "sync" else waiting, "ran": 0, "name": "failing"})()


async def plain(rig: GateRig, origin: Origin) -> bytes:
    port = await rig.origin(origin.http)
    rig.plane.apply(policy_of(f"allowed.test:{port}"))
    client = await connect(await rig.listen())
    await client.send(b"GET http://allowed.test:%d/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % port)
    return await client.rest()


async def tunnel(rig: GateRig, origin: Origin) -> bytes:
    port = await rig.origin(origin.pong)
    rig.plane.apply(policy_of(f"allowed.test:{port}"))
    client = await connect(await rig.listen())
    await client.send(b"CONNECT allowed.test:%d HTTP/1.1\r\nHost: x\r\n\r\n" % port + client_hello("allowed.test"))
    return await client.rest()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("hook", PLAIN)
async def test_plain_http(hook: str, failure: str, kind: str) -> None:
    addon, origin = failing(hook, failure, kind), Origin()
    async with gate_rig(addon, limits=LIMITS) as rig:
        answer = await plain(rig, origin)
        await rig.settled()
    assert addon.ran == 1, "the hook was called"
    assert not any(origin.seen), "nothing reached the origin"
    assert not answer or (answer.startswith(b"HTTP/1.1 500 ") and b"egress.internal-error" in answer)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("hook", CONNECT)
async def test_connect(hook: str, failure: str, kind: str) -> None:
    addon, origin = failing(hook, failure, kind), Origin()
    async with gate_rig(addon, limits=LIMITS) as rig:
        answer = await tunnel(rig, origin)
        await rig.settled()
    assert addon.ran == 1
    assert not any(origin.seen)
    assert PONG not in answer
    assert not answer or b"egress.internal-error" in answer


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("hook", AFTER)
async def test_answers(hook: str, failure: str, kind: str) -> None:
    addon, origin = failing(hook, failure, kind), Origin()
    async with gate_rig(addon, limits=LIMITS) as rig:
        answer = await plain(rig, origin)
        await rig.settled()
    assert addon.ran >= 1
    assert b"\r\n\r\nok" not in answer and not answer.startswith(b"HTTP/1.1 200")


async def test_without_a_failure_both_pass() -> None:
    origin = Origin()
    async with gate_rig(limits=LIMITS) as rig:
        assert (await plain(rig, origin)).endswith(b"\r\n\r\nok")
    async with gate_rig(limits=LIMITS) as rig:
        port = await rig.origin(origin.pong)
        rig.plane.apply(policy_of(f"allowed.test:{port}"))
        client = await connect(await rig.listen())
        await client.send(b"CONNECT allowed.test:%d HTTP/1.1\r\n\r\n" % port + client_hello("allowed.test"))
        await client.head()
        assert await client.exactly(len(PONG)) == PONG
        client.close()


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("hook", ["running", "load", "configure"])
async def test_a_failing_start_is_no_start(hook: str, kind: str) -> None:
    started = []

    class Bad:
        name = "bad"

    def sync(self: object, *_: object) -> None:
        raise ValueError("no start")

    async def waiting(self: object, *_: object) -> None:
        raise ValueError("no start")

    setattr(Bad, hook, sync if kind == "sync" or hook != "running" else waiting)

    async def work() -> None:
        started.append(True)
        await asyncio.Event().wait()

    with pytest.raises(KapError, match=f"the addon Bad failed to start .{hook}.: ValueError: no start"):
        await asyncio.wait_for(run_framed(work, Bad()), 5)
    assert started in ([], [True])


async def test_the_frame_carries_work_and_ends_with_it() -> None:
    done = []

    async def work() -> None:
        await asyncio.sleep(0)
        done.append(True)

    await asyncio.wait_for(run_framed(work), 5)
    assert done == [True]

    async def broken() -> None:
        raise OSError("cannot listen")

    with pytest.raises(OSError, match="cannot listen"):
        await asyncio.wait_for(run_framed(broken), 5)


async def test_an_end_from_outside_cancels_the_work() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    plane = PlaneAddon(work)
    frame = Frame(plane)
    task = asyncio.create_task(frame.run())
    await asyncio.wait_for(frame.ready.wait(), 5)
    await asyncio.sleep(0)
    frame.shutdown()
    await asyncio.wait_for(task, 5)
    assert ended == [True]


async def test_a_failing_log_hook_does_not_log_for_ever() -> None:
    calls = []

    class Bad:
        name = "bad"

        def add_log(self, entry: object) -> None:
            calls.append(entry)
            raise ValueError("a bug")

        def client_connected(self, client: object) -> None:
            raise ValueError("another")

    async with gate_rig(Bad()) as rig:
        client = await connect(await rig.listen())
        assert await client.rest() == b""
        await rig.settled()
        for _ in range(50):
            await asyncio.sleep(0)
    assert len(calls) < 10


def test_hook_names_are_checked() -> None:
    check_hooks(PlaneAddon(None))  # type: ignore[arg-type]
    assert GateAddon.hooks

    class Misspelt:
        hooks = ("requestheader",)

        def requestheader(self, flow: object) -> None: ...

    class Forgotten:
        hooks = ("running",)

        def running(self) -> None: ...

        def request(self, flow: object) -> None: ...

    for addon in (Misspelt(), Forgotten()):
        with pytest.raises(KapError, match="would not run"):
            check_hooks(addon)


async def test_no_certificate_authority_and_nothing_written(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    async with gate_rig() as rig:
        names = set(rig.frame.master.addons.lookup)
        assert names == {"kap_gate", "proxyserver", "kap_ready"}
    assert list(tmp_path.iterdir()) == []
