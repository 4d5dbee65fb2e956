"""Names on the wire: RFC 1035 3.1 and 4.1.4."""

from __future__ import annotations

import pytest

from kap.dns.labels import BadName, decode_compressed, decode_plain, encode_name


def test_names_come_back_as_they_went() -> None:
    for name in ("", "a", "allowed.test", "_sip._tcp.example.com", "-x.allowed.test", "a" * 63 + ".b"):
        assert decode_plain(encode_name(name), 0) == (name, len(encode_name(name)))


def test_longest_name_passes_and_one_octet_more_does_not() -> None:
    longest = b"\x3f" + b"a" * 63
    longest = longest * 3 + b"\x3d" + b"a" * 61 + b"\0"
    assert len(longest) == 255
    assert len(decode_plain(longest, 0)[0]) == 253
    with pytest.raises(BadName):
        decode_plain(b"\x3f" + b"a" * 63 + longest[64:192] + b"\x3e" + b"a" * 62 + b"\0", 0)


@pytest.mark.parametrize("name", ["a b", "a..b", ".a", "a.", "ä", "a" * 64, "a*b", "a\0b"])
def test_text_that_is_no_host_name_is_not_encoded(name: str) -> None:
    with pytest.raises(BadName):
        encode_name(name)


def test_a_strange_label_is_well_formed_and_refused() -> None:
    with pytest.raises(BadName) as caught:
        decode_plain(b"\x03a.b\0", 0)
    assert caught.value.well_formed
    assert decode_compressed(b"\x03a.b\0", 0) == (None, 5)


def test_pointers_go_backwards_only() -> None:
    message = b"\x04test\0" + b"\x01a\xc0\x00" + b"\x01b\xc0\x06"
    assert decode_compressed(message, 6) == ("a.test", 10)
    assert decode_compressed(message, 10) == ("b.a.test", 14)
    with pytest.raises(BadName):
        decode_plain(message, 6)
    for loop in (b"\xc0\x00", b"\x01a\xc0\x00", b"\xc0\x02\xc0\x00", b"\x01a\xc0\x05", b"\xc0"):
        with pytest.raises(BadName):
            decode_compressed(loop, 0)


def test_a_pointer_may_not_unroll_a_name_over_255_octets() -> None:
    long = (b"\x3f" + b"a" * 63) * 3 + b"\0"
    with pytest.raises(BadName):
        decode_compressed(long + b"\x3f" + b"a" * 63 + b"\xc0\x00", len(long))
