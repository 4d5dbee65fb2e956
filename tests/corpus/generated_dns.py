"""DNS messages made octet by octet: sound queries in many shapes, every way to bend one, and the answers of a hostile upstream server.

Words of an expectation: ``same`` (asked upstream, answered), ``deny`` (a reply without records; nobody is asked), ``silent`` (nobody
is asked, there may be no reply), ``either`` (what is asked, if anything, is an allowed name in canonical form). ``allowed.test`` and
everything below it is listed. Sources: RFC 1035 4.1, RFC 6891 6.1, RFC 2136, RFC 5936.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

RD = 0x0100


class Row(NamedTuple):
    id: str
    wire: bytes
    expect: str


def name(*labels: bytes) -> bytes:
    """A name on the wire; a label may hold anything."""
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def dotted(text: str) -> bytes:
    return name(*text.encode("latin-1").split(b".")) if text else b"\0"


ALLOWED, BELOW, DENIED = dotted("allowed.test"), dotted("x.allowed.test"), dotted("denied.test")


def question(owner: bytes, rtype: int = 1, rclass: int = 1) -> bytes:
    return owner + struct.pack(">HH", rtype, rclass)


def query(
    section: bytes, flags: int = RD, counts: tuple[int, int, int, int] = (1, 0, 0, 0), behind: bytes = b""
) -> bytes:
    return struct.pack(">6H", 0xABCD, flags, *counts) + section + behind


def opt(payload: int = 1232, ttl: int = 0, options: bytes = b"", *, owner: bytes = b"\0", off: int = 0) -> bytes:
    return owner + struct.pack(">HHIH", 41, payload, ttl, len(options) + off) + options


def option(code: int, data: bytes, off: int = 0) -> bytes:
    return struct.pack(">HH", code, len(data) + off) + data


def resource(owner: bytes, rtype: int, data: bytes, *, ttl: int = 60, rclass: int = 1, off: int = 0) -> bytes:
    return owner + struct.pack(">HHIH", rtype, rclass, ttl, len(data) + off) + data


STRANGERS = """
denied.test DENIED.TEST a.denied.test test com arpa xallowed.test notallowed.test allowed.test.denied.test allowed.test.com
allowed.tes allowed.testx allowed-test allowed localhost foo.localhost metadata.google.internal 169.254.169.254 127.0.0.1 0x7f000001
_kerberos.denied.test _dns.resolver.arpa wpad isatap use-application-dns.net 2.1.99.10.in-addr.arpa 8.8.8.8.in-addr.arpa 10.in-addr.arpa
xn--llowed-1ra.test xn--allowed.test version.bind id.server hostname.bind b.root-servers.net x.allowed.test.x allowed.test.allowed
"""
FINE = f"""
allowed.test ALLOWED.TEST aLLoWed.TeSt x.allowed.test a.b.c.allowed.test -x.allowed.test x-.allowed.test _tcp.allowed.test 1.allowed.test
xn--bcher-kva.allowed.test allowed.test.allowed.test denied.test.allowed.test {"a" * 63}.allowed.test {"a." * 119}allowed.test
127.0.0.1.allowed.test ab--cd.allowed.test {"b" * 63}.{"c" * 63}.{"d" * 63}.{"e" * 48}.allowed.test
"""
TYPES = (*range(110), 249, 250, 251, 252, 253, 254, 255, 256, 257, 258, 259, 32768, 32769, 65280, 65534, 65535)
ANSWERED = frozenset({1, 28})
MAY_BE_ASKED = frozenset({1, 16, 28})


def names() -> Iterator[Row]:
    """Who is asked about."""
    for text, rtype in itertools.product(STRANGERS.split(), (1, 28, 5, 16, 65, 255)):
        yield Row(f"{text} {rtype}", query(question(dotted(text), rtype)), "deny")
    for rtype in (1, 2, 48, 255):
        yield Row(f"the root {rtype}", query(question(b"\0", rtype)), "deny")
    for text, rtype in itertools.product(FINE.split(), (1, 28)):
        yield Row(f"{text} {rtype}", query(question(dotted(text), rtype)), "same")
    for char in range(256):
        byte = bytes((char,))
        sound = "same" if byte.isalnum() or byte in b"-_" else "silent"
        yield Row(f"byte {char} inside", query(question(name(b"a" + byte + b"b", b"allowed", b"test"))), sound)
        for labels in (
            (b"allowed" + byte + b"test",),
            (b"x" + byte + b"allowed", b"test"),
            (b"denied", b"test" + byte + b"allowed", b"test"),
        ):
            yield Row(f"byte {char} between {labels}", query(question(name(*labels))), "silent")
        yield Row(f"byte {char} at the end", query(question(name(b"allowed", b"test" + byte))), "silent")
        if byte not in b"-_" and not byte.isalnum():
            yield Row(f"byte {char} alone", query(question(name(byte, b"allowed", b"test"))), "silent")


def types() -> Iterator[Row]:
    """Every type and class, of a listed name and of another."""
    for rtype in TYPES:
        for owner in (ALLOWED, BELOW):
            expect = "same" if rtype in ANSWERED else "either" if rtype in MAY_BE_ASKED else "deny"
            yield Row(f"type {rtype} allowed", query(question(owner, rtype)), expect)
        yield Row(f"type {rtype} denied", query(question(DENIED, rtype)), "deny")
    for rclass, rtype, owner in itertools.product(
        (0, 2, 3, 4, 5, 254, 255, 256, 0x8001, 65535), (1, 16, 28, 255), (ALLOWED, DENIED)
    ):
        yield Row(f"class {rclass} {rtype} {owner!r}", query(question(owner, rtype, rclass)), "deny")


def headers() -> Iterator[Row]:
    """Opcodes, flags, counts."""
    for owner in (ALLOWED, DENIED):
        for opcode in range(1, 16):
            yield Row(f"opcode {opcode} {owner!r}", query(question(owner), opcode << 11 | RD), "deny")
        for flags in (0, RD, RD | 0x20, RD | 0x10, RD | 0x30):
            yield Row(
                f"flags {flags:#x} {owner!r}", query(question(owner), flags), "same" if owner == ALLOWED else "deny"
            )
        for bit in (0x8000, 0x0400, 0x0200, 0x0080, 0x0040, 1, 2, 3, 5, 15):
            yield Row(f"flag {bit:#x} {owner!r}", query(question(owner), RD | bit), "silent")
        for counts in itertools.product((0, 1, 2, 65535), (0, 1, 65535), (0, 1, 65535), (0, 1, 2, 65535)):
            if counts != (1, 0, 0, 0):
                yield Row(f"counts {counts} {owner!r}", query(question(owner), RD, counts), "silent")
        for other in (ALLOWED, DENIED):
            yield Row(
                f"two questions {owner!r} {other!r}",
                query(question(owner) + question(other), RD, (2, 0, 0, 0)),
                "silent",
            )
            yield Row(
                f"a question behind {owner!r} {other!r}", query(question(owner), behind=question(other)), "silent"
            )
            for place in range(1, 4):
                counts = [1, 0, 0, 0]
                counts[place] = 1
                row = resource(other, 1, b"\x0a\x63\1\2")
                yield Row(
                    f"a record in {place} {owner!r} {other!r}", query(question(owner), RD, tuple(counts), row), "silent"
                )
        for behind in (b"\0", b"\xff" * 100, b"\0" * 400, b"GET / HTTP/1.1\r\n\r\n", opt()):
            yield Row(f"behind {behind[:8]!r} {owner!r}", query(question(owner), behind=behind), "silent")


def shapes() -> Iterator[Row]:
    """Names that are none, and messages that stop."""
    for owner in (ALLOWED, DENIED):
        whole = query(question(owner), RD, (1, 0, 0, 1), opt(options=option(10, b"x" * 8)))
        for size in range(len(whole)):
            yield Row(f"cut at {size} {owner!r}", whole[:size], "silent")
        for size in range(13, len(whole)):
            yield Row(f"from {size} on {owner!r}", whole[size:], "silent")
    for head in (b"", b"\3www", b"\7allowed", b"\7allowed\4test"):
        for pointer in (0xC000, 0xC004, 0xC00C, 0xC000 | 12 + len(head), 0xC000 | 14 + len(head), 0xFFFF, 0xC0FF):
            yield Row(
                f"pointer {pointer:#x} behind {head!r}", query(question(head + struct.pack(">H", pointer))), "silent"
            )
        yield Row(
            f"a pointer to a name behind {head!r}",
            query(question(head + struct.pack(">H", 0xC012 + len(head))), behind=ALLOWED),
            "silent",
        )
        for kind in (0x40, 0x41, 0x7F, 0x80, 0xBF):
            yield Row(
                f"label type {kind:#x} behind {head!r}",
                query(question(head + bytes((kind,)) + b"a" * 63 + b"\0")),
                "silent",
            )
        yield Row(f"no end behind {head!r}", query(head), "silent")
    for octets in (256, 300, 5000, 60000):
        long = (b"\x3f" + b"a" * 63) * (octets // 64 + 1)
        yield Row(f"a name of {octets}", query(question(long[: octets - 14] + ALLOWED)), "silent")
        yield Row(f"labels up to {octets}", query(question(b"\1a" * (octets // 2) + ALLOWED)), "silent")
    for size in (0, 1, 2, 11, 12, 16, 512, 60000):
        yield Row(f"{size} zeros", bytes(size), "silent")
        yield Row(f"{size} of 0xff", b"\xff" * size, "silent")
    yield Row("HTTP", b"GET / HTTP/1.1\r\nHost: allowed.test\r\n\r\n", "silent")


def edns() -> Iterator[Row]:
    """OPT records, sound and not."""
    for owner in (ALLOWED, DENIED):
        sound = "same" if owner == ALLOWED else "deny"
        for payload in (0, 1, 511, 512, 1232, 4096, 65535):
            for ttl in (0, 0x8000, 0x4000, 0x7FFF, 0xFFFF):
                yield Row(
                    f"payload {payload} flags {ttl:#x} {owner!r}",
                    query(question(owner), RD, (1, 0, 0, 1), opt(payload, ttl)),
                    sound,
                )
        for code in (*range(21), 26946, 65001, 65535):
            for data in (b"", b"\0", b"x" * 8, b"x" * 400):
                made = query(question(owner), RD, (1, 0, 0, 1), opt(options=option(code, data)))
                yield Row(f"option {code} {len(data)} {owner!r}", made, sound)
        many = b"".join(option(code, b"x") for code in range(100))
        yield Row(f"many options {owner!r}", query(question(owner), RD, (1, 0, 0, 1), opt(options=many)), sound)
        for version in (1, 2, 255):
            yield Row(
                f"version {version} {owner!r}", query(question(owner), RD, (1, 0, 0, 1), opt(ttl=version << 16)), "deny"
            )
        for bent in (
            *(
                opt(off=1),
                opt(off=-1, options=option(10, b"x")),
                opt(options=option(10, b"x", 1)),
                opt(options=option(10, b"x", -1)),
            ),
            *(
                opt(options=b"\0"),
                opt(options=b"\0\n\0"),
                opt(off=65535),
                opt(ttl=1 << 24),
                opt(owner=DENIED),
                opt(owner=b"\xc0\x0c"),
            ),
            *(
                resource(b"\0", 250, b"x" * 20, rclass=255),
                resource(b"\0", 24, b"x" * 20, rclass=255),
                resource(ALLOWED, 1, bytes(4)),
            ),
        ):
            yield Row(f"opt {bent[:16]!r} {owner!r}", query(question(owner), RD, (1, 0, 0, 1), bent), "silent")
        yield Row(f"two opt {owner!r}", query(question(owner), RD, (1, 0, 0, 2), opt() + opt()), "silent")
        yield Row(f"opt behind {owner!r}", query(question(owner), RD, (1, 0, 0, 1), opt() + question(DENIED)), "silent")


FAMILIES = {"names": names, "types": types, "headers": headers, "shapes": shapes, "edns": edns}

# -- answers --------------------------------------------------------------------------------------------------------------------

HERE = b"\xc0\x0c"
PUBLIC, PUBLIC6 = b"\x09\x09\x09\x0a", bytes.fromhex("2620fe00000000000000000000000010")
LOCAL = tuple(
    bytes(map(int, text.split(".")))
    for text in [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "192.168.1.1",
        "255.255.255.255",
        "100.100.100.200",
    ]
)
LOCAL6 = tuple(
    bytes.fromhex(text)
    for text in (
        *(
            "0" * 31 + "1",
            "0" * 32,
            "0" * 20 + "ffff7f000001",
            "0064ff9b" + "0" * 16 + "7f000001",
            "20027f000001" + "0" * 20,
            "fe80" + "0" * 27 + "1",
        ),
        *("fd00" + "0" * 27 + "1", "fd000ec2" + "0" * 21 + "254", "20010000" + "0" * 24, "ff02" + "0" * 27 + "1"),
    )
)


def answers(rtype: int, owner: bytes = BELOW) -> Iterator[tuple[str, bytes, tuple[int, int, int, int]]]:
    """Answer sections (and what stands behind them) to the question for `owner`, with the counts of the header."""
    good = PUBLIC if rtype == 1 else PUBLIC6
    fine = resource(HERE, rtype, good)
    cdn = dotted("cdn.example.net")
    for local in LOCAL if rtype == 1 else LOCAL6:
        yield f"local {local.hex()}", resource(HERE, rtype, local), (1, 1, 0, 0)
        yield f"local {local.hex()} and public", resource(HERE, rtype, local) + fine, (1, 2, 0, 0)
        yield f"local {local.hex()} behind an alias", resource(HERE, 5, cdn) + resource(cdn, rtype, local), (1, 2, 0, 0)
    for other in (
        DENIED,
        ALLOWED,
        dotted("test"),
        b"\0",
        name(b"x\0", b"allowed", b"test"),
        name(b"x.allowed", b"test"),
    ):
        yield f"of {other!r}", resource(other, rtype, good), (1, 1, 0, 0)
        yield f"of {other!r} and mine", resource(other, rtype, good) + fine, (1, 2, 0, 0)
        yield f"an alias to {other!r}", resource(HERE, 5, other) + resource(other, rtype, good), (1, 2, 0, 0)
        yield f"an alias of {other!r}", resource(other, 5, cdn) + resource(cdn, rtype, good) + fine, (1, 3, 0, 0)
    for size in (0, 1, 3, 5, 15, 17, 300):
        yield f"an address of {size}", resource(HERE, rtype, b"\x09" * size), (1, 1, 0, 0)
    for off in (-16, -4, -1, 1, 4, 60000):
        yield (
            f"a length of {off}",
            resource(HERE, rtype, good, off=off if off > 0 else max(off, -len(good))),
            (1, 1, 0, 0),
        )
    for rclass in (0, 3, 254, 255):
        yield f"class {rclass}", resource(HERE, rtype, good, rclass=rclass), (1, 1, 0, 0)
    for ttl in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        yield f"ttl {ttl}", resource(HERE, rtype, good, ttl=ttl), (1, 1, 0, 0)
    for other_type in (1, 2, 6, 12, 15, 16, 28, 33, 35, 39, 41, 46, 64, 65, 99, 250, 257, 65280):
        yield f"type {other_type} too", resource(HERE, other_type, b"\0\1\0") + fine, (1, 2, 0, 0)
        yield f"type {other_type} alone", resource(HERE, other_type, DENIED), (1, 1, 0, 0)
        yield f"type {other_type} behind", fine + resource(DENIED, other_type, good), (1, 1, 0, 1)
    for pointer in (0xC000, 0xC00B, 0xC0FF, 0xFFFF, 0xC000 | 12 + len(owner) + 4):
        yield f"owner at {pointer:#x}", resource(struct.pack(">H", pointer), rtype, good), (1, 1, 0, 0)
        yield f"alias at {pointer:#x}", resource(HERE, 5, struct.pack(">H", pointer)) + fine, (1, 2, 0, 0)
    yield "an alias to itself", resource(HERE, 5, HERE) + fine, (1, 2, 0, 0)
    loop = resource(HERE, 5, cdn) + resource(cdn, 5, owner)
    yield "a circle", loop, (1, 2, 0, 0)
    yield "a circle, and an address", loop + fine, (1, 3, 0, 0)
    steps = [owner, *(dotted(f"n{n}.example.net") for n in range(40))]
    for count in (1, 8, 16, 17, 40):
        chain = b"".join(resource(a, 5, b) for a, b in itertools.pairwise(steps[: count + 1]))
        yield f"{count} aliases", chain + resource(steps[count], rtype, good), (1, count + 1, 0, 0)
        yield f"{count} aliases backwards", resource(steps[count], rtype, good) + chain, (1, count + 1, 0, 0)
    yield (
        "two aliases",
        resource(HERE, 5, cdn) + resource(HERE, 5, DENIED) + resource(DENIED, rtype, good),
        (1, 3, 0, 0),
    )
    for counts in ((1, 0, 0, 0), (1, 2, 0, 0), (1, 65535, 0, 0), (0, 1, 0, 0), (2, 1, 0, 0), (1, 1, 65535, 65535)):
        yield f"counts {counts}", fine, counts
    yield "many", fine * 600, (1, 600, 0, 0)
    for size in range(len(fine)):
        yield f"cut at {size}", fine[:size], (1, 1, 0, 0)
