"""kap's own failures: whatever breaks, both sides close, the log says so, nothing passes, and the next connection works."""

from __future__ import annotations

import asyncio
import logging
import random

import pytest

from rig.client import connect, open_tunnel
from rig.plane import Rig, client_hello, plane_rig, policy_of

HELLO = client_hello("allowed.test")
PLACES = [
    ("kap.egress.entrance.Forward.begin", b"CONNECT"),
    ("kap.egress.forward.Forward._request", b"GET"),
    ("kap.egress.forward.Forward._send", b"GET"),
    ("kap.egress.answering.Answering._answer", b"GET"),
    ("kap.egress.exchange.rebuild_request", b"GET"),
    ("kap.egress.exchange.rebuild_response", b"GET"),
    ("kap.egress.tunnel.reach", b"CONNECT"),
    ("kap.egress.tunnel.Tunnel._connected", b"CONNECT"),
    ("kap.egress.tunnel.Tunnel._check", b"CONNECT"),
    ("kap.egress.opening.check_hello", b"CONNECT"),
    ("kap.egress.verdicts.Verdicts.egress", b"CONNECT"),
    ("kap.egress.verdicts.Verdicts.egress", b"GET"),
]


class Origin:
    """Answers one HTTP request, echoes anything else; keeps what came."""

    def __init__(self) -> None:
        self.data = b""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(10_000):
            self.data += data
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" if data.startswith(b"GET") else data)


async def start(rig: Rig, origin: Origin) -> tuple[int, bytes, bytes]:
    tls, plain = await rig.origin(origin), await rig.origin(origin)
    rig.plane.apply(policy_of(f"allowed.test:{tls}/tls", f"allowed.test:{plain}/http"))
    proxy = await rig.listen()
    tunnel = f"CONNECT allowed.test:{tls} HTTP/1.1\r\n\r\n".encode() + HELLO
    return proxy, tunnel, f"GET http://allowed.test:{plain}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@pytest.mark.parametrize(("place", "first"), PLACES)
async def test_an_exception_closes_both_sides(
    place: str, first: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    origin = Origin()
    async with plane_rig() as rig:
        proxy, tunnel, get = await start(rig, origin)
        raw = tunnel if first == b"CONNECT" else get

        def breaks(*args: object, **more: object) -> None:
            raise ZeroDivisionError("planted")

        with monkeypatch.context() as patch:
            patch.setattr(place, breaks)
            client = await connect(proxy)
            await client.send(raw)
            answer = await client.rest()
            client.close()
            await rig.settled()
        assert HELLO not in answer and b"200 OK" not in answer
        assert HELLO not in origin.data
        assert rig.events.codes()[-1] == "egress.internal-error"
        assert "planted" in rig.events[-1].detail or "planted" in rig.events[-2].detail
        client = await connect(proxy)
        await client.send(raw)
        assert b" 200 " in await client.head()
        client.close()


async def test_random_bytes_on_every_listener_do_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    dice = random.Random(7)
    origin = Origin()
    async with plane_rig() as rig:
        proxy, tunnel, get = await start(rig, origin)
        listeners = [proxy, await rig.listen("http"), await rig.listen("tls")]
        seeds = [tunnel, get, HELLO, b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", bytes(200)]
        for turn in range(300):
            data = bytearray(dice.choice(seeds))
            for _ in range(dice.randrange(1, 6)):
                at = dice.randrange(len(data))
                data[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(3))
            client = await connect(dice.choice(listeners))
            try:
                await client.send(bytes(data[: len(data) // 2]))
                await client.send(bytes(data[len(data) // 2 :]))
            except ConnectionError:
                continue
            if turn % 3 == 0:
                client.reset()
            elif turn % 3 == 1:
                client.half_close()
                await client.rest()
            client.close()
        await rig.settled()
        assert "egress.internal-error" not in rig.events.codes()
        assert not [record for record in caplog.records if record.name == "kap.egress"]
        client = await open_tunnel(proxy, tunnel.split(b" ")[1].decode())
        await client.send(HELLO)
        assert await client.exactly(len(HELLO)) == HELLO
        client.close()
