"""HTTP and tunnels through mitmproxy's layers under kap's gate: what works, what is refused, what other addons can and cannot do."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

pytest.importorskip("mitmproxy", reason="mitmproxy is not installed (it needs Python 3.13)")

from kap.config.model import Limits
from kap.egress.upstream import UpstreamProxy
from kap.names.hosts import Host, Target
from kap.names.patterns import parse_pattern
from rig.client import Client, ask, connect, open_tunnel
from rig.gate import GateRig, gate_rig
from rig.plane import SOON, Handler, bound, client_hello, policy_of
from rig.wire import PONG, Origin

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter
SHORT = Limits(head_seconds=0.3, hello_seconds=0.3, connect_seconds=0.3, response_seconds=0.3)


async def site(rig: GateRig, handler: Handler, wire: str = "") -> int:
    """An origin for ``allowed.test`` on a port of its own, and a policy that allows it."""
    port = await rig.origin(handler)
    rig.plane.apply(policy_of(f"allowed.test:{port}{wire}"))
    return port


def get(port: int, path: str = "/", extra: str = "", method: str = "GET") -> bytes:
    return f"{method} http://allowed.test:{port}{path} HTTP/1.1\r\nHost: allowed.test:{port}\r\n{extra}\r\n".encode()


async def head_of(reader: Reader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def test_ten_requests_on_one_connection_use_one_connection() -> None:
    origin = Origin()
    async with gate_rig() as rig:
        port = await site(rig, origin.http)
        client = await connect(await rig.listen())
        for number in range(10):
            await client.send(get(port, f"/{number}"))
            assert (await client.response())[0] == 200
        client.close()
        await rig.settled()
    assert len(origin.seen) == 1
    assert origin.seen[0].count(b"Host: allowed.test:%d\r\nVia: 1.1 kap\r\n" % port) == 10
    assert rig.events.codes() == ["egress.allowed"] * 10


async def test_pipelined_requests_are_answered_in_turn() -> None:
    origin = Origin()
    async with gate_rig() as rig:
        port = await site(rig, origin.http)
        client = await connect(await rig.listen())
        await client.send(get(port, "/1") + get(port, "/2") + get(port, "/3", "Connection: close\r\n"))
        assert (await client.rest()).count(b"\r\n\r\nok") == 3
    assert len(origin.seen) == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_large_bodies_stream_both_ways(framing: str) -> None:
    body = bytes(range(256)) * 8192  # 2 MiB
    got: list[bytes] = []

    async def echo(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        got.append(await reader.readexactly(len(body)))
        head = {
            "length": b"Content-Length: %d\r\n" % len(body),
            "chunked": b"Transfer-Encoding: chunked\r\n",
            "close": b"Connection: close\r\n",
        }[framing]
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        writer.write(b"%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n" % (len(body), body) if framing == "chunked" else body)
        await writer.drain()

    async with gate_rig() as rig:
        port = await site(rig, echo)
        client = await connect(await rig.listen())
        sending = asyncio.create_task(
            client.send(get(port, "/", f"Content-Length: {len(body)}\r\nConnection: close\r\n", "POST") + body)
        )
        head = await client.head()
        answer = await client.rest()
        await sending
    assert got == [body]
    assert head.startswith(b"HTTP/1.1 200") and b"Connection: close" in head
    if framing == "chunked":
        answer = unchunk(answer)
    assert answer == body


def unchunk(data: bytes) -> bytes:
    out = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            return out
        out, data = out + data[: int(size, 16)], data[int(size, 16) + 2 :]


async def test_chunked_request_head_and_http_1_0() -> None:
    seen: list[bytes] = []

    async def origin(reader: Reader, writer: Writer) -> None:
        while True:
            head = await head_of(reader)
            if b"chunked" in head:
                head += await reader.readuntil(b"0\r\n\r\n")
            seen.append(head)
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            if not head.startswith(b"HEAD"):
                writer.write(b"2\r\nhi\r\n0\r\n\r\n")

    async with gate_rig() as rig:
        port = await site(rig, origin)
        listening = await rig.listen()
        client = await connect(listening)
        await client.send(get(port, "/", "Transfer-Encoding: chunked\r\n", "POST") + b"3;x\r\nabc\r\n0\r\nX: y\r\n\r\n")
        assert b"Transfer-Encoding: chunked" in await client.head()
        assert await client.exactly(len(b"2\r\nhi\r\n0\r\n\r\n")) == b"2\r\nhi\r\n0\r\n\r\n"
        await client.send(get(port, method="HEAD"))
        assert b"Transfer-Encoding: chunked" in await client.head()
        client.close()
        client = await connect(listening)
        await client.send(b"GET http://allowed.test:%d/ HTTP/1.0\r\n\r\n" % port)
        assert (await client.rest()).endswith(b"Connection: close\r\nVia: 1.1 kap\r\n\r\nhi")
    assert seen[0].endswith(b"3\r\nabc\r\n0\r\n\r\n")


async def test_half_closed_client_gets_its_answer() -> None:
    ended = asyncio.Event()

    async def slow(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        await ended.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

    async with gate_rig() as rig:
        port = await site(rig, slow)
        client = await connect(await rig.listen())
        await client.send(get(port))
        client.half_close()
        ended.set()
        assert (await client.rest()).endswith(b"\r\n\r\nhi")


async def test_websocket() -> None:
    async def origin(reader: Reader, writer: Writer) -> None:
        head = await head_of(reader)
        assert b"Connection: Upgrade\r\nUpgrade: websocket\r\n" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi"
        )
        frame = await reader.readexactly(2 + 4 + 3)
        text = bytes(b ^ frame[2 + i % 4] for i, b in enumerate(frame[6:]))
        writer.write(b"\x81\x03" + text)
        await reader.read(10)

    offer = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    )
    async with gate_rig() as rig:
        port = await site(rig, origin)
        client = await connect(await rig.listen())
        await client.send(get(port, "/", offer))
        assert (await client.head()).startswith(b"HTTP/1.1 101 ")
        assert await client.exactly(4) == b"\x81\x02hi"
        await client.send(b"\x81\x83\x01\x02\x03\x04" + bytes(b ^ (1 + i % 4) for i, b in enumerate(b"abc")))
        assert await client.exactly(5) == b"\x81\x03abc"
        client.close()


async def test_refused_websocket_goes_on_in_http() -> None:
    origin = Origin()
    async with gate_rig() as rig:
        port = await site(rig, origin.http)
        client = await connect(await rig.listen())
        await client.send(get(port, "/", "Connection: Upgrade\r\nUpgrade: websocket\r\n"))
        assert (await client.response())[2] == b"ok"
        await client.send(get(port, "/2"))
        assert (await client.response())[2] == b"ok"
        client.close()
    assert len(origin.seen) == 1


async def test_tunnel_and_half_close() -> None:
    async def origin(reader: Reader, writer: Writer) -> None:
        data = await reader.read(-1)  # to the client's end
        writer.write(b"got %d" % len(data))

    hello = client_hello("allowed.test")
    async with gate_rig() as rig:
        port = await site(rig, origin)
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(hello + b"x" * 1000)
        client.half_close()
        assert await client.rest() == b"got %d" % (len(hello) + 1000)
        await rig.settled()
    closed = [event for event in rig.events if event.kind == "closed"]
    assert [(event.bytes_up, event.bytes_down) for event in closed] == [(len(hello) + 1000, 8)]


async def test_http_inside_a_tunnel_is_held_to_its_target() -> None:
    origin = Origin()
    async with gate_rig() as rig:
        port = await site(rig, origin.http, "/http")
        listening = await rig.listen()
        client = await open_tunnel(listening, f"allowed.test:{port}")
        await client.send(f"GET /x HTTP/1.1\r\nHost: allowed.test:{port}\r\n\r\n".encode())
        assert (await client.response())[2] == b"ok"
        client.close()
        client = await open_tunnel(listening, f"allowed.test:{port}")
        await client.send(f"GET /x HTTP/1.1\r\nHost: other.test:{port}\r\n\r\n".encode())
        status, fields, _ = await client.response()
        assert (status, fields["x-kap-reason"]) == (400, "egress.host-mismatch")
    assert sum(record.count(b"GET /x") for record in origin.seen) == 1


async def test_ssh_banner_and_what_is_none() -> None:
    async def origin(reader: Reader, writer: Writer) -> None:
        writer.write(b"SSH-2.0-server\r\n")
        while data := await reader.read(100):
            writer.write(b"echo " + data)

    async with gate_rig() as rig:
        port = await site(rig, origin, "/ssh")
        listening = await rig.listen()
        client = await open_tunnel(listening, f"allowed.test:{port}")
        assert await client.exactly(16) == b"SSH-2.0-server\r\n"
        await client.send(b"SSH-2.0-client\r\n")
        assert await client.exactly(21) == b"echo SSH-2.0-client\r\n"
        client.close()
        client = await open_tunnel(listening, f"allowed.test:{port}")
        await client.send(b"GET / HTTP/1.1\r\n\r\n")
        assert b"echo" not in await client.rest()
    assert "egress.not-ssh" in rig.events.codes()


async def test_a_server_that_speaks_first_is_cut() -> None:
    async def origin(reader: Reader, writer: Writer) -> None:
        writer.write(b"220 mail\r\n")
        await reader.read(100)

    async with gate_rig() as rig:
        port = await site(rig, origin)
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        assert await client.rest() == b""
    assert rig.events.codes()[-1] == "egress.server-first"


@pytest.mark.parametrize(
    ("raw", "code", "status"),
    [
        (b"CONNECT denied.test:443 HTTP/1.1\r\n\r\n", "egress.not-listed", 403),
        (b"GET http://closed.test:443/ HTTP/1.1\r\nHost: closed.test\r\n\r\n", "egress.not-tls", 403),
        (b"GET http://denied.test/ HTTP/1.1\r\nHost: denied.test\r\n\r\n", "egress.not-listed", 403),
        (b"GET http://missing.test/ HTTP/1.1\r\nHost: missing.test\r\n\r\n", "egress.dns-failure", 502),
        (b"GET http://private.test/ HTTP/1.1\r\nHost: private.test\r\n\r\n", "egress.address-not-global", 403),
        (b"CONNECT own.test:443 HTTP/1.1\r\n\r\n", "egress.own-address", 403),
        (b"CONNECT closed.test:80 HTTP/1.1\r\n\r\n", "egress.connect-failed", 502),
        (b"GET http://closed.test/ HTTP/1.1\r\nHost: closed.test\r\n\r\n", "egress.connect-failed", 502),
    ],
)
async def test_answers_with_a_reason(raw: bytes, code: str, status: int) -> None:
    names = {"private.test": ("10.0.0.1",), "own.test": ("127.0.0.9",), "closed.test": ("127.0.0.8",)}
    allow = ("missing.test", "private.test", "own.test", "closed.test")
    async with gate_rig(allow=allow, names=names, own_addresses=frozenset({"127.0.0.9"})) as rig:
        got, fields, body = await ask(await rig.listen(), raw)
    assert (got, fields["x-kap-reason"]) == (status, code)
    assert code in body.decode() and "server" not in fields
    assert rig.events.codes()[-1] == code


async def test_hosts_behind_an_upstream_proxy_are_not_dialled_directly() -> None:
    upstream = UpstreamProxy(Target(Host("proxy.test"), 3128), direct=(parse_pattern("other.test", "deny"),))
    async with gate_rig(allow=("allowed.test", "other.test"), upstream=upstream) as rig:
        port = await rig.listen()
        status, fields, _ = await ask(port, b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (502, "egress.upstream-proxy")
        _, fields, _ = await ask(port, b"CONNECT other.test:443 HTTP/1.1\r\n\r\n")
        assert fields["x-kap-reason"] == "egress.connect-failed"


async def test_json_for_those_who_ask_for_it() -> None:
    async with gate_rig() as rig:
        raw = b"GET http://denied.test/ HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"
        _, _, body = await ask(await rig.listen(), raw)
    assert json.loads(body)["error"] == "egress.not-listed"


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (b"", ""),
        (b"GET http://allowed.test/ HTTP/1.1\r\nX: ", "egress.request-timeout"),
    ],
)
async def test_clients_that_hang(sent: bytes, code: str) -> None:
    async with gate_rig(limits=SHORT) as rig:
        client = await connect(await rig.listen())
        await client.send(sent)
        answer = await client.rest()
        await rig.settled()
    assert rig.events.codes() == ([code] if code else [])
    assert not code or answer.startswith(b"HTTP/1.1 408 ")


async def test_tunnels_and_hosts_that_hang() -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read(-1)

    async with gate_rig(limits=SHORT) as rig:
        port = await site(rig, silent)
        listening = await rig.listen()
        client = await open_tunnel(listening, f"allowed.test:{port}")
        assert await client.rest() == b""
        assert rig.events.codes()[-1] == "egress.hello-timeout"
        status, fields, _ = await ask(listening, get(port))
        assert (status, fields["x-kap-reason"]) == (504, "egress.response-timeout")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n",
        b"",
    ],
)
async def test_bad_answers(answer: bytes) -> None:
    async def origin(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(answer)

    async with gate_rig() as rig:
        port = await site(rig, origin)
        status, fields, body = await ask(await rig.listen(), get(port))
    assert (status, fields["x-kap-reason"]) == (502, "egress.bad-response")
    assert b"mitmproxy" not in body and "server" not in fields
    assert rig.events.codes()[-1] == "egress.bad-response"


async def test_a_page_of_mitmproxys_own_never_shows_behind_good_answers() -> None:
    async def mute(reader: Reader, writer: Writer) -> None:
        await head_of(reader)

    origin = Origin()
    async with gate_rig() as rig:
        good, bad = await rig.origin(origin.http), await rig.origin(mute)
        rig.plane.apply(policy_of(f"allowed.test:{good}", f"allowed.test:{bad}"))
        client = await connect(await rig.listen())
        await client.send(get(good))
        assert (await client.response())[0] == 200
        await client.send(get(bad))
        status, fields, body = await client.response()
        assert (status, fields["x-kap-reason"]) == (502, "egress.bad-response")
        assert "server" not in fields and b"mitmproxy" not in body


async def test_an_answer_cut_short_has_no_clean_end() -> None:
    async def origin(reader: Reader, writer: Writer) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")

    async with gate_rig() as rig:
        port = await site(rig, origin)
        client = await connect(await rig.listen())
        await client.send(get(port))
        assert not (await client.rest()).endswith(b"0\r\n\r\n")


async def test_an_idle_tunnel_is_closed() -> None:
    origin = Origin()
    async with gate_rig(limits=Limits(idle_seconds=1.0)) as rig:
        port = await site(rig, origin.pong)
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(client_hello("allowed.test"))
        assert await client.rest() == PONG
        await rig.settled()


async def test_a_new_policy_cuts_what_it_forbids() -> None:
    origin = Origin()
    async with gate_rig() as rig:
        port = await site(rig, origin.pong)
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(client_hello("allowed.test"))
        assert await client.exactly(len(PONG)) == PONG
        assert rig.plane.apply(policy_of(f"allowed.test:{port}", "example.com")) == 0
        assert rig.plane.apply(policy_of("example.com")) == 1
        assert await client.rest() == b""
        await rig.settled()
    assert "egress.revoked" in rig.events.codes()


@pytest.mark.parametrize("limits", [Limits(connections=1), Limits(connections_per_client=1)])
async def test_more_connections_than_allowed(limits: Limits) -> None:
    async with gate_rig(limits=limits) as rig:
        port = await rig.listen()
        first = await connect(port)
        await first.send(b"GET ")
        second: Client = await connect(port)
        status, fields, _ = await second.response()
        assert (status, fields["x-kap-reason"]) == (429, "egress.limit-connections")
        assert rig.events.codes() == ["egress.limit-connections"]
        first.close()
        await rig.settled()


async def test_a_flood_before_the_answer_is_held_back() -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        await reader.read(-1)

    async with gate_rig(limits=Limits(buffer_bytes=100_000, response_seconds=1.0)) as rig:
        port = await site(rig, silent)
        client = await connect(await rig.listen())
        await client.send(get(port))
        client.writer.write(get(port) * 400_000)  # 30 MB and more
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.writer.drain(), 0.5)
        (handler,) = rig.frame.master.addons.get("proxyserver").connections.values()
        assert handler.layer._requests.buffered < 500_000
        client.reset()
        await rig.settled()


class Meddler:
    """An addon of somebody else's that sends requests elsewhere."""

    name = "meddler"

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def requestheaders(self, flow: Any) -> None:
        for name, value in self.changes.items():
            if name == "header":
                flow.request.headers[value[0]] = value[1]
            else:
                setattr(flow.request, name, value)


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "127.0.0.8"},
        {"port": 81},
        {"scheme": "https"},
        {"header": ("Host", "denied.test")},
        {"header": ("X", "a\0b")},
        {"header": ("Transfer-Encoding", "chunked, chunked")},
    ],
    ids=str,
)
async def test_an_addon_cannot_widen_what_was_allowed(changes: dict[str, Any]) -> None:
    origin = Origin()
    async with gate_rig(Meddler(**changes)) as rig:
        port = await site(rig, origin.http)
        client = await connect(await rig.listen())
        await client.send(get(port, "/", "Connection: close\r\n"))
        answer = await client.rest()
    assert not any(origin.seen)
    assert not answer.startswith(b"HTTP/1.1 2") and b"mitmproxy" not in answer


