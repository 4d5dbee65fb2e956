"""The TLS ClientHello at the start of a tunnel: reassembled, parsed strictly, compared with the target. Sans-io.

Rules: nothing of a tunnel passes before `HelloReader.feed` returned a `Hello` and `check_hello` returned None for it. A hello is read
across TCP segments and TLS records, `limit` bytes on the wire at most; every byte of it has to make sense; whatever two parsers
could read in two ways is refused. What follows the hello in records of its own (early data) is not looked at.

    reader = HelloReader(limits.hello_bytes)
    hello = reader.feed(data)                       # None: more is needed; raises BadHello
    code = check_hello(hello, target, decision.ech) # None: send reader.data to the target and relay from here on

Sources: RFC 8446 4.1.2, 5.1 (records), RFC 6066 3 (server_name), RFC 8701 (GREASE), RFC 9849 (Encrypted ClientHello). The versions
in record and hello are only held to major 3: RFC 8446 5.1 has the first ignored, and old clients send 3.0 to 3.3 in the second.
"""

from __future__ import annotations

import functools
import re
import struct

import msgspec

from kap.names.hosts import BadTarget, Target, parse_host

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_RECORD_LIMIT = 2**14 + 256
_SERVER_NAME = 0
_OUTER_EXTENSIONS = 0xFD00  # only inside an encrypted hello
_ECH_TYPES = frozenset({0xFE0D, *range(0xFE08, 0xFE0D), 0xFFCE})  # final, drafts 8 to 12, and their predecessor ESNI
_ECH_FINAL = 0xFE0D
_LOOKED_AT = _ECH_TYPES | {_SERVER_NAME, _OUTER_EXTENSIONS}
_NAME = re.compile(rb"[A-Za-z0-9_-]{1,63}+(?:\.[A-Za-z0-9_-]{1,63}+)*+\.?")
_EXTENSION = struct.Struct(">HH")
_KNOWN_NAMES = 1024


class BadHello(Exception):
    """Not a ClientHello we accept. `code` is ``egress.not-tls`` or ``egress.bad-hello``; `message` says what is wrong, for a log."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Hello(msgspec.Struct, frozen=True):
    """`sni`: canonical text of the one name, None where none is named. `ech`: the real name may be hidden in an encrypted inner
    hello (or it is GREASE; the two look the same on purpose). `length`: bytes on the wire, record headers included."""

    sni: str | None
    ech: bool
    length: int


class HelloReader:
    """Takes a tunnel's first bytes in any portions. `data` holds everything fed so far: what to send on once the hello is accepted."""

    __slots__ = ("_cursor", "_limit", "_message", "_need", "data")

    def __init__(self, limit: int = 65_536) -> None:
        self.data = bytearray()
        self._limit = limit
        self._message = bytearray()  # handshake bytes of the complete records before _cursor
        self._cursor = 0  # where the next record header starts in data
        self._need = 0  # bytes of the handshake message with its header; 0 until known

    def feed(self, data: bytes | bytearray | memoryview) -> Hello | None:
        """Add bytes; return the hello once it is complete, None while it is not. Raises `BadHello` as early as it can be known."""
        self.data += data
        buffer, size = self.data, len(self.data)
        while True:
            _check_record_header(buffer, self._cursor)
            start = self._cursor + 5
            if size < start:
                self._refuse_if_full()
                return None
            end = start + ((buffer[start - 2] << 8) | buffer[start - 1])
            if not self._message and size > start and buffer[start] != _CLIENT_HELLO:
                raise BadHello(
                    "egress.bad-hello", f"handshake message of type {buffer[start]} in place of a ClientHello"
                )
            if size < end:
                self._refuse_if_full()
                return None
            self._message += buffer[start:end]
            self._cursor = end
            if self._complete():
                sni, ech = _parse_message(bytes(self._message))
                return Hello(sni, ech, end)

    def _refuse_if_full(self) -> None:
        if len(self.data) >= self._limit:
            raise BadHello("egress.bad-hello", f"no complete ClientHello within {self._limit} bytes")

    def _complete(self) -> bool:
        message = self._message
        if not self._need and len(message) >= 4:
            self._need = 4 + int.from_bytes(message[1:4], "big")
            if self._need > self._limit:
                raise BadHello("egress.bad-hello", f"ClientHello of {self._need} bytes, more than {self._limit}")
        if not self._need or len(message) < self._need:
            return False
        if len(message) > self._need:
            raise BadHello("egress.bad-hello", "bytes behind the ClientHello in its last record")
        if self._cursor > self._limit:
            raise BadHello(
                "egress.bad-hello", f"ClientHello of {self._cursor} bytes on the wire, more than {self._limit}"
            )
        return True


def check_hello(hello: Hello, target: Target, ech_allowed: bool) -> str | None:
    """The code to refuse with, or None. An IP address is never an SNI (RFC 6066 3): for a target by address none may be sent."""
    if hello.ech and not ech_allowed:
        return "egress.ech-refused"
    if target.host.is_ip:
        return None if hello.sni is None else "egress.sni-mismatch"
    if hello.sni is None:
        return "egress.no-sni"
    return None if hello.sni == target.host.text else "egress.sni-mismatch"


