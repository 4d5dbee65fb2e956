"""A repository's kap.toml names the upstream proxy: that must not reach what the policy denies, nor services of this machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kap.config.layers import load
from kap.config.model import Upstream
from kap.egress.upstream import UpstreamProxy
from kap.policy.compiler import Policy, compile
from rig.client import ask
from rig.plane import plane_rig

SERVICE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nSECRET"
LOCAL = 'private = ["127.0.0.1/32"]\n'


def policy(tmp_path: Path, url: str, *, project: bool = True, owner: str = "", grant: str = "") -> Policy:
    table = f'[proxy.upstream]\nurl = "{url}"\n'
    (tmp_path / "kap.toml").write_text(f'[proxy.network]\nallow = ["allowed.test"]\n{grant}{table if project else ""}')
    (tmp_path / "global.toml").write_text(owner + ("" if project else table))
    found = load(tmp_path / "kap.toml", global_path=tmp_path / "global.toml")
    assert found.config is not None, found.problems
    return compile(found.config)


async def through(tmp_path: Path, host: str, names: dict[str, tuple[str, ...]], **how: object) -> tuple[int, str, bool]:
    """A plain request by way of the proxy `host`: status, reason, and whether the service of this machine was reached."""
    reached = False

    async def service(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal reached
        reached = True
        await reader.read(1000)
        writer.write(SERVICE)
        await writer.drain()

    async with plane_rig(names=names) as rig:
        url = f"http://{host}:{await rig.origin(service)}"
        rig.plane.configure(rig.plane._state.limits, UpstreamProxy.from_config(Upstream(url=url)))
        rig.plane.apply(policy(tmp_path, url, **how))  # type: ignore[arg-type]
        request = b"GET http://allowed.test/admin HTTP/1.1\r\nHost: allowed.test\r\n\r\n"
        status, fields, _ = await ask(await rig.listen(), request)
        return status, fields.get("x-kap-reason", ""), reached


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", ""),
        ("proxy.test", "127.0.0.1"),
        ("proxy.test", "::ffff:127.0.0.1"),
        ("[::1]", ""),
        ("0.0.0.0", ""),
        ("proxy.test", "64:ff9b::7f00:1"),
        ("proxy.test", "::"),
    ],
)
async def test_a_service_of_this_machine_is_no_proxy(tmp_path: Path, host: str, address: str) -> None:
    status, code, reached = await through(tmp_path, host, {"proxy.test": (address,)} if address else {})
    assert (status, code, reached) == (502, "egress.upstream-proxy", False)


@pytest.mark.parametrize("host", ["127.0.0.1", "proxy.test"])
async def test_what_the_owner_denies_is_no_proxy(tmp_path: Path, host: str) -> None:
    """Even where the project grants itself the range."""
    owner = '[proxy.network]\ndeny = ["127.0.0.0/8"]\n'
    found = await through(tmp_path, host, {"proxy.test": ("127.0.0.1",)}, owner=owner, grant=LOCAL)
    assert found == (502, "egress.upstream-proxy", False)


async def test_a_denied_name_is_no_proxy(tmp_path: Path) -> None:
    owner = '[proxy.network]\ndeny = ["*.evil.test"]\n'
    found = await through(tmp_path, "proxy.evil.test", {"proxy.evil.test": ("127.0.0.1",)}, owner=owner, grant=LOCAL)
    assert found == (502, "egress.upstream-proxy", False)


async def test_metadata_is_no_proxy(tmp_path: Path) -> None:
    found = await through(tmp_path, "169.254.169.254", {})
    assert found == (502, "egress.upstream-proxy", False)


async def test_what_the_project_grants_in_the_open_works(tmp_path: Path) -> None:
    found = await through(tmp_path, "proxy.test", {"proxy.test": ("127.0.0.1",)}, grant=LOCAL)
    assert found == (200, "", True)


async def test_the_owner_may_have_it_anywhere(tmp_path: Path) -> None:
    found = await through(tmp_path, "127.0.0.1", {}, project=False)
    assert found == (200, "", True)
