"""The strict codec of the upstream's side: what of an upstream server's message may become an answer. Sans-io.

Rules of the module: the message must answer our question, bit for bit; of its answer section only the records that belong to the
chain from the asked name are taken (RFC 1034 4.3.2), decoded and rebuilt; authority and additional sections are not read.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from kap.dns.labels import BadName, decode_compressed
from kap.dns.wire import AAAA, CNAME, NOERROR, NXDOMAIN, TXT, A, Record

MAX_CHAIN: Final = 16
"""CNAMEs followed before the answer is given up; BIND's limit."""
MAX_RECORDS: Final = 512
MAX_TTL: Final = 86_400
"""Seconds. RFC 8767 4 suggests to cap TTLs; a day keeps a revoked record from living on in a client's cache for weeks."""

_RECORD_TAIL = struct.Struct("!HHIH")
_HEADER: Final = 12
_SIZES: Final = {A: 4, AAAA: 16}
_IN: Final = 1


class BadAnswer(ValueError):
    """The message is not a usable answer to our question; the text says why."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """`rcode` as received; `records`: the CNAME chain, then the records of the asked type, in the order they came."""

    rcode: int
    records: tuple[Record, ...] = ()


def is_truncated(message: bytes) -> bool:
    """True where the TC bit says that the rest comes over TCP only."""
    return len(message) > 2 and bool(message[2] & 0x02)


def matches(message: bytes, ident: bytes, question: bytes) -> bool:
    """True where `message` is a response (QR set, opcode QUERY) that bears this id and exactly this question section."""
    return (
        len(message) >= _HEADER + len(question)
        and message[:2] == ident
        and message[2] & 0xF8 == 0x80
        and message[4:6] == b"\0\1"
        and message.startswith(question, _HEADER)
    )


def decode_answer(message: bytes, name: str, qtype: int, offset: int) -> Answer:
    """Read the answer section, which starts at `offset`, of a message that `matches`; raises `BadAnswer`."""
    rcode = message[3] & 0x0F
    if rcode not in (NOERROR, NXDOMAIN):
        return Answer(rcode)
    count = int.from_bytes(message[6:8])
    if count > MAX_RECORDS:
        raise BadAnswer(f"{count} records in one answer")
    aliases: dict[str, Record] = {}
    finals: dict[str, list[Record]] = {}
    for _ in range(count):
        record, offset = _read_record(message, offset, name, qtype)
        if record is None:
            continue
        if record.rtype == CNAME:
            aliases.setdefault(record.owner, record)
        elif record.owner in finals:
            finals[record.owner].append(record)
        else:
            finals[record.owner] = [record]
    return Answer(rcode, _follow(name, aliases, finals))


def _read_record(message: bytes, offset: int, name: str, qtype: int) -> tuple[Record | None, int]:
    """One record, or None where it is of no use here; and the offset after it."""
    try:
        owner: str | None = name
        if message.startswith(b"\xc0\x0c", offset):  # the usual pointer to the question, which is known to match
            offset += 2
        else:
            owner, offset = decode_compressed(message, offset)
        start = offset + _RECORD_TAIL.size
        if start > len(message):
            raise BadAnswer("a record is cut off")
        rtype, rclass, ttl, length = _RECORD_TAIL.unpack_from(message, offset)
        end = start + length
        if end > len(message):
            raise BadAnswer("the data of a record is cut off")
        if owner is None or rclass != _IN or rtype not in (qtype, CNAME):
            return None, end
        data = _read_data(message, rtype, start, end)
    except BadName as error:
        raise BadAnswer(str(error)) from None
    # RFC 2181 8: a TTL with its top bit set means 0.
    return Record(owner, rtype, 0 if ttl >> 31 else min(ttl, MAX_TTL), data), end


def _read_data(message: bytes, rtype: int, start: int, end: int) -> bytes | str:
    if rtype == CNAME:
        target, after = decode_compressed(message, start)
        if after != end or not target:
            raise BadAnswer("an alias for something that is not a host name")
        return target
    data = message[start:end]
    if _SIZES.get(rtype) == len(data) or (rtype == TXT and _is_strings(data)):
        return data
    raise BadAnswer(f"a record of type {rtype} whose data has the wrong shape")


def _is_strings(data: bytes) -> bool:
    """True for one or more character-strings that fill `data` (RFC 1035 3.3.14)."""
    at = 0
    while at < len(data):
        at += 1 + data[at]
    return bool(data) and at == len(data)


def _follow(name: str, aliases: dict[str, Record], finals: dict[str, list[Record]]) -> tuple[Record, ...]:
    """Chain and final records from `name` on. Records of owners off the chain are left out."""
    if not aliases:
        return tuple(finals.get(name, ()))
    chain: list[Record] = []
    while (alias := aliases.get(name)) is not None and name not in finals:
        if len(chain) == MAX_CHAIN:
            raise BadAnswer("the aliases go round in a circle or on for too long")
        chain.append(alias)
        name = str(alias.data)
    return (*chain, *finals.get(name, ()))