async def test_an_addon_may_change_what_stays_inside() -> None:
    origin = Origin()
    async with gate_rig(Meddler(header=("X-Added", "1"), path="/changed")) as rig:
        port = await site(rig, origin.http)
        assert (await ask(await rig.listen(), get(port)))[0] == 200
    assert origin.seen[0].startswith(b"GET /changed HTTP/1.1\r\nHost: allowed.test:%d\r\n" % port)
    assert b"X-Added: 1\r\n" in origin.seen[0]


async def test_a_listener_of_mitmproxys_own_is_guarded_too() -> None:
    sock = bound()
    free = sock.getsockname()[1]
    sock.close()
    origin = Origin()
    async with gate_rig(settings={"mode": [f"regular@127.0.0.1:{free}"]}) as rig:
        port = await site(rig, origin.http)
        assert (await ask(free, get(port)))[0] == 200
        status, fields, _ = await ask(free, b"CONNECT denied.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")


async def test_other_modes_of_mitmproxy_lead_nowhere() -> None:
    sock = bound()
    free = sock.getsockname()[1]
    sock.close()
    origin = Origin()
    async with gate_rig() as rig:
        port = await rig.origin(origin.http)
    async with gate_rig(settings={"mode": [f"reverse:http://127.0.0.1:{port}@127.0.0.1:{free}"]}):
        client = await connect(free)
        await client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert await client.rest() == b""
    assert not any(origin.seen)


async def test_nothing_is_left_behind_by_many_connections() -> None:
    origin = Origin()
    async with gate_rig() as rig:
        port = await site(rig, origin.http)
        listening = await rig.listen()
        await ask(listening, get(port))
        await rig.settled()
        before = len(asyncio.all_tasks())
        for number in range(60):
            client = await connect(listening)
            if number % 3 == 0:
                await client.send(get(port))
                await client.response()
                client.close()
            elif number % 3 == 1:
                await client.send(get(port))
                client.reset()
            else:
                await client.send(b"CONNECT allowed.test:%d HTTP/1.1\r\n\r\n" % port)
                await client.head()
                client.reset()
        await rig.settled()
        async with asyncio.timeout(SOON):
            while len(asyncio.all_tasks()) > before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert rig.plane._grants == {} and rig.plane._dialling == {} and not rig.plane._clients
