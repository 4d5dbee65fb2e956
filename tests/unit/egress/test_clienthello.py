"""The ClientHello reader: what is taken, what is refused and with which code, and how much work it is."""

from __future__ import annotations

import importlib.util
import struct
from pathlib import Path

import pytest

from kap.egress.clienthello import BadHello, Hello, HelloReader, check_hello
from kap.names.hosts import Host, Target

_spec = importlib.util.spec_from_file_location("hellos", Path(__file__).with_name("hellos.py"))
assert _spec is not None and _spec.loader is not None
hellos = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hellos)

HELLO, SNI, RECORD, MESSAGE = hellos.hello, hellos.sni, hellos.record, hellos.message
TARGET = Target(Host("example.com"), 443)


def parse_hello(data: bytes, limit: int = 65_536) -> Hello | None:
    return HelloReader(limit).feed(data)


def code_of(data: bytes, limit: int = 65_536) -> str:
    with pytest.raises(BadHello) as caught:
        parse_hello(data, limit)
    return caught.value.code


@pytest.mark.parametrize("name", [b"example.com", b"EXAMPLE.Com", b"example.com."])
def test_one_spelling_of_the_name(name: bytes) -> None:
    data = HELLO(name)
    assert parse_hello(data) == Hello("example.com", False, len(data))


def test_underscore_and_a_label() -> None:
    assert parse_hello(HELLO(b"_x.a_b.xn--bcher-kva.example")) == Hello(
        "_x.a_b.xn--bcher-kva.example", False, len(HELLO(b"_x.a_b.xn--bcher-kva.example"))
    )


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_any_segmentation(size: int) -> None:
    data, reader = HELLO(), HelloReader()
    for at in range(0, len(data), size):
        found = reader.feed(data[at : at + size])
        if found is not None:
            break
    assert found == Hello("example.com", False, len(data))
    assert bytes(reader.data) == data


@pytest.mark.parametrize("sizes", [[1], [3], [4], [5, 1], [30, 30], [1] * 90])
def test_any_fragmentation_into_records(sizes: list[int]) -> None:
    data = hellos.records(MESSAGE(SNI(b"example.com")), sizes)
    found = parse_hello(data)
    assert found == Hello("example.com", False, len(data))


def test_early_data_behind_the_hello_is_left_alone() -> None:
    data = HELLO()
    found = parse_hello(data + RECORD(b"x" * 50, kind=23))
    assert found is not None and found.length == len(data)


@pytest.mark.parametrize("version", [b"\x03\x00", b"\x03\x01", b"\x03\x02", b"\x03\x03", b"\x03\x04"])
def test_versions_of_major_three(version: bytes) -> None:
    assert parse_hello(RECORD(MESSAGE(SNI(b"example.com"), version=b"\x03\x03"), version=version)) is not None
    assert parse_hello(RECORD(MESSAGE(SNI(b"example.com"), version=version))) is not None


def test_without_extensions_block() -> None:
    data = RECORD(MESSAGE(block=b""))
    assert parse_hello(data) == Hello(None, False, len(data))


@pytest.mark.parametrize("kind", [0xFE0D, 0xFE09, 0xFFCE])
def test_ech_is_seen(kind: int) -> None:
    found = parse_hello(HELLO(b"example.com", (kind, b"\x00" + bytes(40))))
    assert found is not None and found.ech


NOT_TLS = {
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http": b"GET / HTTP/1.1\r\n\r\n",
    "socks5": b"\x05\x01\x00",
    "alert first": b"\x15\x03\x01\x00\x02\x01\x00" + HELLO(),
    "change cipher spec first": b"\x14\x03\x01\x00\x01\x01" + HELLO(),
    "application data first": RECORD(b"abc", kind=23) + HELLO(),
    "sslv2": bytes.fromhex("802e0100020015000000100700c003"),
    "dtls": b"\x16\xfe\xff\x00\x00" + bytes(60),
    "record major 2": b"\x16\x02\x00\x00\x05" + bytes(60),
    "one wrong byte": b"\x00",
}


@pytest.mark.parametrize("name", NOT_TLS)
def test_not_tls(name: str) -> None:
    assert code_of(NOT_TLS[name]) == "egress.not-tls"


def _raw_extension(kind: int, declared: int, body: bytes) -> bytes:
    inner = struct.pack(">HH", kind, declared) + body
    return struct.pack(">H", len(inner)) + inner


