"""Clients that starve, flood and never finish: every limit holds, every refusal has its code, and kap is alive afterwards."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator

import pytest

from kap.config.model import Limits
from rig.client import Client, ask, connect, open_tunnel
from rig.plane import SOON, Rig, client_hello, plane_rig, policy_of

HELLO = client_hello("allowed.test")
CONNECT = "CONNECT allowed.test:{} HTTP/1.1\r\n\r\n"


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Reads everything and never says a word."""
    while await reader.read(1 << 18):
        pass


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()


async def start(rig: Rig, handler: object = echo, wire: str = "tls") -> tuple[int, int]:
    port = await rig.origin(handler)  # type: ignore[arg-type]
    rig.plane.apply(policy_of(f"allowed.test:{port}/{wire}"))
    return await rig.listen(), port


async def alive(proxy: int, port: int) -> None:
    client = await open_tunnel(proxy, f"allowed.test:{port}")
    await client.send(HELLO)
    assert await client.exactly(len(HELLO)) == HELLO
    client.close()


@pytest.mark.parametrize("start_of_head", [b"CONN", b"GET http://allowed.test/ HTTP/1.1\r\nX: "])
async def test_a_head_that_never_ends_is_408(start_of_head: bytes) -> None:
    async with plane_rig(limits=Limits(head_seconds=0.3)) as rig:
        proxy, port = await start(rig)
        status, fields, _ = await ask(proxy, start_of_head)
        assert (status, fields["x-kap-reason"]) == (408, "egress.request-timeout")
        assert rig.events.codes() == ["egress.request-timeout"]
        await alive(proxy, port)


async def test_a_drip_of_bytes_does_not_extend_the_time() -> None:
    async with plane_rig(limits=Limits(head_seconds=0.5)) as rig:
        proxy, _ = await start(rig)
        client = await connect(proxy)
        await client.send(b"GET http://allowed.test/ HTTP/1.1\r\nX: ")
        drip = asyncio.create_task(drip_into(client))
        status, fields, _ = await client.response()
        drip.cancel()
        assert (status, fields["x-kap-reason"]) == (408, "egress.request-timeout")


async def drip_into(client: Client) -> None:
    while True:
        await client.send(b"a")
        await asyncio.sleep(0.02)


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with plane_rig(limits=Limits(head_seconds=0.3)) as rig:
        proxy, _ = await start(rig)
        client = await connect(proxy)
        assert await client.rest() == b""


async def test_an_endless_head_is_431() -> None:
    async with plane_rig(limits=Limits(head_bytes=8192)) as rig:
        proxy, port = await start(rig)
        status, fields, _ = await ask(proxy, b"GET http://allowed.test/ HTTP/1.1\r\nX: " + b"a" * 9000)
        assert (status, fields["x-kap-reason"]) == (431, "egress.head-too-large")
        await alive(proxy, port)


@pytest.mark.parametrize("first", [b"", HELLO[:50]])
async def test_a_hello_that_never_ends(first: bytes) -> None:
    async with plane_rig(limits=Limits(hello_seconds=0.3)) as rig:
        proxy, port = await start(rig)
        client = await open_tunnel(proxy, f"allowed.test:{port}")
        await client.send(first)
        await client.rest()
        client.close()
        await rig.settled()
        assert rig.events.codes() == ["egress.allowed", "egress.hello-timeout"]


async def test_an_endless_hello() -> None:
    async with plane_rig() as rig:
        proxy, port = await start(rig)
        client = await open_tunnel(proxy, f"allowed.test:{port}")
        await client.send(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff" + bytes(16_380))
        with pytest.raises((ConnectionError, TimeoutError)):
            for _ in range(2000):
                await client.send(b"\x16\x03\x01\x40\x00" + bytes(16_384))
        await rig.settled()
        assert rig.events.codes() == ["egress.allowed", "egress.bad-hello"]


async def test_an_address_that_never_answers_is_504() -> None:
    async with plane_rig(limits=Limits(connect_seconds=0.3)) as rig:
        proxy, port = await start(rig)
        rig.resolver.hold = asyncio.Event()
        status, fields, _ = await ask(proxy, CONNECT.format(port).encode())
        assert (status, fields["x-kap-reason"]) == (504, "egress.connect-timeout")
        rig.resolver.hold = None
        await alive(proxy, port)


async def test_an_origin_that_never_answers_is_504() -> None:
    async with plane_rig(limits=Limits(response_seconds=0.3)) as rig:
        proxy, port = await start(rig, silent, "http")
        request = f"GET http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        status, fields, _ = await ask(proxy, request)
        assert (status, fields["x-kap-reason"]) == (504, "egress.response-timeout")


async def test_a_body_that_never_comes_is_408() -> None:
    async with plane_rig(limits=Limits(response_seconds=0.3)) as rig:
        proxy, port = await start(rig, silent, "http")
        request = f"POST http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc".encode()
        status, fields, _ = await ask(proxy, request)
        assert (status, fields["x-kap-reason"]) == (408, "egress.request-timeout")


async def test_a_kept_connection_is_closed_when_idle() -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with plane_rig(limits=Limits(keepalive_seconds=0.3)) as rig:
        proxy, port = await start(rig, once, "http")
        client = await connect(proxy)
        await client.send(f"GET http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (await client.response())[0] == 200
        assert await client.rest() == b""
        await rig.settled()


@pytest.mark.parametrize("limits", [Limits(connections=3), Limits(connections_per_client=3)])
async def test_too_many_connections_are_429_and_logged_once(limits: Limits) -> None:
    async with plane_rig(limits=limits) as rig:
        proxy, port = await start(rig)
        held = [await connect(proxy) for _ in range(3)]
        async with asyncio.timeout(SOON):
            while rig.plane.connections < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        for _ in range(20):
            client = await connect(proxy)
            status, fields, _ = await client.response()
            assert (status, fields["x-kap-reason"]) == (429, "egress.limit-connections")
            client.close()
        assert rig.events.codes() == ["egress.limit-connections"]
        for client in held:
            client.close()
        await rig.settled()
        await alive(proxy, port)


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_descriptors_running_out_is_survived(few_descriptors: None, caplog: pytest.LogCaptureFixture) -> None:
    """More clients than descriptors, all in this process: kap turns some away, logs little, and works again afterwards."""
    async with plane_rig() as rig:
        proxy, port = await start(rig, silent, "tcp")
        held = []
        for _ in range(200):
            try:
                held.append(await connect(proxy))
                await held[-1].send(CONNECT.format(port).encode())
            except OSError:
                break
        assert len(held) > 20
        for client in held:
            client.reset()
        await rig.settled()
        about_kap = [record for record in caplog.records if f"127.0.0.1', {proxy})" in record.getMessage()]
        assert len(about_kap) < 50
        client = await open_tunnel(proxy, f"allowed.test:{port}")
        client.close()


async def test_garbage_aborts_and_resets_leave_nothing_behind() -> None:
    async with plane_rig(limits=Limits(head_seconds=1.0, hello_seconds=1.0)) as rig:
        proxy, port = await start(rig)
        connect_head = CONNECT.format(port).encode()
        for data in (
            b"",
            b"\x00" * 100,
            b"\r\n" * 100,
            b"\xff" * 70_000,
            connect_head[:20],
            connect_head,
            connect_head + HELLO,
        ):
            for end in ("reset", "close", "half_close"):
                client = await connect(proxy)
                await client.send(data)
                getattr(client, end)()
                if end == "half_close":
                    await client.rest()
                    client.close()
        await rig.settled()
        await alive(proxy, port)
        await rig.settled()
        assert "egress.internal-error" not in rig.events.codes()
