"""The first bytes of a tunnel that is not TLS: SSH identifications, and telling TLS from HTTP where a port may carry either. Sans-io.

Source: RFC 4253 4.2 (a server may send other lines before its identification, a client may not).
"""

from __future__ import annotations

import re

SSH_LINE = 255
"""Longest identification line, its CR LF included (RFC 4253 4.2)."""

SSH_PREAMBLE = 4096
"""Bytes of other lines a server may send first."""

_MARK = b"SSH-"
_IDENTIFICATION = re.compile(rb"SSH-(?:2\.0|1\.99)-[\x20-\x7e]+\r?\n")


class NotSsh(Exception):
    """What came is not an SSH 2 identification; the message says what came."""


class SshBanner:
    """One side's identification. Nothing of that side passes until `feed` returns bytes; from then on everything does."""

    __slots__ = ("_data", "_is_server", "_start", "done")

    def __init__(self, *, is_server: bool) -> None:
        self._data = b""
        self._start = 0
        self._is_server = is_server
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """Add bytes; returns what may pass now (b"" while the line is incomplete). Raises `NotSsh`."""
        if self.done:
            return data
        self._data += data
        while True:
            newline = self._data.find(b"\n", self._start)
            line = self._data[self._start : newline + 1] if newline >= 0 else self._data[self._start :]
            if line.startswith(_MARK):
                return self._identified(line) if newline >= 0 else self._wait(line, SSH_LINE)
            if newline < 0 and _MARK.startswith(line):
                return b""
            if not self._is_server or len(self._data) > SSH_PREAMBLE:
                raise NotSsh(
                    f"{len(self._data)} bytes that begin with no SSH identification"
                )  # not which: they may be a secret
            if newline < 0:
                return b""
            self._start = newline + 1

    def _identified(self, line: bytes) -> bytes:
        if len(line) > SSH_LINE or not _IDENTIFICATION.fullmatch(line):
            raise NotSsh("a malformed SSH identification")
        self.done = True
        passed, self._data = self._data, b""
        return passed

    def _wait(self, line: bytes, limit: int) -> bytes:
        if len(line) > limit:
            raise NotSsh(f"an identification of more than {limit} bytes")
        return b""


def sniff(first: int) -> str:
    """What a client's first byte on an ``auto`` port announces: "tls", "http", or "" for neither."""
    if first == 0x16:  # TLS handshake record
        return "tls"
    return "http" if 0x41 <= first <= 0x5A else ""
