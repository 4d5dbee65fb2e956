"""Names that change their mind: the address that was vetted is the one that is dialled, and nothing else ever is."""

from __future__ import annotations

import asyncio

import pytest

from kap.egress.connector import Connector
from kap.policy.compiler import compile_rules
from rig.client import ask, connect, open_tunnel
from rig.plane import Rig, StaticResolver, client_hello, plane_rig, policy_of


class Flipping(StaticResolver):
    """A granted address on the first question, kap's neighbour on every other."""

    def __init__(self, first: str, then: str) -> None:
        super().__init__({})
        self.first, self.then = first, then

    async def resolve(self, name: str) -> tuple[str, ...]:
        self.asked.append(name)
        return (self.first,) if len(self.asked) == 1 else (self.then,)


def replace_resolver(rig: Rig, resolver: StaticResolver) -> None:
    connector: Connector = rig.plane._state.connector
    connector.resolver = resolver


async def test_rebinding_is_asked_once_per_connection_and_vetted_each_time() -> None:
    seen: list[str] = []

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("sockname")[0])
        await reader.read()

    async with plane_rig() as rig:
        port = await rig.origin(origin)
        rig.plane.apply(policy_of(f"allowed.test:{port}/tcp", private=("127.0.0.1/32",)))
        resolver = Flipping("127.0.0.1", "127.0.0.2")
        replace_resolver(rig, resolver)
        proxy = await rig.listen()
        client = await open_tunnel(proxy, f"allowed.test:{port}")
        assert resolver.asked == ["allowed.test"]
        status, fields, _ = await ask(proxy, f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode())
        assert (status, fields["x-kap-reason"]) == (403, "egress.address-not-global")
        assert seen == ["127.0.0.1"]
        client.close()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "fe80::1",
        "64:ff9b::7f00:1",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
async def test_no_special_address_is_dialled(address: str) -> None:
    async with plane_rig(allow=("allowed.test",), private=(), names={"allowed.test": (address,)}) as rig:
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.address-not-global")


async def test_a_loop_through_kap_itself_is_refused_on_every_way_in() -> None:
    own = frozenset({"127.0.0.1"})
    async with plane_rig(allow=("allowed.test",), own_addresses=own) as rig:
        proxy = await rig.listen()
        plain = await rig.listen("http")
        tls = await rig.listen("tls")
        for port, raw in (
            (proxy, b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n"),
            (proxy, b"GET http://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n"),
            (plain, b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n"),
        ):
            status, fields, _ = await ask(port, raw)
            assert (status, fields["x-kap-reason"]) == (403, "egress.own-address")
        client = await connect(tls)
        await client.send(client_hello("allowed.test"))
        await client.rest()
        client.close()
        assert rig.events.codes() == ["egress.own-address"] * 4


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        (client_hello("denied.test"), "egress.not-listed"),
        (client_hello(None), "egress.no-sni"),
        (b"GET / HTTP/1.1\r\n\r\n", "egress.not-tls"),
        (b"\x16\x03\x01\x00\x00", "egress.bad-hello"),
    ],
)
async def test_transparent_tls_goes_where_the_sni_says_or_nowhere(hello: bytes, code: str) -> None:
    async with plane_rig() as rig:

        async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.read(10_000))
            await writer.drain()

        port = await rig.origin(origin)
        rig.plane.apply(policy_of(f"allowed.test:{port}/tls"))
        listener = await rig.listen("tls", port)
        good = client_hello("allowed.test")
        client = await connect(listener)
        await client.send(good[:30])
        await client.send(good[30:])
        assert await client.exactly(len(good)) == good
        client.close()
        client = await connect(listener)
        await client.send(hello)
        answer = await client.rest()
        assert answer in (b"", b"\x15\x03\x03\x00\x02\x02\x31")
        client.close()
        await rig.settled()
        assert rig.events.codes() == ["egress.allowed", code]


def with_ech(hello: bytes) -> bytes:
    """`hello` with an empty Encrypted ClientHello extension behind the others, every length put right."""
    record, message = hello[:5], hello[9:]
    at = 34
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    extra = b"\xfe\x0d\x00\x0a" + bytes(10)
    size = int.from_bytes(message[at : at + 2], "big") + len(extra)
    message = message[:at] + size.to_bytes(2, "big") + message[at + 2 :] + extra
    handshake = b"\x01" + len(message).to_bytes(3, "big") + message
    return record[:3] + len(handshake).to_bytes(2, "big") + handshake


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("transparent", [True, False])
async def test_encrypted_client_hello_only_where_it_is_opted_in(allowed: bool, transparent: bool) -> None:
    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(10_000))
        await writer.drain()

    hello = with_ech(client_hello("allowed.test"))
    async with plane_rig() as rig:
        port = await rig.origin(origin)
        rule = (f"allowed.test:{port}/tls",)
        ech = (f"allowed.test:{port}",) if allowed else ()
        rig.plane.apply(compile_rules(allow=rule, private=("127.0.0.0/8",), ech=ech))
        if transparent:
            client = await connect(await rig.listen("tls", port))
        else:
            client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(hello)
        answer = await client.rest()
        client.close()
        await rig.settled()
        if allowed:
            assert answer == hello
            assert rig.events.codes() == ["egress.allowed"]
        else:
            assert answer == b"\x15\x03\x03\x00\x02\x02\x31"
            assert rig.events.codes()[-1] == "egress.ech-refused"


async def test_transparent_tls_is_not_let_onto_a_port_declared_for_something_else() -> None:
    for wire, code in (("http", "egress.not-http"), ("ssh", "egress.not-ssh")):
        async with plane_rig() as rig:
            rig.plane.apply(policy_of(f"allowed.test:4433/{wire}"))
            client = await connect(await rig.listen("tls", 4433))
            await client.send(client_hello("allowed.test"))
            await client.rest()
            client.close()
            await rig.settled()
            assert rig.events.codes() == [code]


async def test_bytes_that_look_like_a_remembered_connect_are_still_judged_anew() -> None:
    """What is remembered is how bytes parse, never the verdict."""

    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with plane_rig() as rig:
        port = await rig.origin(origin)
        proxy = await rig.listen()
        raw = f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode()
        rig.plane.apply(policy_of(f"allowed.test:{port}/tcp"))
        for _ in range(2):
            client = await connect(proxy)
            await client.send(raw)
            assert (await client.head()).startswith(b"HTTP/1.1 200 ")
            client.close()
        rig.plane.apply(policy_of("other.test"))
        status, fields, _ = await ask(proxy, raw)
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")


async def test_a_pipelined_connect_is_not_remembered_as_the_first_bytes() -> None:
    async def origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await reader.read()

    async with plane_rig() as rig:
        port = await rig.origin(origin)
        rig.plane.apply(policy_of(f"allowed.test:{port}/http", f"other.test:{port}/http"))
        proxy = await rig.listen()
        raw = f"GET http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\nCONNECT other.test:{port} HTTP/1.1\r\n\r\n".encode()
        for _ in range(2):
            client = await connect(proxy)
            await client.send(raw)
            assert (await client.response())[2] == b"ok"
            assert (await client.head()).startswith(b"HTTP/1.1 200 ")
            client.close()
        assert rig.plane._state.known_connects == {}
