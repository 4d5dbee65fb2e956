"""Open tunnels on both event loops: every byte arrives, in user space and in the kernel, half-closed, idle, revoked, counted."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from kap.config.model import Limits
from kap.egress.relay import SPLICE_AFTER
from rig.client import Client, open_tunnel
from rig.plane import SOON, Rig, plane_rig, policy_of

Runner = Callable[[Coroutine[Any, Any, None]], None]


class Far:
    """Hands the origin's end of each connection to the test."""

    def __init__(self) -> None:
        self.ends: asyncio.Queue[Client] = asyncio.Queue()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.ends.put_nowait(Client(reader, writer))
        await asyncio.Event().wait()

    async def end(self) -> Client:
        return await asyncio.wait_for(self.ends.get(), SOON)


async def start(rig: Rig) -> tuple[Far, int, int]:
    far = Far()
    port = await rig.origin(far)
    rig.plane.apply(policy_of(f"allowed.test:{port}/tcp"))
    return far, await rig.listen(), port


async def pour(client: Client, data: bytes, dice: random.Random) -> None:
    at = 0
    while at < len(data):
        size = dice.choice((1, 100, 5000, 65_536, 300_000))
        await client.send(data[at : at + size])
        at += size
    client.half_close()


async def drink(client: Client) -> str:
    digest = hashlib.sha256()
    while data := await asyncio.wait_for(client.reader.read(1 << 18), 4 * SOON):
        digest.update(data)
    return digest.hexdigest()


async def transfer(seed: int, up: int, down: int) -> None:
    dice = random.Random(seed)
    sent, answered = os.urandom(up), os.urandom(down)
    async with plane_rig() as rig:
        far, proxy, port = await start(rig)
        near = await open_tunnel(proxy, f"allowed.test:{port}")
        end = await far.end()
        got_far, got_near, _, _ = await asyncio.gather(
            drink(end), drink(near), pour(near, sent, dice), pour(end, answered, dice)
        )
        assert got_far == hashlib.sha256(sent).hexdigest()
        assert got_near == hashlib.sha256(answered).hexdigest()
        end.close()
        near.close()
        await rig.settled()
        closed = rig.events[-1]
        assert (closed.kind, closed.code) == ("closed", "egress.allowed")
        assert (closed.bytes_up, closed.bytes_down) == (up, down)


def test_every_byte_arrives_whatever_the_sizes(either_loop: Runner) -> None:
    sizes = [
        (10, 10),
        (10, 3_000_000),
        (3_000_000, 10),
        (600_000, 600_000),
        (400_000, 12_000_000),
        (9_000_000, 9_000_000),
    ]

    async def scenario() -> None:
        for seed, (up, down) in enumerate(sizes):
            await transfer(seed, up, down)

    either_loop(scenario())


async def into_the_kernel(rig: Rig, near: Client, end: Client) -> None:
    """Send until the tunnel is spliced."""
    block = bytes(SPLICE_AFTER + 1)
    async with asyncio.timeout(SOON):
        while not rig.plane._state.spliced:
            await near.send(block)
            await end.exactly(len(block))


def test_a_spliced_tunnel_half_closes_and_answers(either_loop: Runner) -> None:
    async def scenario() -> None:
        async with plane_rig() as rig:
            far, proxy, port = await start(rig)
            near = await open_tunnel(proxy, f"allowed.test:{port}")
            end = await far.end()
            await into_the_kernel(rig, near, end)
            await near.send(b"last words")
            near.half_close()
            assert await end.rest() == b"last words"
            await end.send(b"after your end")
            end.half_close()
            assert await near.rest() == b"after your end"
            await rig.settled()
            assert rig.plane._state.spliced == 0
            assert rig.events[-1].bytes_down == len(b"after your end")

    either_loop(scenario())


