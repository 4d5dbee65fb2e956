"""Connections that were led to kap without their knowing: the Host field and the SNI alone say where to, and only where listed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from corpus import generated_hellos as hellos
from corpus.generated_framing import CODINGS, HIDDEN, LENGTHS
from corpus.generated_wire import DENIED_AUTHORITIES, A, Row
from corpus.test_generated_wire import problems
from rig.wire import ALLOWED, GIT, PONG, stage, talk

pytestmark = pytest.mark.timeout(120)


def requests() -> Iterator[Row]:
    """Origin-form and absolute-form, as to an origin on port 80."""
    get = b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n"
    for host in (A, A.upper(), A + b":80", A + b"."):
        yield Row(f"host {host!r}", get % (b"/x?y", b"Host: %b\r\n" % host), "allow")
        yield Row(f"absolute {host!r}", get % (b"http://allowed.test/x", b"Host: %b\r\n" % host), "allow")
    for authority in DENIED_AUTHORITIES:
        yield Row(f"host {authority[:50]!r}", get % (b"/x", b"Host: %b\r\n" % authority), "deny")
        bare = authority.removesuffix(b":443")
        if bare != authority:
            yield Row(f"host {bare[:50]!r}", get % (b"/x", b"Host: %b\r\n" % bare), "deny")
            yield Row(f"absolute {bare[:50]!r}", get % (b"http://%b/x" % bare, b"Host: allowed.test\r\n"), "deny")
    for port in (b"443", b"8443", b"22", b"0", b"080", b"65536", b"x", b"80:80"):
        yield Row(f"port {port!r}", get % (b"/", b"Host: allowed.test:%b\r\n" % port), "deny")
    for fields in (
        b"",
        b"Host:\r\n",
        b"Host: \r\n",
        b"Host: allowed.test\r\nHost: denied.test\r\n",
        b"Host: allowed.test\r\nHost: allowed.test\r\n",
    ):
        yield Row(f"fields {fields!r}", get % (b"/", fields), "deny")
    for line in (
        b"CONNECT denied.test:443",
        b"CONNECT allowed.test:443",
        b"GET http://denied.test/",
        b"GET https://allowed.test/",
        b"GET ftp://allowed.test/",
    ):
        yield Row(f"line {line!r}", line + b" HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "deny")
    for line in (
        b"GET x",
        b"GET *",
        b"GET allowed.test/",
        b"GET //denied.test/",
        b"OPTIONS *",
        b"GET /\\\\denied.test",
    ):
        yield Row(f"line {line!r}", line + b" HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "safe")
    hidden = HIDDEN.replace(b"http://denied.test", b"")
    for coding in (b"", *CODINGS):
        for length in LENGTHS:
            fields = b"".join(each + b"\r\n" for each in (b"Host: allowed.test", coding, length) if each)
            yield Row(f"{coding!r} {length!r}", b"POST / HTTP/1.1\r\n" + fields + b"\r\n0\r\n\r\n" + hidden, "safe")


async def test_http(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[tuple[str, Any]] = []
    async with stage("plane", monkeypatch) as on:
        on.port = await on.rig.listen("http", port=80)
        for row in requests():
            on.clear()
            answer = await talk(await on.open(), row.raw, head_first=row.expect == "allow")
            await on.rig.settled()
            if wrong := problems(on, row, answer):
                failures.append((row.id, wrong))
    assert failures == []


@pytest.mark.parametrize("family", ["names", "lists", "bodies", "strangers"])
async def test_tls(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []
    async with stage("plane", monkeypatch, ech=("allowed.test",)) as on:
        on.port = await on.rig.listen("tls", port=443)
        for row in hellos.FAMILIES[family]():
            on.clear()
            answer = await talk(await on.open(), b"".join(row.segments))
            await on.rig.settled()
            got = b"".join(on.allowed.take()) + b"".join(on.git.take())
            tunnel = got == b"".join(row.segments) and answer == PONG
            codes = [code for code in on.events.codes() if code != "egress.allowed"]
            led = {address for address, _ in on.dialled}
            other = row.id.startswith("sni b'git.test'")  # listed too, and the one name there is
            wanted = "tunnel" if other else row.expect
            if not led <= {GIT if other else ALLOWED} or (got and not tunnel) or (not tunnel and not codes):
                failures.append((row.id, got[:50], led, codes))
            elif wanted != "either" and tunnel != (wanted == "tunnel"):
                failures.append((row.id, wanted, tunnel, codes))
    assert failures == []
