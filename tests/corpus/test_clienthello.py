"""Every ClientHello of the corpus, cut as it says, through the reader: the verdict is the one it expects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kap.egress.clienthello import BadHello, Hello, HelloReader, check_hello
from kap.names.hosts import Host, Target

pytestmark = pytest.mark.timeout(60)
BLOCKS = ("block", "policy", "policy_no_sni", "policy_plain")
"""``policy*``: kap's policy is to refuse another name than the target's, no name at all, and what is not TLS."""


def rows(corpora: Path) -> list[tuple[dict[str, Any], bytes]]:
    folder = corpora / "clienthello"
    found = [
        (json.loads(p.read_text("utf-8")), p.with_suffix(".bin").read_bytes()) for p in sorted(folder.glob("*.json"))
    ]
    assert len(found) >= 100
    return found


def verdict(row: dict[str, Any], data: bytes, *, ech: bool) -> tuple[str, HelloReader]:
    """What the reader says: ``tunnel``, a code, or ``more`` (the plane's deadline then closes)."""
    reader, at = HelloReader(), 0
    hello: Hello | None = None
    target = Target(Host(row["connect_host"]), 443)
    try:
        for size in row["segments"]:
            hello = reader.feed(data[at : at + size])
            at += size
            if hello is not None:
                break
    except BadHello as error:
        return error.code, reader
    if hello is None:
        return "more", reader
    return check_hello(hello, target, ech) or "tunnel", reader


def test_corpus_with_ech_let_through(corpora: Path) -> None:
    wrong = []
    for row, data in rows(corpora):
        got, reader = verdict(row, data, ech=True)
        expected = row["expect"]
        if expected == "tunnel" and (got != "tunnel" or bytes(reader.data) != data[: len(reader.data)]):
            wrong.append((row["id"], expected, got))
        if expected in BLOCKS and got == "tunnel":
            wrong.append((row["id"], expected, got))
    assert wrong == []


def test_ech_rows_are_refused_by_default(corpora: Path) -> None:
    seen = 0
    for row, data in rows(corpora):
        if "ech" in row["tags"] and row["expect"] == "tunnel":
            assert verdict(row, data, ech=False)[0] == "egress.ech-refused", row["id"]
            seen += 1
        elif row["expect"] == "tunnel":
            assert verdict(row, data, ech=False)[0] == "tunnel", row["id"]
    assert seen >= 2


def test_no_denied_name_ever_tunnels(corpora: Path) -> None:
    for row, data in rows(corpora):
        names = [row.get("sni_strict"), *row.get("sni_list", [])]
        if any("denied" in str(name) for name in names):
            for ech in (False, True):
                assert verdict(row, data, ech=ech)[0] != "tunnel", row["id"]
