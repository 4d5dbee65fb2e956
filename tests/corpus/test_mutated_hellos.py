"""Sound ClientHellos, bent at random: what kap's reader lets through, another parser reads as the same host or not at all."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from corpus import generated_hellos as made
from corpus.generated_hellos import REST, A, D, message, plain, record, records, server_name
from kap.egress.clienthello import BadHello, HelloReader, check_hello
from kap.names.hosts import Host, Target

TARGET = Target(Host("allowed.test"), 443)
ROUNDS = 12_000


def seeds() -> list[bytes]:
    both = (
        server_name(A) + REST + server_name(D),
        server_name(D, A) + REST,
        server_name(A) + made.extension(0x0A0A, server_name(D)) + REST,
    )
    nested = message(made.body(server_name(A) + made.extension(35, record(plain(D))) + REST))
    sound = [
        record(plain(A)),
        record(plain(D)),
        records(plain(A), [30, 40]),
        records(plain(D), [5, 90]),
        record(nested),
    ]
    return [*sound, *(record(message(made.body(block))) for block in both)]


def bent(chance: random.Random) -> Iterator[bytes]:
    start = seeds()
    for _ in range(ROUNDS):
        data = bytearray(chance.choice(start))
        for _ in range(chance.choice((1, 1, 2, 3, 8))):
            at, how = chance.randrange(len(data)), chance.random()
            if how < 0.5:
                data[at] = chance.choice(
                    (0, 1, 255, chance.randrange(256), data[at] ^ 1, (data[at] + 1) & 255, (data[at] - 1) & 255)
                )
            elif how < 0.7 and len(data) > 40:
                del data[at : at + chance.choice((1, 1, 2, 4, 12))]
            elif how < 0.9:
                data[at:at] = chance.randbytes(chance.choice((1, 2, 4)))
            else:
                origin = chance.randrange(len(data))
                data[at:at] = data[origin : origin + chance.randrange(1, 60)]
        yield bytes(data)


@pytest.mark.timeout(60)
def test_no_other_parser_sees_another_host() -> None:
    tls = pytest.importorskip("mitmproxy.proxy.layers.tls", reason="mitmproxy is not installed (it needs Python 3.13)")
    passed = read = 0
    for data in bent(random.Random(20)):
        reader = HelloReader()
        try:
            hello = reader.feed(data)
        except BadHello:
            continue
        if hello is None or check_hello(hello, TARGET, True) is not None:
            continue
        passed += 1
        assert reader.data == data
        try:
            other = tls.parse_client_hello(data)
        except ValueError:
            continue  # it is stricter in what does not concern the host (ALPN, the record's version)
        assert other is not None
        assert str(other.sni).lower().removesuffix(".") == "allowed.test", data.hex()
        read += 1
    assert passed > ROUNDS // 20
    assert read > passed // 2
