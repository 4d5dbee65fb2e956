"""The strict codec of the client's side: one plain question in, a reply built from parts out. Sans-io.

Rules of the module (RFC 1035, 3597, 6891, 8914):
- a query is a header with nothing set but RD, AD and CD, one question of class IN, and at most one OPT record; a byte more and it
  is refused, so that no part of a message goes unread;
- of a query only the name, the type, the payload size and the DO bit are kept: nothing else can reach an upstream server;
- the client's spelling of the name (its 0x20 case) lives on in the echo of the question only;
- replies are built, never patched together from bytes of another message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from kap.dns.labels import BadName, decode_plain, encode_name

A: Final = 1
CNAME: Final = 5
TXT: Final = 16
AAAA: Final = 28
OPT: Final = 41
SVCB: Final = 64
HTTPS: Final = 65
_IN: Final = 1

NOERROR: Final = 0
FORMERR: Final = 1
SERVFAIL: Final = 2
NXDOMAIN: Final = 3
NOTIMP: Final = 4
REFUSED: Final = 5
BADVERS: Final = 16

BLOCKED: Final = 15
"""RFC 8914 4.16: refused by the policy of the one who runs the server."""
PROHIBITED: Final = 18
"""RFC 8914 4.19: this kind of query is not served to this client."""
NOT_READY: Final = 14
"""RFC 8914 4.15."""
OTHER_ERROR: Final = 0
NETWORK_ERROR: Final = 23
"""RFC 8914 4.24."""

MAX_UDP: Final = 1232
"""Largest reply over UDP, and what we advertise: no fragments on any path (DNS flag day 2020)."""
MIN_UDP: Final = 512
MAX_TCP: Final = 65_535
MAX_QUERY: Final = 2048
"""Longest message taken from a client; a question with every option in use stays under 700."""
HEADER_SIZE: Final = 12

_HEADER = struct.Struct("!HHHHHH")
_QUESTION_TAIL = struct.Struct("!HH")
_RECORD_TAIL = struct.Struct("!HHIH")
_OPTION = struct.Struct("!HH")

_QR: Final = 0x8000
_TC: Final = 0x0200
_RD: Final = 0x0100
_RA: Final = 0x0080
_QUERY_FLAGS: Final = _RD | 0x0020 | 0x0010  # RD, AD (RFC 6840 5.7), CD (RFC 4035 3.2.2)
_DO: Final = 0x8000
_EDE: Final = 15
_UPSTREAM_COUNTS: Final = _HEADER.pack(0, _RD, 1, 0, 0, 1)[2:]
_UPSTREAM_OPT: Final = b"\0" + _RECORD_TAIL.pack(OPT, MAX_UDP, 0, 0)
_POINTER_TO_QUESTION: Final = b"\xc0\x0c"


class Query(msgspec.Struct, frozen=True, gc=False):
    """`name`: lower case, no final dot, "" for the root. `question`: the question section as it came. `payload`: what the client
    takes over UDP, in octets, or 0 where it sent no OPT record."""

    id: int
    name: str
    qtype: int
    question: bytes
    recursion: bool = True
    payload: int = 0
    dnssec_ok: bool = False


class Record(msgspec.Struct, frozen=True, gc=False):
    """One resource record of class IN. `data`: RDATA as it goes on the wire, but for CNAME the target's name as text."""

    owner: str
    rtype: int
    ttl: int
    data: bytes | str


