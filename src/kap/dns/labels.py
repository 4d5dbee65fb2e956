"""Domain names on the wire (RFC 1035 3.1, 4.1.4), as far as host names need them.

Rules of the module: a name becomes text only when every label is letters, digits, hyphen or underscore, so the text can't hold a
dot, a control character or an escape that another parser reads differently; a compression pointer goes strictly backwards.
"""

from __future__ import annotations

import re

MAX_NAME = 255
"""Octets of a name on the wire, its length octets and the root label included (RFC 1035 2.3.4)."""
MAX_LABEL = 63

_LABEL = re.compile(rb"[A-Za-z0-9_-]{1,63}\Z")
_POINTER = 0xC0


class BadName(ValueError):
    """The octets are no name we accept. `well_formed` says that they are a name all the same, only not one of a host."""

    def __init__(self, reason: str, *, well_formed: bool = False) -> None:
        super().__init__(reason)
        self.well_formed = well_formed


def decode_plain(message: bytes, offset: int) -> tuple[str, int]:
    """Read an uncompressed name: its text in lower case without the final dot ("" for the root), and the offset after it.

    Raises `BadName` for a pointer, an overrun, more than 255 octets, and for labels that no host name has.
    """
    labels: list[bytes] = []
    start = offset
    strange = False
    while True:
        if offset >= len(message):
            raise BadName("the name runs past the end of the message")
        size = message[offset]
        offset += 1
        if size > MAX_LABEL:
            raise BadName("the name has a compression pointer or a label type that is not in use")
        if offset + size - start > MAX_NAME:
            raise BadName("the name is longer than 255 octets")
        if size == 0:
            break
        label = message[offset : offset + size]
        strange = strange or _LABEL.match(label) is None
        labels.append(label)
        offset += size
    if strange:
        raise BadName("a label holds something other than letters, digits, hyphens and underscores", well_formed=True)
    return b".".join(labels).decode("ascii").lower(), offset


def decode_compressed(message: bytes, offset: int) -> tuple[str | None, int]:
    """Read a name that may be compressed: its text as `decode_plain` gives it, or None where a label is not one of a host name;
    and the offset after it. Raises `BadName` where the octets are no name.
    """
    labels: list[bytes] = []
    end = 0
    length = 0
    lowest = offset
    strange = False
    while True:
        if offset >= len(message):
            raise BadName("a name runs past the end of the message")
        size = message[offset]
        if size >= _POINTER:
            if offset + 1 >= len(message):
                raise BadName("a compression pointer is cut off")
            end = end or offset + 2
            offset = (size & 0x3F) << 8 | message[offset + 1]
            # Every jump lands before everything read so far: no loop, and at most 255 octets in all.
            if offset >= lowest:
                raise BadName("a compression pointer does not go backwards")
            lowest = offset
            continue
        if size > MAX_LABEL:
            raise BadName("a label type that is not in use")
        offset += 1
        length += size + 1
        if length > MAX_NAME:
            raise BadName("a name is longer than 255 octets")
        if size == 0:
            break
        label = message[offset : offset + size]
        strange = strange or _LABEL.match(label) is None
        labels.append(label)
        offset += size
    text = None if strange else b".".join(labels).decode("ascii").lower()
    return text, end or offset


def encode_name(name: str) -> bytes:
    """The wire form of `name` (text as `decode_plain` gives it), uncompressed. Raises `BadName` where it has none."""
    out = bytearray()
    for label in name.encode("ascii", "replace").split(b".") if name else ():
        if _LABEL.match(label) is None:
            raise BadName(f"not a host name: {name[:80]!r}")
        out.append(len(label))
        out += label
    out.append(0)
    if len(out) > MAX_NAME:
        raise BadName("the name is longer than 255 octets")
    return bytes(out)