BAD = {
    "empty record first": RECORD(b"") + HELLO(),
    "empty record between": hellos.records(MESSAGE(SNI(b"example.com")), [10, 0]),
    "alert record between": RECORD(MESSAGE(SNI(b"example.com"))[:20]) + RECORD(b"\x01\x00", kind=21),
    "record too long": b"\x16\x03\x01\x41\x01" + b"\x01" * 10,
    "other record version between": RECORD(MESSAGE()[:9]) + RECORD(MESSAGE()[9:], version=b"\x02\x01"),
    "server hello": RECORD(b"\x02\x00\x00\x04AAAA"),
    "hello request": RECORD(b"\x00\x00\x00\x00"),
    "two extensions of a kind": HELLO(b"example.com", (23, b""), (23, b"")),
    "two server_name": RECORD(MESSAGE(SNI(b"example.com"), SNI(b"example.com"))),
    "two names": RECORD(MESSAGE(SNI(b"example.com", b"example.com"))),
    "no name in list": RECORD(MESSAGE((0, b"\x00\x00"))),
    "empty server_name": RECORD(MESSAGE((0, b""))),
    "empty name": RECORD(MESSAGE(SNI(b""))),
    "name of another type": RECORD(MESSAGE(SNI(b"example.com", kind=1))),
    "list longer than extension": RECORD(MESSAGE((0, b"\x00\x20\x00\x00\x0bexample.com"))),
    "bytes behind the list": RECORD(MESSAGE((0, hellos.sni_body(b"example.com") + b"x"))),
    "extension past the end": RECORD(MESSAGE(block=_raw_extension(16, 99, b"abc"))),
    "extensions shorter than declared": RECORD(MESSAGE(block=b"\x00\x09" + b"\x00\x10\x00\x00")),
    "bytes behind the extensions": RECORD(MESSAGE(block=b"\x00\x04\x00\x17\x00\x00" + b"junk")),
    "half an extension header": RECORD(MESSAGE(block=b"\x00\x02\x00\x17")),
    "one byte of extensions": RECORD(MESSAGE(block=b"\x00")),
    "session id of 33": RECORD(MESSAGE(SNI(b"example.com"), session_id=bytes(33))),
    "odd cipher list": RECORD(MESSAGE(SNI(b"example.com"), ciphers=b"\x13\x01\x13")),
    "no cipher": RECORD(MESSAGE(SNI(b"example.com"), ciphers=b"")),
    "no compression": RECORD(MESSAGE(SNI(b"example.com"), compressions=b"")),
    "hello version 2": RECORD(MESSAGE(SNI(b"example.com"), version=b"\x02\x00")),
    "hello cut short": RECORD(b"\x01\x00\x00\x10" + b"\x03\x03" + bytes(14)),
    "empty hello": RECORD(b"\x01\x00\x00\x00"),
    "bytes behind the hello in its record": RECORD(MESSAGE(SNI(b"example.com")) + b"\x00"),
    "second hello in the record": RECORD(MESSAGE(SNI(b"example.com")) + MESSAGE(SNI(b"other.example"))),
    "ech inner": HELLO(b"example.com", (0xFE0D, b"\x01")),
    "ech empty": HELLO(b"example.com", (0xFE0D, b"")),
    "ech outer extensions": HELLO(b"example.com", (0xFD00, b"\x02\x00\x0a")),
    "hello larger than the limit": RECORD(b"\x01\xff\xff\xff" + bytes(40)),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed(name: str) -> None:
    assert code_of(BAD[name]) == "egress.bad-hello"


NAMES = [
    b"192.0.2.7",
    b"0x7f.1",
    b"2130706433",
    b"::1",
    b"[2001:db8::1]",
    b"example.com:443",
    b"https://example.com",
    b"example.com/",
    b"user@example.com",
    b"example..com",
    b".example.com",
    b"example.com..",
    b".",
    b"example.com\x00",
    b"example.com\x00.evil.example",
    b"exa\r\nmple.com",
    b"\x1b[31mexample.com",
    b" example.com",
    b"*.example.com",
    "b\u00fccher.example".encode(),
    "ex\u0430mple.com".encode(),
    b"a" * 64 + b".example",
    (b"a" * 60 + b".") * 5 + b"example",
    b"a" * 15_000,
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name[:24]))
def test_what_is_no_host_name(name: bytes) -> None:
    assert code_of(HELLO(name)) == "egress.bad-hello"


def test_incomplete_is_none_up_to_the_limit() -> None:
    data = HELLO()
    for size in range(len(data)):
        assert parse_hello(data[:size]) is None
    padded = RECORD(MESSAGE(SNI(b"example.com"), (21, bytes(3000))))
    assert parse_hello(padded, 4096) is not None
    assert code_of(padded, 2048) == "egress.bad-hello"
    assert code_of(padded[:2048], 2048) == "egress.bad-hello"
    many = hellos.records(MESSAGE(SNI(b"example.com"), (21, bytes(3000))), [1] * 3000)
    assert code_of(many, 4096) == "egress.bad-hello", "record headers count"


def test_forty_kilobytes_over_records() -> None:
    data = hellos.records(MESSAGE(SNI(b"example.com"), (21, bytes(40_000))), [16_384, 16_384])
    found = parse_hello(data)
    assert found is not None and found.length == len(data)


@pytest.mark.parametrize(
    ("sni", "ech", "allowed", "host", "code"),
    [
        ("example.com", False, False, Host("example.com"), None),
        ("example.com", True, True, Host("example.com"), None),
        ("example.com", True, False, Host("example.com"), "egress.ech-refused"),
        (None, False, False, Host("example.com"), "egress.no-sni"),
        ("sub.example.com", False, False, Host("example.com"), "egress.sni-mismatch"),
        ("example.com.evil.example", False, False, Host("example.com"), "egress.sni-mismatch"),
        (None, False, False, Host("192.0.2.7", True), None),
        ("example.com", False, False, Host("192.0.2.7", True), "egress.sni-mismatch"),
    ],
)
def test_check(sni: str | None, ech: bool, allowed: bool, host: Host, code: str | None) -> None:
    assert check_hello(Hello(sni, ech, 100), Target(host, 443), allowed) == code


def test_a_byte_at_a_time_looks_at_each_byte_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work is counted, not timed: record headers looked at, and the message parsed exactly once."""
    from kap.egress import clienthello

    parsed: list[int] = []
    parse = clienthello._parse_message
    monkeypatch.setattr(clienthello, "_parse_message", lambda m: parsed.append(len(m)) or parse(m))
    data, reader = RECORD(MESSAGE(SNI(b"example.com"), (21, bytes(12_000)))), HelloReader()
    for byte in data:
        found = reader.feed(bytes([byte]))
    assert found is not None
    assert len(parsed) == 1 and reader._cursor == len(data)
