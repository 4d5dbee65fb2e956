"""The wire corpora against both engines, live: real sockets, real origins that write down what reached them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kap.policy.codes import CODES
from rig.plane import client_hello
from rig.wire import ALLOWED, PONG, Stage, stage, talk

pytestmark = pytest.mark.timeout(300)
DENIED_HOST = re.compile(rb"^host:[ \t]*[^\r\n]*denied\.test", re.I | re.M)
BLOCKS = ("block", "policy", "policy_no_sni", "policy_plain")


def nothing_denied(on: Stage) -> list[str]:
    """What must never have happened, whatever the row expects."""
    wrong = []
    if on.denied.seen or any(address != ALLOWED and address != "127.0.1.3" for address, _ in on.dialled):
        wrong.append(f"dialled {on.dialled}")
    for record in on.allowed.seen:
        if DENIED_HOST.search(record.partition(b"\r\n\r\n")[0]):
            wrong.append(f"a denied Host at an origin: {bytes(record)!r}")
    return wrong


async def test_http_wire(corpora: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [json.loads(line) for line in (corpora / "http_wire.jsonl").read_text("utf-8").splitlines()]
    failures: list[tuple[str, Any]] = []
    async with stage(engine, monkeypatch) as on:
        for row in rows:
            on.clear()
            answer = await talk(await on.open(), row["raw"].encode("latin-1"), head_first=row["expect"] == "allow")
            await on.rig.settled()
            status = answer[9:12] if answer.startswith(b"HTTP/1.1 ") else b""
            wrong = nothing_denied(on)
            if row["expect"] == "allow" and not status.startswith(b"2"):
                wrong.append(f"answered {answer[:80]!r}")
            if row["expect"] == "deny" and (status.startswith(b"2") or on.dialled):
                wrong.append(f"answered {answer[:80]!r}, dialled {on.dialled}")
            if row["expect"] == "deny" and not [
                code for code in on.events.codes() if code in CODES and code != "egress.allowed"
            ]:
                wrong.append(f"no deny event, only {on.events.codes()}")
            if b"mitmproxy" in answer.lower():
                wrong.append(f"mitmproxy shows: {answer[:200]!r}")
            if wrong:
                failures.append((row["id"], wrong))
    assert failures == []
    assert len(rows) >= 80


async def one_hello(on: Stage, row: dict[str, Any], data: bytes) -> str:
    """``tunnel`` (byte-identical, and the origin's answer came back), ``block`` (nothing reached an origin), or what is wrong."""
    on.clear()
    client = await on.open()
    await client.send(b"CONNECT %b:443 HTTP/1.1\r\nHost: %b:443\r\n\r\n" % ((row["connect_host"].encode(),) * 2))
    assert (await client.head()).startswith(b"HTTP/1.1 200 ")
    at = 0
    try:
        for size in row["segments"]:
            await client.send(data[at : at + size])
            at += size
        client.half_close()
    except ConnectionError:
        pass
    answer = await client.rest()
    client.close()
    await on.rig.settled()
    got = b"".join(on.allowed.take())
    if got == data[:at] and answer == PONG:
        return "tunnel"
    if not got and PONG not in answer:
        return "block"
    return f"origin got {len(got)} of {at} bytes, client got {answer[:40]!r}"


@pytest.mark.parametrize("ech", [True, False], ids=["ech allowed", "ech refused"])
async def test_clienthello(corpora: Path, engine: str, ech: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = []
    async with stage(engine, monkeypatch, ech=("allowed.test",) if ech else ()) as on:
        for path in sorted((corpora / "clienthello").glob("*.json")):
            row = json.loads(path.read_text("utf-8"))
            got = await one_hello(on, row, path.with_suffix(".bin").read_bytes())
            wrong = nothing_denied(on)
            expected = row["expect"]
            if "ech" in row["tags"] and not ech:
                expected = "block"
            if (expected == "tunnel" and got != "tunnel") or (expected in BLOCKS and got != "block"):
                wrong.append(f"expected {expected}, got {got}")
            elif got not in ("tunnel", "block"):
                wrong.append(got)
            if got == "block" and not [code for code in on.events.codes() if code != "egress.allowed"]:
                wrong.append(f"blocked without an event: {on.events.codes()}")
            if wrong:
                failures.append((row["id"], wrong))
        hello = client_hello("allowed.test")
        last = {"connect_host": "allowed.test", "segments": [len(hello)]}
        assert await one_hello(on, last, hello) == "tunnel", "still alive and well at the end"
    assert failures == []