def test_a_new_policy_cuts_plain_spliced_and_connecting_tunnels_and_no_other(either_loop: Runner) -> None:
    async def scenario() -> None:
        async with plane_rig() as rig:
            far, proxy, port = await start(rig)
            keep = f"other.test:{port}/tcp"
            rig.plane.apply(policy_of(f"allowed.test:{port}/tcp", keep))
            plain = await open_tunnel(proxy, f"allowed.test:{port}")
            await far.end()
            spliced = await open_tunnel(proxy, f"allowed.test:{port}")
            await into_the_kernel(rig, spliced, await far.end())
            kept = await open_tunnel(proxy, f"other.test:{port}")
            kept_end = await far.end()
            rig.resolver.hold = asyncio.Event()
            connecting = await open_connection_request(proxy, port)
            async with asyncio.timeout(SOON):
                while "allowed.test" not in rig.resolver.asked[3:]:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
            assert rig.plane.apply(policy_of(keep)) == 3
            assert await plain.rest() == b""
            assert await spliced.rest() == b""
            assert b" 200 " not in await connecting.rest()
            await kept.send(b"still here")
            assert await kept_end.exactly(10) == b"still here"
            assert rig.events.codes().count("egress.revoked") == 3
            assert rig.events.codes("closed").count("egress.revoked") == 2

    either_loop(scenario())


async def open_connection_request(proxy: int, port: int) -> Client:
    from rig.client import connect

    client = await connect(proxy)
    await client.send(f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode())
    return client


def test_an_idle_tunnel_ends_spliced_or_not(either_loop: Runner) -> None:
    async def scenario() -> None:
        async with plane_rig(limits=Limits(idle_seconds=0.4)) as rig:
            far, proxy, port = await start(rig)
            plain = await open_tunnel(proxy, f"allowed.test:{port}")
            await far.end()
            spliced = await open_tunnel(proxy, f"allowed.test:{port}")
            await into_the_kernel(rig, spliced, await far.end())
            assert await plain.rest() == b""
            assert await spliced.rest() == b""
            await rig.settled()
            assert rig.events.codes("closed") == ["egress.idle-timeout"] * 2

    either_loop(scenario())


def test_a_reset_reaches_the_other_side_as_a_reset(either_loop: Runner) -> None:
    async def pair(rig: Rig, far: Far, proxy: int, port: int, spliced: bool) -> tuple[Client, Client]:
        near = await open_tunnel(proxy, f"allowed.test:{port}")
        end = await far.end()
        if spliced:
            await into_the_kernel(rig, near, end)
        return near, end

    async def scenario() -> None:
        async with plane_rig() as rig:
            far, proxy, port = await start(rig)
            for spliced in (False, True):
                for from_client in (True, False):
                    near, end = await pair(rig, far, proxy, port, spliced)
                    resets, sees = (near, end) if from_client else (end, near)
                    resets.reset()
                    with pytest.raises(ConnectionResetError):
                        await asyncio.wait_for(sees.reader.read(), SOON)
                    sees.close()
                    await rig.settled()

    either_loop(scenario())


@pytest.mark.parametrize("kernel", [True, False])
def test_a_stalled_reader_stops_the_writer(either_loop: Runner, kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither user space nor the kernel keeps more than buffers."""
    if not kernel:
        monkeypatch.setattr("kap.egress.relay.may_splice", lambda state: False)

    async def scenario() -> None:
        async with plane_rig() as rig:
            far, proxy, port = await start(rig)
            near = await open_tunnel(proxy, f"allowed.test:{port}")
            end = await far.end()
            sent = 0
            stalled = False
            while sent < 200_000_000 and not stalled:
                end.writer.write(bytes(1_000_000))
                sent += 1_000_000
                try:
                    await asyncio.wait_for(end.writer.drain(), 0.5)
                except TimeoutError:
                    stalled = True
            assert stalled
            assert len(await near.exactly(sent)) == sent

    either_loop(scenario())


def test_close_ends_everything(either_loop: Runner) -> None:
    async def scenario() -> None:
        async with plane_rig() as rig:
            far, proxy, port = await start(rig)
            near = await open_tunnel(proxy, f"allowed.test:{port}")
            await far.end()
            spliced = await open_tunnel(proxy, f"allowed.test:{port}")
            await into_the_kernel(rig, spliced, await far.end())
            before = len(os.listdir("/proc/self/fd"))
            await rig.plane.close()
            assert rig.plane.connections == 0
            assert await near.rest() == b""
            assert await spliced.rest() == b""
            assert len(os.listdir("/proc/self/fd")) < before

    either_loop(scenario())
