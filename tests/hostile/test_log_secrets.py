"""What a client gets wrong must not put its credentials, paths or queries into the log: the refusal's words go there."""

from __future__ import annotations

import asyncio

import pytest

from kap.names.hosts import BadTarget, parse_target
from rig.client import ask, open_tunnel
from rig.plane import plane_rig, policy_of

SECRET = "hunter2"


@pytest.mark.parametrize(
    "line",
    [
        f"GET http://user:{SECRET}@allowed.test/",
        f"GET http://user:{SECRET}@allowed.test:80/",
        f"GET http://{SECRET}@allowed.test/",
        f"GET http://allowed.test:x/{SECRET}",
        f"GET http://allowed..test/?token={SECRET}",
        f"GET http://[allowed.test]/#{SECRET}",
        f"GET ftp://user:{SECRET}@allowed.test/",
        f"CONNECT user:{SECRET}@allowed.test:443",
        f"CONNECT {SECRET}@allowed.test:443",
        f"CONNECT allowed.test/{SECRET}:443",
        f"CONNECT allowed.test:443/{SECRET}",
        f"CONNECT allowed.test?{SECRET}:443",
        f"CONNECT http://user:{SECRET}@allowed.test:443",
        f"GET /{SECRET}",
        f"OPTIONS *{SECRET}",
    ],
)
async def test_a_malformed_target_is_logged_without_its_secret(line: str) -> None:
    async with plane_rig(allow=("allowed.test:80",)) as rig:
        request = f"{line} HTTP/1.1\r\nHost: allowed.test\r\nCookie: {SECRET}\r\n\r\n".encode()
        status, fields, _ = await ask(await rig.listen(), request)
        assert status == 400, fields
        assert [event.verdict for event in rig.events if event.kind == "decision"] == ["deny"]
        assert SECRET not in repr(list(rig.events))


@pytest.mark.parametrize("first", [f"AUTH {SECRET}\r\n", f"SSH-1.0-{SECRET}\r\n", f"GET /?{SECRET} HTTP/1.1\r\n\r\n"])
async def test_the_first_bytes_on_an_ssh_port_are_not_logged(first: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with plane_rig() as rig:
        port = await rig.origin(silent)
        rig.plane.apply(policy_of(f"allowed.test:{port}/ssh", private=("127.0.0.0/8",)))
        client = await open_tunnel(await rig.listen(), f"allowed.test:{port}")
        await client.send(first.encode())
        await rig.settled()
        client.close()
        assert rig.events.codes()[-1] == "egress.not-ssh"
        assert SECRET not in repr(list(rig.events))


@pytest.mark.parametrize(
    "text",
    [f"http://a:x/{SECRET}@b/@c", f"user:{SECRET}@h", f"https://h:0/{SECRET}", f"x://y?{SECRET}", f"h:1?{SECRET}"],
)
def test_a_message_about_a_target_holds_no_secret(text: str) -> None:
    with pytest.raises(BadTarget) as refused:
        parse_target(text)
    assert SECRET not in str(refused.value)
