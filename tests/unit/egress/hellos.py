"""Builds ClientHellos for tests, right ones and wrong ones, field by field."""

from __future__ import annotations

import struct
from collections.abc import Iterable

CIPHERS = bytes.fromhex("130113021303c02bc02f")


def sni_body(*names: bytes, kind: int = 0) -> bytes:
    entries = b"".join(bytes([kind]) + struct.pack(">H", len(name)) + name for name in names)
    return struct.pack(">H", len(entries)) + entries


def sni(*names: bytes, kind: int = 0) -> tuple[int, bytes]:
    return 0, sni_body(*names, kind=kind)


ECH_OUTER = (0xFE0D, b"\x00" + bytes(40))
ALPN = (16, b"\x00\x0c\x02h2\x08http/1.1")


def message(
    *extensions: tuple[int, bytes],
    session_id: bytes = bytes(32),
    ciphers: bytes = CIPHERS,
    compressions: bytes = b"\x00",
    version: bytes = b"\x03\x03",
    block: bytes | None = None,
) -> bytes:
    """The handshake message with its four-byte header. `block`: the extensions block with its length, in place of `extensions`."""
    if block is None:
        body = b"".join(struct.pack(">HH", kind, len(data)) + data for kind, data in extensions)
        block = struct.pack(">H", len(body)) + body
    hello = version + bytes(32) + bytes([len(session_id)]) + session_id
    hello += struct.pack(">H", len(ciphers)) + ciphers + bytes([len(compressions)]) + compressions + block
    return b"\x01" + len(hello).to_bytes(3, "big") + hello


def record(payload: bytes, version: bytes = b"\x03\x01", kind: int = 22) -> bytes:
    return bytes([kind]) + version + struct.pack(">H", len(payload)) + payload


def records(payload: bytes, sizes: Iterable[int]) -> bytes:
    """`payload` cut into records of these sizes, the rest in a last one."""
    out, at = b"", 0
    for size in sizes:
        out += record(payload[at : at + size])
        at += size
    return out + (record(payload[at:]) if at < len(payload) else b"")


def hello(name: bytes = b"example.com", *extensions: tuple[int, bytes]) -> bytes:
    return record(message(sni(name), ALPN, *extensions))
