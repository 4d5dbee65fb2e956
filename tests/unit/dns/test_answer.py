"""What of an upstream's message becomes an answer."""

from __future__ import annotations

import dns.message
import dns.rcode
import dns.rrset
import pytest

from kap.dns import wire
from kap.dns.answer import MAX_TTL, Answer, BadAnswer, decode_answer, is_truncated, matches
from kap.dns.wire import Record, encode_query, encode_question

NAME = "www.allowed.test"
SECTION = encode_question(NAME, 1)
OFFSET = 12 + len(SECTION)


def response(*rrsets: tuple[str, int, str, str], rcode: int = 0) -> bytes:
    message = dns.message.make_response(dns.message.from_wire(encode_query(b"\0\1", SECTION)))
    message.set_rcode(rcode)
    for owner, ttl, rtype, text in rrsets:
        message.answer.append(dns.rrset.from_text(owner, ttl, "IN", rtype, text))
    return message.to_wire()


def test_a_chain_is_followed_in_any_order_and_strangers_are_left_out() -> None:
    got = decode_answer(
        response(
            ("z.example.net.", 10, "A", "1.2.3.4"),
            ("y.example.net.", 10, "CNAME", "z.example.net."),
            ("denied.test.", 10, "A", "6.6.6.6"),
            (NAME + ".", 10, "CNAME", "y.example.net."),
            (NAME + ".", 10, "TXT", "hello"),
        ),
        NAME,
        1,
        OFFSET,
    )
    assert got == Answer(
        0,
        (
            Record(NAME, 5, 10, "y.example.net"),
            Record("y.example.net", 5, 10, "z.example.net"),
            Record("z.example.net", 1, 10, bytes((1, 2, 3, 4))),
        ),
    )


def test_records_of_another_owner_are_no_answer() -> None:
    assert decode_answer(response(("denied.test.", 10, "A", "6.6.6.6")), NAME, 1, OFFSET) == Answer(0, ())


def test_a_circle_and_an_endless_chain_are_refused() -> None:
    with pytest.raises(BadAnswer, match="circle"):
        decode_answer(
            response((NAME + ".", 1, "CNAME", "b.test."), ("b.test.", 1, "CNAME", NAME + ".")), NAME, 1, OFFSET
        )
    with pytest.raises(BadAnswer):
        decode_answer(response((NAME + ".", 1, "CNAME", NAME + ".")), NAME, 1, OFFSET)
    chain = [(NAME + ".", 1, "CNAME", "n0.test.")] + [(f"n{n}.test.", 1, "CNAME", f"n{n + 1}.test.") for n in range(30)]
    with pytest.raises(BadAnswer):
        decode_answer(response(*chain), NAME, 1, OFFSET)


def test_an_alias_for_something_that_is_no_host_name_is_refused() -> None:
    with pytest.raises(BadAnswer, match="alias"):
        decode_answer(response((NAME + ".", 1, "CNAME", r"evil\032name.test.")), NAME, 1, OFFSET)


def test_ttls_are_capped_and_a_set_top_bit_means_none() -> None:
    raw = response((NAME + ".", 2**31 - 1, "A", "1.2.3.4"))
    assert decode_answer(raw, NAME, 1, OFFSET).records[0].ttl == MAX_TTL
    at = raw.index(b"\x7f\xff\xff\xff")
    assert decode_answer(raw[:at] + b"\xff\xff\xff\xff" + raw[at + 4 :], NAME, 1, OFFSET).records[0].ttl == 0


def test_addresses_of_the_wrong_size_are_refused() -> None:
    raw = response((NAME + ".", 1, "A", "1.2.3.4"))
    opt = raw.index(b"\x01\x02\x03\x04")
    with pytest.raises(BadAnswer, match="shape"):
        decode_answer(raw[: opt - 2] + b"\0\3" + raw[opt:], NAME, 1, OFFSET)


def test_every_cut_of_a_response_is_refused_or_empty() -> None:
    raw = response((NAME + ".", 1, "CNAME", "b.test."), ("b.test.", 1, "A", "1.2.3.4"))
    end = raw.index(b"\x01\x02\x03\x04") + 4
    for size in range(OFFSET, end):
        with pytest.raises(BadAnswer):
            decode_answer(raw[:size], NAME, 1, OFFSET)


def test_a_count_that_lies_is_refused() -> None:
    raw = response((NAME + ".", 1, "A", "1.2.3.4"))
    with pytest.raises(BadAnswer):
        decode_answer(raw[:6] + b"\xff\xff" + raw[8:], NAME, 1, OFFSET)


def test_rcodes_other_than_noerror_and_nxdomain_bring_no_records() -> None:
    assert decode_answer(
        response((NAME + ".", 1, "A", "1.2.3.4"), rcode=dns.rcode.SERVFAIL), NAME, 1, OFFSET
    ) == Answer(2)


def test_only_a_response_with_our_id_and_question_matches() -> None:
    raw = response()
    assert matches(raw, b"\0\1", SECTION)
    assert not matches(raw, b"\0\2", SECTION)
    assert not matches(raw, b"\0\1", encode_question("other.test", 1))
    assert not matches(raw, b"\0\1", encode_question(NAME, 28))
    assert not matches(encode_query(b"\0\1", SECTION), b"\0\1", SECTION), "a query is no response"
    assert not matches(raw.replace(b"allowed", b"ALLOWED"), b"\0\1", SECTION)
    assert not matches(raw[: OFFSET - 1], b"\0\1", SECTION)
    assert not matches(raw[:2] + bytes((raw[2] | 0x28,)) + raw[3:], b"\0\1", SECTION), "an UPDATE response"


def test_truncation_is_seen() -> None:
    raw = response()
    assert not is_truncated(raw)
    assert is_truncated(raw[:2] + bytes((raw[2] | 2,)) + raw[3:])
    assert not is_truncated(b"ab")


def test_text_strings_must_fill_their_data() -> None:
    section = encode_question(NAME, wire.TXT)
    message = dns.message.make_response(dns.message.from_wire(encode_query(b"\0\1", section)))
    message.answer.append(dns.rrset.from_text(NAME + ".", 1, "IN", "TXT", '"one" "two"'))
    raw = message.to_wire()
    assert decode_answer(raw, NAME, wire.TXT, 12 + len(section)).records[0].data == b"\3one\3two"
    with pytest.raises(BadAnswer):
        decode_answer(raw.replace(b"\3two", b"\4two"), NAME, wire.TXT, 12 + len(section))
