"""Plain HTTP on real sockets: rebuilt requests, reused connections, both bodies streaming, pipelining, upgrades, cut answers."""

from __future__ import annotations

import asyncio

import pytest

from rig.client import Client, ask, connect
from rig.plane import SOON, Rig, plane_rig, policy_of


class Origin:
    """Answers each request with the next of `answers` (the last one repeats); keeps heads and bodies as they came."""

    def __init__(self, *answers: bytes, close: bool = False) -> None:
        self.answers = list(answers) or [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"]
        self.close = close
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            self.bodies.append(await self._body(head, reader))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            writer.write(answer)
            await writer.drain()
            if self.close:
                return

    async def _body(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            return await reader.readuntil(b"\r\n0\r\n") + await reader.readuntil(b"\r\n")
        if b"content-length: " in lower:
            return await reader.readexactly(int(lower.split(b"content-length: ")[1].split(b"\r\n")[0]))
        return b""


async def start(rig: Rig, origin: object, *more: str) -> tuple[int, int]:
    port = await rig.origin(origin)  # type: ignore[arg-type]
    rig.plane.apply(policy_of(f"allowed.test:{port}/http", f"other.test:{port}/http", *more))
    return await rig.listen(), port


def get(port: int, host: str = "allowed.test", path: str = "/", fields: str = "") -> bytes:
    return f"GET http://{host}:{port}{path} HTTP/1.1\r\nHost: wrong.test\r\n{fields}\r\n".encode()


async def test_the_request_is_rebuilt_with_host_forced() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        fields = "Proxy-Authorization: Basic eDp5\r\nX-Mine: 1\r\nConnection: x-mine\r\n"
        status, got, body = await ask(proxy, get(port, path="/a?b=c", fields=fields))
        assert (status, body, got["via"]) == (200, b"ok", "1.1 kap")
        head = origin.heads[0]
        assert head.startswith(b"GET /a?b=c HTTP/1.1\r\n")
        assert f"host: allowed.test:{port}\r\n".encode() in head.lower()
        assert b"wrong.test" not in head
        assert b"roxy" not in head and b"X-Mine" not in head
        event = rig.events[0]
        assert (event.method, event.host, event.port, event.address) == ("GET", "allowed.test", port, "127.0.0.1")


async def test_a_kept_connection_is_reused_and_every_request_decided() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        for _ in range(20):
            await client.send(get(port))
            assert (await client.response())[0] == 200
        assert (origin.connections, rig.events.codes()) == (1, ["egress.allowed"] * 20)
        await client.send(get(port, host="other.test"))
        assert (await client.response())[0] == 200
        assert origin.connections == 2
        await client.send(get(port, host="denied.test"))
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")
        assert await client.rest() == b""


async def test_a_pipelined_request_to_a_denied_host_gets_its_own_refusal() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        await client.send(get(port) + get(port, path="/2") + get(port, host="denied.test") + get(port, path="/never"))
        assert (await client.response())[0] == 200
        assert (await client.response())[0] == 200
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")
        assert await client.rest() == b""
        assert [head.split(b" ")[1] for head in origin.heads] == [b"/", b"/2"]


async def test_a_chunked_upload_with_trailers_streams() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        head = f"POST http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.send(head.encode())
        await client.send(b"5;ext=1\r\nhel")
        await client.send(b"lo\r\n0\r\nX-Sum: 9\r\n\r\n")
        assert (await client.response())[0] == 200
        assert b"hel" in origin.bodies[0] and origin.bodies[0].endswith(b"0\r\nX-Sum: 9\r\n")


async def test_head_and_no_content_and_interim_answers() -> None:
    origin = Origin(
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        await client.send(get(port).replace(b"GET", b"HEAD"))
        assert b"content-length: 1000" in (await client.head()).lower()
        await client.send(get(port))
        assert (await client.head()).startswith(b"HTTP/1.1 204 ")
        await client.send(get(port))
        assert (await client.head()).startswith(b"HTTP/1.1 103 ")
        assert (await client.response())[2] == b"ok"
        assert origin.connections == 1


async def test_expect_continue_is_the_origins_to_answer() -> None:
    async def continues(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"expect: 100-continue" in head.lower()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await reader.readexactly(4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + body)
        await writer.drain()

    async with plane_rig() as rig:
        proxy, port = await start(rig, continues)
        client = await connect(proxy)
        head = (
            f"PUT http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        await client.send(head.encode())
        assert (await client.head()).startswith(b"HTTP/1.1 100 ")
        await client.send(b"body")
        assert (await client.response())[2] == b"body"


async def test_an_answer_until_close_ends_the_clients_connection_too() -> None:
    origin = Origin(b"HTTP/1.0 200 OK\r\n\r\nall of it", close=True)
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        await client.send(get(port))
        assert b"connection: close" in (await client.head()).lower()
        assert await client.rest() == b"all of it"


async def test_a_cut_answer_has_no_clean_end() -> None:
    origin = Origin(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", close=True)
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        await client.send(get(port))
        await client.head()
        assert b"0\r\n\r\n" not in await client.rest()


@pytest.mark.parametrize(
    "answer",
    [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"\x16\x03\x01"],
)
async def test_an_answer_that_is_not_http_is_502(answer: bytes) -> None:
    async with plane_rig() as rig:
        proxy, port = await start(rig, Origin(answer, close=True))
        status, fields, _ = await ask(proxy, get(port))
        assert (status, fields["x-kap-reason"]) == (502, "egress.bad-response")


async def test_an_answer_until_close_that_is_reset_does_not_look_whole() -> None:
    far: list[asyncio.StreamWriter] = []

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhalf of")
        await reader.read(1)

    async with plane_rig() as rig:
        proxy, port = await start(rig, half)
        client = await connect(proxy)
        await client.send(get(port))
        await client.head()
        assert await client.exactly(7) == b"half of"
        Client(client.reader, far[0]).reset()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(client.reader.read(), SOON)


async def test_a_policy_that_is_swapped_in_is_asked_before_a_kept_connection_is_used() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        await client.send(get(port))
        assert (await client.response())[0] == 200
        rig.plane._state.live.policy = policy_of(f"allowed.test:{port}/http", private=())
        await client.send(get(port))
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (403, "egress.address-not-global")
        assert len(origin.heads) == 1


async def test_no_answer_at_all_is_502() -> None:
    async with plane_rig() as rig:
        proxy, port = await start(rig, Origin(b"", close=True))
        status, fields, _ = await ask(proxy, get(port))
        assert (status, fields["x-kap-reason"]) == (502, "egress.bad-response")


async def test_a_get_is_asked_again_where_a_kept_connection_had_ended() -> None:
    connections = 0

    async def one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        if connections == 1:
            await reader.readuntil(b"\r\n\r\n")  # the second request, never answered here

    async with plane_rig() as rig:
        proxy, port = await start(rig, one_answer)
        client = await connect(proxy)
        for _ in range(2):
            await client.send(get(port))
            assert (await client.response())[0] == 200
        assert connections == 2
        await client.send(get(port).replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"))
        assert (await client.response())[0] == 200


async def test_a_websocket_is_relayed_only_after_101() -> None:
    got = asyncio.get_running_loop().create_future()

    async def socket_server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"upgrade: websocket" in head.lower()
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst")
        got.set_result(await reader.read(100))
        writer.write(b"second")
        await writer.drain()

    async with plane_rig() as rig:
        proxy, port = await start(rig, socket_server)
        client = await connect(proxy)
        await client.send(get(port, fields="Connection: Upgrade\r\nUpgrade: websocket\r\n") + b"\x81\x00frame")
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.exactly(11) == b"firstsecond"
        assert await asyncio.wait_for(got, SOON) == b"\x81\x00frame"


async def test_a_refused_upgrade_is_http_again() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        proxy, port = await start(rig, origin)
        client = await connect(proxy)
        smuggled = get(port, host="denied.test")
        await client.send(get(port, fields="Connection: Upgrade\r\nUpgrade: websocket\r\n") + smuggled)
        assert (await client.response())[0] == 200
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")
        assert len(origin.heads) == 1


async def test_a_large_answer_streams_with_back_pressure() -> None:
    sent = 0
    total = 40_000_000

    async def large(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        while sent < total:
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async with plane_rig() as rig:
        proxy, port = await start(rig, large)
        client = await connect(proxy)
        await client.send(get(port))
        await client.head()
        before = -1
        while before != sent:  # until the origin is stopped by a client that does not read
            before = sent
            await asyncio.sleep(0.2)
        assert sent < total
        assert len(await client.exactly(total)) == total


async def test_a_client_that_half_closes_gets_its_answer() -> None:
    async with plane_rig() as rig:
        proxy, port = await start(rig, Origin())
        client = await connect(proxy)
        await client.send(get(port))
        client.half_close()
        assert (await client.rest()).endswith(b"ok")
        await rig.settled()


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", 400, "egress.bad-request"),
        (b"GET http://allowed.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "egress.bad-request"),
        (b"GET https://allowed.test/ HTTP/1.1\r\nHost: allowed.test\r\n\r\n", 400, "egress.bad-request"),
        (
            b"POST http://allowed.test/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "egress.bad-framing",
        ),
        (b"GET http://allowed.test:443/ HTTP/1.1\r\nHost: a\r\n\r\n", 403, "egress.not-tls"),
        (
            b"GET http://allowed.test/ HTTP/1.1\r\nHost: a\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
            403,
            "egress.upgrade-refused",
        ),
        (b"\x05\x01\x00\r\n\r\n", 400, "egress.not-http"),
        (b"GET http://allowed.test/ HTTP/1.1\r\nX: " + b"a" * 70_000, 431, "egress.head-too-large"),
    ],
)
async def test_what_is_not_a_request_is_refused(raw: bytes, status: int, code: str) -> None:
    async with plane_rig(allow=("allowed.test",)) as rig:
        got, fields, _ = await ask(await rig.listen(), raw)
        assert (got, fields["x-kap-reason"]) == (status, code)
        assert rig.events.allowed() == []


async def test_transparent_http_goes_where_host_says() -> None:
    origin = Origin()
    async with plane_rig() as rig:
        port = await rig.origin(origin)
        rig.plane.apply(policy_of(f"allowed.test:{port}/http"))
        listener = await rig.listen("http", port)
        client = await connect(listener)
        await client.send(b"GET /x HTTP/1.1\r\nHost: allowed.test\r\n\r\n")
        assert (await client.response())[0] == 200
        await client.send(b"GET /x HTTP/1.1\r\nHost: denied.test\r\n\r\n")
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")
        assert len(origin.heads) == 1


@pytest.mark.parametrize("wire", ["http", "auto"])
async def test_http_inside_connect_is_held_to_the_target(wire: str) -> None:
    origin = Origin()
    async with plane_rig() as rig:
        port = await rig.origin(origin)
        rig.plane.apply(policy_of(f"allowed.test:{port}/{wire}"))
        client = await connect(await rig.listen())
        inside = f"GET /1 HTTP/1.1\r\nHost: allowed.test:{port}\r\n\r\n".encode()
        await client.send(f"CONNECT allowed.test:{port} HTTP/1.1\r\n\r\n".encode() + inside)
        assert (await client.head()).startswith(b"HTTP/1.1 200 ")
        assert (await client.response())[0] == 200
        await client.send(inside.replace(b"GET /1", b"GET /2"))
        assert (await client.response())[0] == 200
        await client.send(b"GET / HTTP/1.1\r\nHost: denied.test\r\n\r\n")
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (400, "egress.host-mismatch")
        assert (len(origin.heads), origin.connections) == (2, 1)