def _check_record_header(buffer: bytearray, at: int) -> None:
    """Refuse what is not a handshake record, with as few of its five header bytes as there are."""
    size = len(buffer) - at
    if size >= 1 and buffer[at] != _HANDSHAKE:
        if at:
            raise BadHello("egress.bad-hello", f"record of type {buffer[at]} inside the ClientHello")
        raise BadHello("egress.not-tls", f"first byte 0x{buffer[at]:02x} does not open a TLS handshake record")
    if size >= 2 and buffer[at + 1] != 3:
        raise BadHello("egress.bad-hello" if at else "egress.not-tls", f"record of protocol version {buffer[at + 1]}.x")
    if size >= 5:
        length = (buffer[at + 3] << 8) | buffer[at + 4]
        if length == 0 or length > _RECORD_LIMIT:
            raise BadHello("egress.bad-hello", f"record of {length} bytes")


def _parse_message(message: bytes) -> tuple[str | None, bool]:
    """The ClientHello with its four-byte header -> (SNI, ECH). Every length has to fit exactly."""
    try:
        return _parse_extensions(message, _skip_to_extensions(message))
    except (IndexError, struct.error):
        raise BadHello("egress.bad-hello", "a length in the ClientHello points past its end") from None


def _skip_to_extensions(message: bytes) -> int:
    if message[4] != 3:
        raise BadHello("egress.bad-hello", f"ClientHello of protocol version {message[4]}.x")
    at = 4 + 2 + 32
    session_id = message[at]
    if session_id > 32:
        raise BadHello("egress.bad-hello", f"session id of {session_id} bytes")
    at += 1 + session_id
    ciphers = (message[at] << 8) | message[at + 1]
    if ciphers == 0 or ciphers % 2:
        raise BadHello("egress.bad-hello", f"cipher suites of {ciphers} bytes")
    at += 2 + ciphers
    compressions = message[at]
    if compressions == 0:
        raise BadHello("egress.bad-hello", "no compression method")
    at += 1 + compressions
    if at > len(message):
        raise BadHello("egress.bad-hello", "a length in the ClientHello points past its end")
    return at


def _parse_extensions(message: bytes, at: int) -> tuple[str | None, bool]:
    size = len(message)
    if at == size:  # RFC 5246 7.4.1.2: a hello may end without an extensions block
        return None, False
    if at + 2 + ((message[at] << 8) | message[at + 1]) != size:
        raise BadHello("egress.bad-hello", "the extensions do not end where the ClientHello ends")
    at += 2
    sni: str | None = None
    ech = False
    kinds: list[int] = []
    unpack = _EXTENSION.unpack_from
    while at < size:  # every tunnel runs through here: as little as possible for extensions that say nothing to us
        kind, length = unpack(message, at)
        at += 4
        if kind in _LOOKED_AT:
            if kind == _SERVER_NAME:
                sni = _server_name(message[at : at + length])
            elif kind == _OUTER_EXTENSIONS:
                raise BadHello("egress.bad-hello", "ech_outer_extensions outside an encrypted hello")
            else:
                if kind == _ECH_FINAL and (length == 0 or message[at] != 0):
                    raise BadHello("egress.bad-hello", "an inner ClientHello where an outer one belongs")
                ech = True
        kinds.append(kind)
        at += length
    if at != size:
        raise BadHello("egress.bad-hello", f"extension {kinds[-1]} too long")
    if len(set(kinds)) != len(kinds):
        raise BadHello("egress.bad-hello", "an extension twice")
    return sni, ech


def _server_name(body: bytes) -> str:
    """ServerNameList (RFC 6066 3) of exactly one host_name -> canonical name."""
    size = len(body)
    if size < 6 or ((body[0] << 8) | body[1]) != size - 2:
        raise BadHello("egress.bad-hello", "server_name list of a wrong length")
    if body[2] != 0:
        raise BadHello("egress.bad-hello", f"server_name of type {body[2]}")
    if ((body[3] << 8) | body[4]) != size - 5:
        raise BadHello("egress.bad-hello", "server_name with more or less than one name")
    return _canonical_name(body[5:])


@functools.lru_cache(maxsize=_KNOWN_NAMES)
def _canonical_name(raw: bytes) -> str:
    if len(raw) > 254 or not _NAME.fullmatch(raw):
        raise BadHello("egress.bad-hello", f"server_name {raw[:80]!r} is not a host name")
    try:
        host = parse_host(raw.decode("ascii"))
    except BadTarget as error:
        raise BadHello("egress.bad-hello", f"server_name {raw[:80]!r}: {error}") from None
    if host.is_ip:
        raise BadHello("egress.bad-hello", f"server_name {raw[:80]!r} is an IP address")
    return host.text
