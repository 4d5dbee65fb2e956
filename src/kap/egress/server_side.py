"""The server's side of a connection: hands everything to whoever owns it at the moment.

Rules: bytes that come before an owner has attached are kept and reading stops, so a server that speaks first loses nothing; the
loser of two dials has no owner and stays silent.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Protocol, cast

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s


class ServerOwner(Protocol):
    """What a `ServerSide` calls."""

    @property
    def server(self) -> ServerSide | None:
        """The one it owns now."""

    def server_data(self, data: bytes) -> None:
        """The server sent bytes."""

    def server_ended(self) -> bool:
        """The server sent its last byte; True keeps our direction open."""

    def server_lost(self, error: Exception | None) -> None:
        """The connection is gone."""

    def server_full(self, full: bool) -> None:
        """The server reads too slowly (True), or has caught up (False)."""


def reset(transport: asyncio.Transport) -> None:
    """Close at once, by RST: the peer must not take what it has for the whole. (`abort` alone closes with FIN.)"""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class _Nobody:
    """The owner of a connection that is gone: nothing refers back to the one it had, so both are freed at once."""

    server: ServerSide | None = None

    def server_data(self, data: bytes) -> None:
        """Never called: no `server`."""

    def server_ended(self) -> bool:
        """Never called: no `server`."""
        return False

    def server_lost(self, error: Exception | None) -> None:
        """Never called: no `server`."""

    def server_full(self, full: bool) -> None:
        """Never called: no `server`."""


_NOBODY = _Nobody()


class ServerSide(asyncio.Protocol):
    """See the module. `ended`: the server has sent FIN. `early`: what it sent before it had an owner."""

    __slots__ = ("early", "ended", "lost", "owner", "transport")

    transport: asyncio.Transport

    def __init__(self, owner: ServerOwner) -> None:
        self.owner = owner
        self.ended = False
        self.lost = False
        self.early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected; the dial reports it to the owner."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """To the owner, or kept."""
        owner = self.owner
        if owner.server is self:
            owner.server_data(data)
        else:
            self.early += data
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """To the owner, or remembered."""
        self.ended = True
        owner = self.owner
        return owner.server_ended() if owner.server is self else True

    def connection_lost(self, exc: Exception | None) -> None:
        """To the owner, or remembered."""
        self.lost = True
        owner = self.owner
        self.owner = _NOBODY
        if owner.server is self:
            owner.server_lost(exc)

    def pause_writing(self) -> None:
        """Our buffer to the server is full."""
        if self.owner.server is self:
            self.owner.server_full(True)

    def resume_writing(self) -> None:
        """Our buffer to the server has room again."""
        if self.owner.server is self:
            self.owner.server_full(False)
