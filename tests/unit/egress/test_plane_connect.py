"""CONNECT on real sockets: what opens, what is refused with which code, and that nothing passes before the verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from rig.client import ask, connect, open_tunnel
from rig.plane import SOON, Rig, client_hello, plane_rig, policy_of

HELLO = client_hello("allowed.test")


class Seen:
    """An origin that keeps what it got and echoes it."""

    def __init__(self) -> None:
        self.data = b""
        self.connections = 0
        self.ended = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(1 << 18):
            self.data += data
            writer.write(data)
            await writer.drain()
        self.ended.set()


@pytest.fixture
async def origin() -> Seen:
    return Seen()


@pytest.fixture
async def rig(origin: Seen) -> AsyncIterator[tuple[Rig, int, int]]:
    async with plane_rig(allow=("placeholder.test",)) as rig:
        port = await rig.origin(origin)
        rules = (f"allowed.test:{port}/tls", f"other.test:{port}/tls")
        rig.plane.apply(policy_of(*rules))
        yield rig, await rig.listen(), port


async def test_a_hello_for_the_target_opens_the_tunnel_byte_for_byte(rig: tuple[Rig, int, int], origin: Seen) -> None:
    plane, proxy, port = rig
    client = await open_tunnel(proxy, f"allowed.test:{port}")
    await client.send(HELLO)
    assert await client.exactly(len(HELLO)) == HELLO
    client.half_close()
    assert await client.rest() == b""
    await plane.settled()
    assert origin.data == HELLO
    decision, closed = plane.events
    assert (decision.code, decision.verdict, decision.host, decision.port) == (
        "egress.allowed",
        "allow",
        "allowed.test",
        port,
    )
    assert (decision.method, decision.address, decision.rule is not None) == ("CONNECT", "127.0.0.1", True)
    assert (closed.kind, closed.id, closed.bytes_up, closed.bytes_down) == (
        "closed",
        decision.id,
        len(HELLO),
        len(HELLO),
    )


async def test_a_hello_in_the_same_segment_as_connect(rig: tuple[Rig, int, int], origin: Seen) -> None:
    _, proxy, port = rig
    client = await connect(proxy)
    await client.send(f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode() + HELLO)
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    assert await client.exactly(len(HELLO)) == HELLO


async def test_a_hello_in_single_bytes(rig: tuple[Rig, int, int], origin: Seen) -> None:
    _, proxy, port = rig
    client = await open_tunnel(proxy, f"allowed.test:{port}")
    for byte in HELLO:
        await client.send(bytes([byte]))
    assert await client.exactly(len(HELLO)) == HELLO


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (client_hello("other.test"), "egress.sni-mismatch"),
        (client_hello(None), "egress.no-sni"),
        (b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "egress.not-tls"),
        (b"SSH-2.0-x\r\n", "egress.not-tls"),
        (b"\x15\x03\x03\x00\x02\x01\x00" + HELLO, "egress.not-tls"),
        (b"\x16\x03\x01\x00\x00" + HELLO, "egress.bad-hello"),
    ],
)
async def test_what_is_no_hello_for_the_target_never_reaches_the_origin(
    rig: tuple[Rig, int, int], origin: Seen, first: bytes, code: str
) -> None:
    plane, proxy, port = rig
    client = await open_tunnel(proxy, f"allowed.test:{port}")
    await client.send(first)
    answer = await client.rest()
    assert answer in (b"", bytes([21, 3, 3, 0, 2, 2, 49]))
    client.close()
    await plane.settled()
    assert origin.data == b""
    assert plane.events.codes() == ["egress.allowed", code]


@pytest.mark.parametrize(
    ("authority", "status", "code"),
    [
        ("denied.test:443", 403, "egress.not-listed"),
        ("allowed.test:22", 403, "egress.port-not-listed"),
        ("127.0.0.1:443", 403, "egress.ip-not-listed"),
        ("0x7f000001:443", 400, "egress.bad-target"),
        ("allowed.test", 400, "egress.bad-target"),
        ("allowed.test:0", 400, "egress.bad-target"),
        ("[::1]:443", 403, "egress.ip-not-listed"),
    ],
)
async def test_a_refused_connect_says_why(rig: tuple[Rig, int, int], authority: str, status: int, code: str) -> None:
    plane, proxy, _ = rig
    got, fields, body = await ask(proxy, f"CONNECT {authority} HTTP/1.1\r\n\r\n".encode())
    assert (got, fields["x-kap-reason"]) == (status, code)
    assert code.encode() in body
    assert plane.events.codes() == [code]


async def test_no_policy_is_no_way_out(rig: tuple[Rig, int, int]) -> None:
    plane, proxy, port = rig
    plane.plane._state.live.policy = None
    status, fields, _ = await ask(proxy, f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode())
    assert (status, fields["x-kap-reason"]) == (503, "egress.no-policy")


async def test_a_name_that_does_not_resolve_is_502() -> None:
    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (502, "egress.dns-failure")


async def test_a_refused_connection_is_502() -> None:
    async with plane_rig(allow=("allowed.test:1/tls",)) as rig:
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:1 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (502, "egress.connect-failed")


async def test_the_next_address_is_tried() -> None:
    names = {"allowed.test": ("127.0.0.2", "127.0.0.1")}
    async with plane_rig(names=names) as rig:
        seen = Seen()
        port = await rig.origin(seen)
        rig.plane.apply(policy_of(f"allowed.test:{port}/tcp"))
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(b"x")
        assert await client.exactly(1) == b"x"
        assert rig.events[0].address == "127.0.0.1"


async def test_a_private_address_behind_an_allowed_name_is_refused() -> None:
    async with plane_rig(allow=("allowed.test",), private=()) as rig:
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.address-not-global")
        assert rig.events[0].address == "127.0.0.1"


async def test_kap_itself_is_refused_even_where_the_range_is_granted() -> None:
    async with plane_rig(allow=("allowed.test",), own_addresses=frozenset({"127.0.0.1"})) as rig:
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.own-address")


async def test_the_server_must_not_speak_first_on_a_tls_port(rig: tuple[Rig, int, int]) -> None:
    plane, proxy, _ = rig

    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp\r\n")
        await reader.read()

    port = await plane.origin(speaks)
    plane.plane.apply(policy_of(f"allowed.test:{port}/tls"))
    client = await connect(proxy)
    await client.send(f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode())
    answer = await client.rest()
    assert b"220 smtp" not in answer
    client.close()
    await plane.settled()
    assert plane.events.codes()[-1] == "egress.server-first"


async def test_declared_tcp_lets_the_server_speak_first() -> None:
    async def speaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello from the server")
        await writer.drain()
        writer.write(await reader.read(100))
        await writer.drain()

    async with plane_rig() as rig:
        port = await rig.origin(speaks)
        rig.plane.apply(policy_of(f"allowed.test:{port}/tcp"))
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        assert await client.exactly(21) == b"hello from the server"
        await client.send(b"and back")
        assert await client.rest() == b"and back"


async def test_half_close_travels_both_ways() -> None:
    async with plane_rig() as rig:
        got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            got.set_result(await reader.read(-1))
            writer.write(b"after your end")
            await writer.drain()

        port = await rig.origin(late)
        rig.plane.apply(policy_of(f"allowed.test:{port}/tcp"))
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(b"mine")
        client.half_close()
        assert await asyncio.wait_for(got, SOON) == b"mine"
        assert await client.rest() == b"after your end"
        await rig.settled()