class BadQuery(ValueError):
    """A message that is not one plain question. `code`: the reason; `rcode`: what to answer, None for nothing at all;
    `query`: as much of the question as can be echoed, else None."""

    def __init__(self, detail: str, rcode: int | None, code: str = "dns.bad-query", query: Query | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.rcode = rcode
        self.query = query


def decode_query(message: bytes) -> Query:
    """Read a client's message; raises `BadQuery`. Octets in, a `Query` out (RFC 1035 4.1)."""
    if len(message) < _HEADER.size:
        raise BadQuery("shorter than a header", None)
    ident, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(message)
    if flags & _QR:
        raise BadQuery("a response, not a query", None)
    if flags & 0x7800:
        raise BadQuery(f"opcode {flags >> 11 & 15}", NOTIMP, "dns.opcode-refused")
    if len(message) > MAX_QUERY:
        raise BadQuery(f"longer than {MAX_QUERY} octets", FORMERR)
    if flags & ~_QUERY_FLAGS:
        raise BadQuery("header bits set that no query has", FORMERR)
    if questions != 1:
        raise BadQuery(f"{questions} questions", FORMERR)
    try:
        name, offset = decode_plain(message, _HEADER.size)
    except BadName as error:
        raise BadQuery(str(error), REFUSED if error.well_formed else FORMERR) from None
    if offset + _QUESTION_TAIL.size > len(message):
        raise BadQuery("the question is cut off", FORMERR)
    qtype, qclass = _QUESTION_TAIL.unpack_from(message, offset)
    offset += _QUESTION_TAIL.size
    query = Query(ident, name, qtype, message[_HEADER.size : offset], bool(flags & _RD))
    if answers or authorities or additionals > 1:
        raise BadQuery("records in the query", FORMERR, query=query)
    if additionals:
        query, offset = _read_opt(message, offset, query)
    if offset != len(message):
        raise BadQuery("bytes after the end of the query", FORMERR, query=query)
    if qclass != _IN:
        raise BadQuery(f"class {qclass}", REFUSED, "dns.class-refused", query)
    return query


def _read_opt(message: bytes, offset: int, query: Query) -> tuple[Query, int]:
    """The query with what its OPT record says (RFC 6891 6.1.2), and the offset after the record. Options are checked and dropped."""
    start = offset + 1 + _RECORD_TAIL.size
    if start > len(message):
        raise BadQuery("the additional record is cut off", FORMERR, query=query)
    rtype, payload, extended, length = _RECORD_TAIL.unpack_from(message, offset + 1)
    if message[offset] != 0 or rtype != OPT:
        raise BadQuery("a record in the query that is not OPT", FORMERR, query=query)
    end = start + length
    if end > len(message):
        raise BadQuery("the OPT record is cut off", FORMERR, query=query)
    query = msgspec.structs.replace(query, payload=max(MIN_UDP, min(payload, MAX_UDP)), dnssec_ok=bool(extended & _DO))
    if extended >> 16 & 0xFF:
        raise BadQuery(f"EDNS version {extended >> 16 & 0xFF}", BADVERS, query=query)
    if extended >> 24:
        raise BadQuery("an extended RCODE in a query", FORMERR, query=query)
    while start < end:
        if start + _OPTION.size > end:
            raise BadQuery("an EDNS option is cut off", FORMERR, query=query)
        start += _OPTION.size + _OPTION.unpack_from(message, start)[1]
    if start != end:
        raise BadQuery("an EDNS option is longer than its record", FORMERR, query=query)
    return query, end


def encode_question(name: str, qtype: int) -> bytes:
    """A question section of class IN. Raises `labels.BadName`."""
    return encode_name(name) + _QUESTION_TAIL.pack(qtype, _IN)


def encode_query(ident: bytes, question: bytes) -> bytes:
    """The query we send upstream: id (2 octets), RD set, this question section, an OPT record without options."""
    return ident + _UPSTREAM_COUNTS + question + _UPSTREAM_OPT


def encode_reply(
    query: Query,
    rcode: int = NOERROR,
    records: Sequence[Record] = (),
    *,
    limit: int,
    error: tuple[int, str] | None = None,
) -> bytes:
    """A reply to `query` of at most `limit` octets; records that do not fit are all left out and TC is set (RFC 2181 9).

    `error`: an extended error, its INFO-CODE and text (RFC 8914), sent where the client speaks EDNS.
    """
    opt = _encode_opt(query, rcode, error) if query.payload else b""
    body = _encode_records(query, records) if records else b""
    truncated = _HEADER.size + len(query.question) + len(body) + len(opt) > limit
    flags = _QR | _RA | (_RD if query.recursion else 0) | (rcode & 0x0F)
    if truncated:
        body, records, flags = b"", (), flags | _TC
    header = _HEADER.pack(query.id, flags, 1, len(records), 0, 1 if opt else 0)
    return header + query.question + body + opt


def encode_error(message: bytes, rcode: int) -> bytes:
    """A bare header for a message whose question cannot be echoed (`message`: at least a header)."""
    ident, flags = struct.unpack_from("!HH", message)
    return _HEADER.pack(ident, _QR | _RA | (flags & (0x7800 | _RD)) | (rcode & 0x0F), 0, 0, 0, 0)


def _encode_opt(query: Query, rcode: int, error: tuple[int, str] | None) -> bytes:
    options = b""
    if error is not None:
        text = error[1].encode()
        options = _OPTION.pack(_EDE, 2 + len(text)) + error[0].to_bytes(2) + text
    extended = (rcode >> 4) << 24 | (_DO if query.dnssec_ok else 0)  # RFC 3225 3: DO is copied
    return b"\0" + _RECORD_TAIL.pack(OPT, MAX_UDP, extended, len(options)) + options


def _encode_records(query: Query, records: Iterable[Record]) -> bytes:
    """The records one after the other, whole names compressed against the question and against each other."""
    out = bytearray()
    base = _HEADER.size + len(query.question)
    known = {query.name: _POINTER_TO_QUESTION}
    for record in records:
        out += _compressed(record.owner, known, base + len(out))
        data = record.data
        if isinstance(data, str):
            data = _compressed(data, known, base + len(out) + _RECORD_TAIL.size)
        out += _RECORD_TAIL.pack(record.rtype, _IN, record.ttl, len(data)) + data
    return bytes(out)


def _compressed(name: str, known: dict[str, bytes], offset: int) -> bytes:
    pointer = known.get(name)
    if pointer is not None:
        return pointer
    if offset < 0x4000:
        known[name] = (0xC000 | offset).to_bytes(2)
    return encode_name(name)
