"""Domain names on the wire (RFC 1035 3.1, 4.1.4), as far as host names need them.

Rules of the module: a name becomes text only when every label is letters, digits, hyphen or underscore, so the text can't hold a
dot, a control character or an escape that another parser reads differently; a compression pointer goes strictly backwards.
"""

from __future__ import annotations

MAX_NAME = 255
"""Octets of a name on the wire, its length octets and the root label included (RFC 1035 2.3.4)."""
MAX_LABEL = 63

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_SIZES = [bytes((size,)) for size in range(MAX_LABEL + 1)]
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
    total = len(message)
    while True:
        if offset >= total:
            raise BadName("the name runs past the end of the message")
        size = message[offset]
        offset += 1
        if size > MAX_LABEL:
            raise BadName("the name has a compression pointer or a label type that is not in use")
        if offset + size - start > MAX_NAME:
            raise BadName("the name is longer than 255 octets")
        if size == 0:
            break
        labels.append(message[offset : offset + size])
        offset += size
    text = _text(labels)
    if text is None:
        raise BadName("a label holds something other than letters, digits, hyphens and underscores", well_formed=True)
    return text, offset


def decode_compressed(message: bytes, offset: int) -> tuple[str | None, int]:
    """Read a name that may be compressed: its text as `decode_plain` gives it, or None where a label is not one of a host name;
    and the offset after it. Raises `BadName` where the octets are no name.
    """
    labels: list[bytes] = []
    end = 0
    length = 0
    lowest = offset
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
        labels.append(message[offset : offset + size])
        offset += size
    return _text(labels), end or offset


def _text(labels: list[bytes]) -> str | None:
    """The labels with dots between them, in lower case; None where one holds an octet that no host name has."""
    if b"".join(labels).translate(None, _ALPHABET):
        return None
    return b".".join(labels).decode("ascii").lower()


def encode_name(name: str) -> bytes:
    """The wire form of `name` (text as `decode_plain` gives it), uncompressed. Raises `BadName` where it has none."""
    labels = name.encode("ascii", "replace").split(b".") if name else []
    if b"".join(labels).translate(None, _ALPHABET) or not all(labels) or (labels and max(map(len, labels)) > MAX_LABEL):
        raise BadName(f"not a host name: {name[:80]!r}")
    if len(name) > MAX_NAME - 2:
        raise BadName("the name is longer than 255 octets")
    return b"".join([_SIZES[len(label)] + label for label in labels]) + b"\0"
