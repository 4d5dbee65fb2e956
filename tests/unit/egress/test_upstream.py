"""Through a corporate proxy: which hosts, with which credentials, with its true errors, and over TLS."""

from __future__ import annotations

import asyncio
import base64
import ssl
from pathlib import Path

import pytest
import trustme

from kap.config.model import Limits, Upstream
from kap.egress.upstream import UpstreamProxy
from kap.errors import ConfigError
from kap.names.hosts import Host
from rig.client import ask, connect, open_tunnel
from rig.plane import Rig, client_hello, plane_rig, policy_of

AUTH = b"Basic " + base64.b64encode(b"user:secret")


class Corporate:
    """A proxy that wants credentials, writes down every head, and answers CONNECT and plain requests itself."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self.heads: list[bytes] = []
        self.tunnelled = b""
        self.answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if b"Proxy-Authorization: " + AUTH not in head:
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif head.startswith(b"CONNECT "):
                writer.write(self.answer)
                self.tunnelled += await reader.read(10_000)
                writer.write(b"through the proxy")
                await writer.drain()
                return
            else:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nby proxy!")
            await writer.drain()


def upstream(port: int, credentials: str = "user:secret", **more: object) -> UpstreamProxy:
    config = Upstream(url=f"http://127.0.0.1:{port}", **more)  # type: ignore[arg-type]
    made = UpstreamProxy.from_config(config, credentials)
    assert made is not None
    return made


async def start(rig: Rig, corporate: Corporate, credentials: str = "user:secret", **more: object) -> int:
    port = await rig.origin(corporate)
    rig.plane._state.upstream = upstream(port, credentials, **more)
    return await rig.listen()


async def test_a_tunnel_goes_through_the_proxy_after_its_own_verdict() -> None:
    corporate = Corporate()
    async with plane_rig(allow=("allowed.test",), names={}, private=()) as rig:
        proxy = await start(rig, corporate)
        client = await open_tunnel(proxy, "allowed.test:443")
        hello = client_hello("allowed.test")
        await client.send(hello)
        assert await client.exactly(17) == b"through the proxy"
        assert corporate.tunnelled == hello
        assert corporate.heads[0].startswith(b"CONNECT allowed.test:443 HTTP/1.1\r\n")
        assert rig.resolver.asked == []
        status, fields, _ = await ask(proxy, b"CONNECT denied.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.not-listed")
        assert len(corporate.heads) == 1
        client.close()


async def test_a_wrong_name_in_the_hello_does_not_reach_the_proxy() -> None:
    corporate = Corporate()
    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        client = await open_tunnel(await start(rig, corporate), "allowed.test:443")
        await client.send(client_hello("denied.test"))
        await client.rest()
        client.close()
        await rig.settled()
        assert corporate.tunnelled == b""


@pytest.mark.parametrize("status", [407, 403, 502, 503])
async def test_its_refusal_is_passed_on_truly(status: int) -> None:
    corporate = Corporate(f"HTTP/1.1 {status} Nope\r\nContent-Length: 3\r\n\r\nno!".encode())
    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        proxy = await start(rig, corporate)
        got, fields, body = await ask(proxy, b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (got, fields["x-kap-reason"]) == (status, "egress.upstream-proxy")
        assert f"answered {status} Nope".encode() in body
        assert rig.events.codes() == ["egress.upstream-proxy"]
        assert "secret" not in repr(list(rig.events)) and AUTH.decode() not in repr(list(rig.events))


async def test_missing_credentials_show_as_407_for_plain_http_too() -> None:
    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        proxy = await start(rig, Corporate(), credentials="")
        got, fields, _ = await ask(proxy, b"GET http://allowed.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (got, fields["x-kap-reason"]) == (407, "egress.upstream-proxy")


async def test_plain_http_is_sent_in_absolute_form() -> None:
    corporate = Corporate()
    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        proxy = await start(rig, corporate)
        client = await connect(proxy)
        for _ in range(2):
            await client.send(b"GET http://allowed.test/a?b HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await client.response())[2] == b"by proxy!"
        assert corporate.heads[1].startswith(b"GET http://allowed.test/a?b HTTP/1.1\r\nHost: allowed.test\r\n")
        client.close()


async def test_direct_hosts_and_listed_hosts_are_told_apart() -> None:
    async def direct(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect")
        await writer.drain()

    corporate = Corporate()
    async with plane_rig() as rig:
        port = await rig.origin(direct)
        rig.plane.apply(policy_of(f"allowed.test:{port}/http", f"other.test:{port}/http"))
        proxy = await start(rig, corporate, hosts=("*.test",), direct=("other.test",))
        client = await connect(proxy)
        for host, body in (("allowed", b"by proxy!"), ("other", b"direct"), ("allowed", b"by proxy!")):
            await client.send(f"GET http://{host}.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert (await client.response())[2] == body
        client.close()


async def test_a_proxy_that_is_configured_later_never_shows_its_credentials_to_an_origin() -> None:
    seen: list[bytes] = []

    async def direct(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ndirect")

    corporate = Corporate()
    async with plane_rig() as rig:
        port = await rig.origin(direct)
        rig.plane.apply(policy_of(f"allowed.test:{port}/http"))
        client = await connect(await rig.listen())
        request = f"GET http://allowed.test:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        for _ in range(3):
            await client.send(request)
            assert (await client.response())[2] == b"direct"
        rig.plane.configure(Limits(), upstream(await rig.origin(corporate)))
        for _ in range(2):
            await client.send(request)
            assert (await client.response())[2] == b"by proxy!"
        rig.plane.configure(Limits(), None)
        await client.send(request)
        assert (await client.response())[2] == b"direct"
        assert len(seen) == 4
        assert all(head.startswith(b"GET / ") and b"uthorization" not in head for head in seen)
        assert all(head.startswith(b"GET http://") for head in corporate.heads)
        client.close()


async def test_a_literal_address_is_still_vetted() -> None:
    corporate = Corporate()
    async with plane_rig(allow=("10.0.0.0/8",), private=()) as rig:
        proxy = await start(rig, corporate)
        status, fields, _ = await ask(proxy, b"CONNECT 127.0.0.1:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.ip-not-listed")
        client = await open_tunnel(proxy, "10.1.2.3:443")
        assert corporate.heads[0].startswith(b"CONNECT 10.1.2.3:443 ")
        client.close()


async def test_kap_itself_is_not_reached_by_way_of_the_proxy() -> None:
    corporate = Corporate()
    async with plane_rig(allow=("10.0.0.0/8",), own_addresses=frozenset({"10.1.2.3"})) as rig:
        status, fields, _ = await ask(await start(rig, corporate), b"CONNECT 10.1.2.3:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (403, "egress.own-address")
        assert corporate.heads == []


async def test_a_proxy_that_is_not_there() -> None:
    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        rig.plane._state.upstream = upstream(1)
        status, fields, body = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (502, "egress.upstream-proxy")
        assert b"cannot connect to the upstream proxy" in body


@pytest.mark.parametrize(
    "answer", [b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b""]
)
async def test_a_proxy_that_speaks_no_http(answer: bytes) -> None:
    async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with plane_rig(allow=("allowed.test",), names={}) as rig:
        rig.plane._state.upstream = upstream(await rig.origin(odd))
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (502, "egress.upstream-proxy")


async def test_a_proxy_that_never_answers() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)

    async with plane_rig(allow=("allowed.test",), names={}, limits=Limits(connect_seconds=0.3)) as rig:
        rig.plane._state.upstream = upstream(await rig.origin(mute))
        status, fields, _ = await ask(await rig.listen(), b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
        assert (status, fields["x-kap-reason"]) == (504, "egress.connect-timeout")


@pytest.mark.parametrize("trusted", [True, False])
async def test_an_https_proxy_with_its_own_authority(trusted: bool, tmp_path: Path) -> None:
    authority = trustme.CA()
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(tmp_path / "ca.pem")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("proxy.test").configure_cert(server)
    corporate = Corporate()
    async with plane_rig(allow=("allowed.test",), names={"proxy.test": ("127.0.0.1",)}) as rig:
        port = await rig.origin(corporate, ssl=server)
        config = Upstream(url=f"https://proxy.test:{port}", ca_file=str(tmp_path / "ca.pem"))
        rig.plane._state.upstream = UpstreamProxy.from_config(config, "user:secret")
        proxy = await rig.listen()
        if not trusted:
            status, _, body = await ask(proxy, b"CONNECT allowed.test:443 HTTP/1.1\r\n\r\n")
            assert status == 502 and b"certificate verify failed" in body.lower()
            return
        client = await open_tunnel(proxy, "allowed.test:443")
        hello = client_hello("allowed.test")
        await client.send(hello)
        assert await client.rest() == b"through the proxy"
        assert corporate.tunnelled == hello


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("socks5://proxy.test:1", "not http"),
        ("http://user:pw@proxy.test:1", "user name or password"),
        ("http://proxy.test:1/path", "not http"),
        ("http://0x7f.1:1", "upstream proxy"),
    ],
)
def test_a_url_that_cannot_be_a_proxy(url: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        UpstreamProxy.from_config(Upstream(url=url))
    assert caught.value.hint
    assert "pw" not in str(caught.value)


def test_which_hosts_it_carries() -> None:
    every = UpstreamProxy.from_config(Upstream(url="http://proxy.test:3128", direct=("*.corp.test", "10.0.0.0/8")))
    assert every is not None and every.carries(Host("example.com"))
    assert not every.carries(Host("a.corp.test"))
    assert not every.carries(Host("10.1.1.1", is_ip=True))
    some = UpstreamProxy.from_config(Upstream(url="http://proxy.test:3128", hosts=("example.com",)))
    assert some is not None and some.carries(Host("example.com")) and not some.carries(Host("other.test"))
    assert UpstreamProxy.from_config(Upstream()) is None
