"""SSH identifications and the choice between TLS and HTTP: what passes, what is refused, in every cut."""

from __future__ import annotations

import pytest

from kap.egress.opening import Opening, Refused
from kap.egress.wires import NotSsh, SshBanner, sniff
from kap.names.hosts import Host, Target

TARGET = Target(Host("allowed.test"), 22)


@pytest.mark.parametrize("line", [b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", b"SSH-1.99-x\n", b"SSH-2.0-babeld-2ebf\r\n"])
@pytest.mark.parametrize("is_server", [True, False])
def test_an_identification_passes_in_any_cut(line: bytes, is_server: bool) -> None:
    for cut in range(len(line)):
        banner = SshBanner(is_server=is_server)
        assert banner.feed(line[:cut]) + banner.feed(line[cut:] + b"more") == line + b"more"
        assert banner.done
        assert banner.feed(b"after") == b"after"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b"GET / HTTP/1.1\r\n",
        b"SSX-2.0-x\r\n",
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-\r\n",
        b"SSH-2.0-a\x00b\r\n",
        b"SSH-2.0-" + b"a" * 300,
        b"hello\r\nSSH-2.0-x\r\n",
    ],
)
def test_a_client_says_nothing_else(data: bytes) -> None:
    with pytest.raises(NotSsh):
        SshBanner(is_server=False).feed(data)


def test_a_server_may_say_a_little_first() -> None:
    banner = SshBanner(is_server=True)
    assert banner.feed(b"welcome\r\nto this ") == b""
    assert banner.feed(b"host\r\nSSH-2.0-x\r\n") == b"welcome\r\nto this host\r\nSSH-2.0-x\r\n"
    with pytest.raises(NotSsh):
        SshBanner(is_server=True).feed(b"a\n" * 3000)
    with pytest.raises(NotSsh):
        SshBanner(is_server=True).feed(b"a" * 5000)


@pytest.mark.parametrize(
    ("first", "found"), [(0x16, "tls"), (0x47, "http"), (0x15, ""), (0, ""), (0x67, ""), (0x80, "")]
)
def test_sniff(first: int, found: str) -> None:
    assert sniff(first) == found


def test_nothing_of_the_server_passes_before_a_tls_client_is_accepted() -> None:
    with pytest.raises(Refused) as caught:
        Opening("tls", TARGET, False, 65_536).server(b"220 smtp\r\n")
    assert caught.value.code == "egress.server-first"


@pytest.mark.parametrize(
    ("wire", "data", "code"),
    [
        ("http", b"\x16\x03\x01", "egress.not-http"),
        ("auto", b"SSH-2.0-x\r\n", ""),
        ("auto", b"\x05\x01\x00", "egress.not-tls"),
        ("ssh", b"GET / HTTP/1.1\r\n", "egress.not-ssh"),
        ("tls", b"GET / HTTP/1.1\r\n", "egress.not-tls"),
    ],
)
def test_the_wrong_wire_is_named(wire: str, data: bytes, code: str) -> None:
    opening = Opening(wire, TARGET, False, 65_536)  # type: ignore[arg-type]
    if not code:
        assert opening.client(data) == data and opening.http  # a parser decides; it is no HTTP
        return
    with pytest.raises(Refused) as caught:
        opening.client(data)
    assert caught.value.code == code


def test_ssh_is_complete_when_both_have_identified_themselves() -> None:
    opening = Opening("ssh", TARGET, False, 65_536)
    assert opening.server(b"SSH-2.0-server\r\n") == b"SSH-2.0-server\r\n"
    assert not opening.complete
    assert opening.client(b"SSH-2.0-client\r\nkex") == b"SSH-2.0-client\r\nkex"
    assert opening.complete
