"""ClientHellos made byte by byte: sound ones in many shapes, and every way to bend one. The tunnel goes to ``allowed.test:443``.

Words of an expectation: ``tunnel`` (byte for byte), ``block`` (nothing reaches an origin), ``either``. Sources of the layout: RFC 8446
4.1.2 and 5.1, RFC 6066 3, RFC 9849 5.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

A, D, OTHER = b"allowed.test", b"denied.test", b"git.test"


class Row(NamedTuple):
    id: str
    segments: tuple[bytes, ...]
    expect: str
    ech: bool = False


def vector(size: int, data: bytes, off: int = 0) -> bytes:
    """`data` behind its length in `size` bytes; `off` makes the length lie."""
    return max(0, len(data) + off).to_bytes(size, "big") + data


def extension(kind: int, data: bytes, off: int = 0) -> bytes:
    return struct.pack(">H", kind) + vector(2, data, off)


def server_name(
    *names: bytes, kind: int = 0, off: int = 0, list_off: int = 0, ext_off: int = 0, behind: bytes = b""
) -> bytes:
    entries = b"".join(bytes((kind,)) + vector(2, name, off) for name in names)
    return extension(0, vector(2, entries, list_off) + behind, ext_off)


REST = (
    extension(23, b"")
    + extension(10, bytes.fromhex("0006001d00170018"))
    + extension(16, bytes.fromhex("000c02683208687474702f312e31"))
    + extension(13, bytes.fromhex("00080403080404010503"))
    + extension(43, bytes.fromhex("0403040303"))
    + extension(51, bytes.fromhex("0024001d0020") + bytes(range(32)))
)


def body(
    extensions: bytes | None,
    *,
    version: bytes = b"\x03\x03",
    session: bytes = b"\x20" + bytes(32),
    ciphers: bytes = bytes.fromhex("0006130113021303"),
    compression: bytes = b"\x01\x00",
    off: int = 0,
    behind: bytes = b"",
) -> bytes:
    block = b"" if extensions is None else vector(2, extensions, off)
    return version + b"R" * 32 + session + ciphers + compression + block + behind


def message(content: bytes, *, kind: int = 1, off: int = 0) -> bytes:
    return bytes((kind,)) + vector(3, content, off)


def record(content: bytes, *, kind: int = 22, version: bytes = b"\x03\x01", off: int = 0) -> bytes:
    return bytes((kind,)) + version + vector(2, content, off)


def records(content: bytes, sizes: Sequence[int], version: bytes = b"\x03\x01") -> bytes:
    """`content` over several records: of these sizes, and one with the rest."""
    parts, at = [], 0
    for size in sizes:
        parts.append(content[at : at + size])
        at += size
    return b"".join(record(part, version=version) for part in (*parts, content[at:]) if part)


def plain(name: bytes) -> bytes:
    """A whole sound handshake message."""
    return message(body(server_name(name) + REST))


def expected(name: bytes, sound: str = "tunnel") -> str:
    return sound if name == A else "block"


def names() -> Iterator[Row]:
    """What stands in server_name."""
    for name in (A, A.upper(), b"Allowed.Test"):
        yield Row(f"sni {name!r}", (record(plain(name)),), "tunnel")
    yield Row("sni with a final dot", (record(plain(A + b".")),), "either")
    hosts = b"""
    denied.test git.test sub.allowed.test sub.denied.test allowed.test.denied.test notallowed.test allowed.tes allowed.testx test
    allowed.test.. .allowed.test allowed..test *.test *.allowed.test allowed.test:443 https://allowed.test allowed.test/
    allowed.test@denied.test denied.test#allowed.test 10.99.1.2 127.0.0.1 ::1 [::1] 0x7f000001 2130706433 allowed.test%00
    allowed%2etest xn--bcher-kva.test xn--allowed.test localhost allowed_test -allowed.test allowed.test- allowed.test,denied.test
    """
    odd = (
        b"",
        b".",
        b"\0",
        A + b"\0",
        A + b"\0." + D,
        b"\0" + A,
        A + b" ",
        b" " + A,
        A + b"\n",
        A + b"\r\nHost: denied.test",
        A + b"\t",
        A + b"\x7f",
    )
    odd += (
        "\u0430llowed.test".encode(),
        "b\u00fccher.test".encode(),
        "allowed\u3002test".encode(),
        "\uff41llowed.test".encode(),
        b"\xff\xfe",
    )
    odd += (
        "allowed.test".encode("utf-16-le"),
        b"\x1b[31mdenied.test",
        b"a" * 63 + b".test",
        b"a" * 64 + b".test",
        b"a." * 127 + b"test",
        b"a" * 15000,
    )
    for name in (*hosts.split(), *odd):
        yield Row(f"sni {name[:50]!r} {len(name)}", (record(plain(name)),), "block")


def lists() -> Iterator[Row]:
    """The server_name list and its extension, bent."""
    for first, second in itertools.product((A, D, OTHER), repeat=2):
        same = "either" if first == second == A else "block"
        two = server_name(first, second)
        yield Row(f"names {first!r} {second!r}", (record(message(body(two + REST))),), same)
        for middle in (b"", REST):
            twice = server_name(first) + middle + server_name(second)
            tail = b"" if middle else REST
            yield Row(f"extensions {first!r} {second!r} {len(middle)}", (record(message(body(twice + tail))),), same)
        mixed = extension(0, vector(2, b"\x00" + vector(2, first) + b"\x01" + vector(2, second)))
        yield Row(
            f"types 0 {first!r}, 1 {second!r}",
            (record(message(body(mixed + REST))),),
            "either" if first == A else "block",
        )
        mixed = extension(0, vector(2, b"\x01" + vector(2, first) + b"\x00" + vector(2, second)))
        yield Row(
            f"types 1 {first!r}, 0 {second!r}",
            (record(message(body(mixed + REST))),),
            "either" if second == A else "block",
        )
    for name, kind in itertools.product((A, D), (1, 2, 255)):
        yield Row(f"type {kind} {name!r}", (record(message(body(server_name(name, kind=kind) + REST))),), "block")
    for name, off, field in itertools.product(
        (A, D), (-12, -3, -2, -1, 1, 2, 3, 40, 65000), ("off", "list_off", "ext_off")
    ):
        bent = server_name(name, **{field: off})
        for where, block in (("first", bent + REST), ("last", REST + bent)):
            yield Row(f"{field} {off} {name!r} {where}", (record(message(body(block))),), "block")
    for name, behind in itertools.product(
        (A, D), (b"\0", b"\0\0", b"\0\0\0", b"\0" + vector(2, D), vector(2, b"\0" + vector(2, D)))
    ):
        yield Row(
            f"behind the list {behind!r} {name!r}",
            (record(message(body(server_name(name, behind=behind) + REST))),),
            "block",
        )
    for empty in (extension(0, b""), extension(0, b"\0\0"), extension(0, b"\0"), extension(0, b"\0\3\0\0\0")):
        yield Row(f"empty {empty!r}", (record(message(body(empty + REST))),), "block")
    yield Row("no extension", (record(message(body(REST))),), "block")
    yield Row("no extensions", (record(message(body(None))),), "block")
    yield Row("an empty block", (record(message(body(b""))),), "block")


def bodies() -> Iterator[Row]:
    """Lengths and vectors of the hello itself."""
    block = {name: server_name(name) + REST for name in (A, D)}
    for name, off in itertools.product((A, D), (-100, -4, -2, -1, 1, 2, 4, 60000)):
        yield Row(f"extensions {off} {name!r}", (record(message(body(block[name], off=off))),), "block")
        yield Row(f"message {off} {name!r}", (record(message(body(block[name]), off=off)),), "block")
        yield Row(f"record {off} {name!r}", (record(message(body(block[name])), off=off),), "block")
    for name in (A, D):
        yield Row(f"behind the extensions {name!r}", (record(message(body(block[name], behind=b"\0" * 8))),), "block")
        yield Row(f"behind the message {name!r}", (record(plain(name) + b"\0\0\0\0"),), "block")
        yield Row(f"two hellos in a record {name!r}", (record(plain(name) + plain(D)),), "block")
        yield Row(f"early data {name!r}", (record(plain(name)) + record(b"x" * 500, kind=23),), expected(name))
        for size in (0, 1, 31, 32):
            made = message(body(block[name], session=vector(1, b"s" * size)))
            yield Row(f"session {size} {name!r}", (record(made),), expected(name))
        for size in (33, 64, 200, 255):
            made = message(body(block[name], session=vector(1, b"s" * size)))
            yield Row(f"session {size} {name!r}", (record(made),), expected(name, "either"))
        for ciphers in (b"\0\0", b"\0\1\x13", b"\0\5\x13\1\x13\2\x13", b"\xff\xff\x13\1", b"\0\2"):
            yield Row(f"ciphers {ciphers!r} {name!r}", (record(message(body(block[name], ciphers=ciphers))),), "block")
        for count in (1, 30, 300, 4000):
            made = message(body(block[name], ciphers=vector(2, b"\xc0\x2f" * count)))
            yield Row(f"{count} ciphers {name!r}", (record(made),), expected(name))
        for compression in (b"\0", b"\xff\0", b""):
            yield Row(
                f"compression {compression!r} {name!r}",
                (record(message(body(block[name], compression=compression))),),
                "block",
            )
        yield Row(
            f"two compressions {name!r}", (record(message(body(block[name], compression=b"\2\1\0"))),), expected(name)
        )
        for size in range(0, len(message(body(block[name]))), 7):
            yield Row(f"cut at {size} {name!r}", (record(message(body(block[name])))[: size + 5],), "block")
            yield Row(f"record ends at {size} {name!r}", (record(message(body(block[name]))[:size]),), "block")


def versions() -> Iterator[Row]:
    """Versions of record and hello; types of record and message."""
    for name, version in itertools.product((A, D), (b"\3\0", b"\3\1", b"\3\2", b"\3\3", b"\3\4")):
        sure = "either" if version == b"\3\4" else "tunnel"
        yield Row(f"record {version!r} {name!r}", (record(plain(name), version=version),), expected(name, sure))
        made = message(body(server_name(name) + REST, version=version))
        yield Row(f"hello {version!r} {name!r}", (record(made),), expected(name, sure))
        short = message(body(server_name(name), version=version))
        yield Row(f"old hello {version!r} {name!r}", (record(short),), expected(name, sure))
    for name, version in itertools.product((A, D), (b"\0\0", b"\0\2", b"\2\0", b"\4\0", b"\xfe\xfd", b"\xff\xff")):
        yield Row(f"record {version!r} {name!r}", (record(plain(name), version=version),), "block")
        made = message(body(server_name(name) + REST, version=version))
        yield Row(f"hello {version!r} {name!r}", (record(made),), expected(name, "either"))
    for name, kind in itertools.product((A, D), range(256)):
        if kind != 22:
            yield Row(f"record type {kind} {name!r}", (record(plain(name), kind=kind),), "block")
        if kind != 1:
            yield Row(
                f"message type {kind} {name!r}", (record(message(body(server_name(name) + REST), kind=kind)),), "block"
            )
    for name, kind, content in itertools.product((A, D), (20, 21, 23, 24, 255), (b"\1", b"\1\0", b"")):
        before = record(content, kind=kind) + record(plain(name))
        yield Row(f"record type {kind} {content!r} before {name!r}", (before,), expected(name, "either"))
        half = plain(name)
        inside = record(half[:50]) + record(content, kind=kind) + record(half[50:])
        yield Row(f"record type {kind} {content!r} inside {name!r}", (inside,), "block")


def splits() -> Iterator[Row]:
    """Sound hellos, cut anywhere: into TCP segments, into records, into both."""
    for name in (A, D):
        sound = expected(name)
        whole = plain(name)
        wire = record(whole)
        for at in range(1, len(wire)):
            yield Row(f"tcp {at} {name!r}", (wire[:at], wire[at:]), sound)
        for at in range(1, len(whole)):
            yield Row(f"records {at} {name!r}", (records(whole, [at]),), sound)
        for size in (1, 2, 3, 5, 16, 60):
            chopped = records(whole, [size] * (len(whole) // size + 1))
            yield Row(f"records of {size} {name!r}", (chopped,), sound)
            yield Row(
                f"records and segments of {size} {name!r}",
                tuple(chopped[n : n + size] for n in range(0, len(chopped), size)),
                sound,
            )
            yield Row(
                f"segments of {size} {name!r}", tuple(wire[n : n + size] for n in range(0, len(wire), size)), sound
            )
        for at in (0, 1, 4, 60):
            holes = (records(whole[:at], []) if at else b"") + record(b"") + record(whole[at:])
            yield Row(f"empty record at {at} {name!r}", (holes,), expected(name, "either"))
        yield Row(f"an empty record and silence {name!r}", (record(b""),), "block")


def shapes() -> Iterator[Row]:
    """Other extensions: GREASE, pre-shared keys, padding up to the limit, ECH in all its drafts."""
    for name in (A, D):
        sni = server_name(name)
        for kind in (0x0A0A, 0x1A1A, 0xFAFA, 21, 41, 42, 35, 5, 18, 27, 17513, 17613, 0xFF01, 0xFFFF, 1, 34, 50, 57):
            for data in (b"", b"\0", b"\0" * 40):
                yield Row(
                    f"extension {kind} {len(data)} {name!r}",
                    (record(message(body(sni + REST + extension(kind, data)))),),
                    expected(name),
                )
            yield Row(
                f"extension {kind} first {name!r}",
                (record(message(body(extension(kind, b"x" * 9) + sni + REST))),),
                expected(name),
            )
            twice = extension(kind, b"") * 2
            yield Row(
                f"extension {kind} twice {name!r}",
                (record(message(body(sni + REST + twice))),),
                expected(name, "either"),
            )
        for size in (512, 1500, 4096, 9000, 15000, 16000):
            for block in (sni + REST + extension(21, bytes(size)), extension(21, bytes(size)) + REST + sni):
                made = message(body(block))
                yield Row(f"{size} bytes of padding {len(made)} {name!r}", (record(made),), expected(name))
                yield Row(f"{size} bytes in records of 1400 {name!r}", (records(made, [1400] * 20),), expected(name))
        for size in (20000, 40000, 60000):
            made = message(body(sni + extension(21, bytes(size))))
            yield Row(f"{size} bytes over records {name!r}", (records(made, [16384] * 4),), expected(name, "either"))
        for size in (0x10000, 0xFFFFFF):
            yield Row(f"a message of {size} {name!r}", (record(b"\1" + size.to_bytes(3, "big") + body(sni)),), "block")
        outer = b"\0\0\1\0\1\x2a" + vector(2, b"k" * 32) + vector(2, b"p" * 144)
        yield Row(
            f"ech outer {name!r}",
            (record(message(body(sni + REST + extension(0xFE0D, outer)))),),
            expected(name),
            ech=True,
        )
        for kind, data in (
            (0xFE0D, b"\1"),
            (0xFE0D, b""),
            (0xFE0D, b"\2x"),
            (0xFD00, b"\0\0"),
            (0xFFCE, b"x" * 50),
            (0xFE0A, outer),
            (0xFE08, outer),
        ):
            made = message(body(sni + REST + extension(kind, data)))
            yield Row(f"ech {kind:x} {data[:3]!r} {name!r}", (record(made),), expected(name, "either"), ech=True)


def strangers() -> Iterator[Row]:
    """What is no TLS at all, or no TLS over TCP."""
    old = b"\1\3\1" + struct.pack(">HHH", 3, 0, 16) + b"\0\0\4" + bytes(16)
    dtls = b"\x16\xfe\xff\0\0\0\0\0\0\0\0" + vector(2, b"\1\0\0\x40\0\0\0\0\0\0\0\x40" + bytes(64))
    for text in (
        *(
            b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n",
            b"CONNECT denied.test:443 HTTP/1.1\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-x\r\n",
        ),
        *(
            b"\5\1\0",
            b"\4\1\1\xbb\n\x63\1\2\0",
            b"EHLO x\r\n",
            b"\r\n",
            b"\0",
            b"\0" * 400,
            b"\xff" * 400,
            bytes(range(256)),
            b"\x16",
            b"\x16\3",
            b"\x16\3\1",
        ),
        *(
            struct.pack(">H", 0x8000 | len(old)) + old,
            dtls,
            b"\xc3\0\0\0\1\x08" + bytes(200),
            b"PROXY TCP4 1.1.1.1 2.2.2.2 1 443\r\n" + record(plain(A)),
        ),
        *(
            b"\r\n\r\n\0\r\nQUIT\n" + record(plain(A)),
            b"\x00" + record(plain(A)),
            b"\r\n" + record(plain(A)),
            record(plain(A))[1:],
            b"BitTorrent protocol",
        ),
        *(
            b"\x16\3\1\xff\xff" + plain(A),
            b"\x16\3\1\x48\x01" + plain(A),
            b"\x16\3\1\0\0",
            b"\x15\3\1\0\2\1\0",
            b"\x17\3\3\0\x05hello",
        ),
    ):
        yield Row(f"no hello {text[:30]!r} {len(text)}", (text,), "block")


FAMILIES = {
    "names": names,
    "lists": lists,
    "bodies": bodies,
    "versions": versions,
    "splits": splits,
    "shapes": shapes,
    "strangers": strangers,
}
