"""Kernel-side relay of one big tunnel: socket → pipe → socket by splice(2), no byte in user space.

Rules: the descriptors are dup()ed, so the event loop's transports can be dropped (a loop refuses readers on a transport's own
descriptor); each direction is a `Pump` with its own end, so a half-close travels; a Pump reads only while its pipe is empty, which
is the back-pressure; counts are kept; whoever closes, everything is closed exactly once and `on_close` is called once.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable

PIPE_BYTES = 1 << 20
ROUNDS = 8
"""Fills of the pipe before the event loop gets its turn again."""

_FLAGS = 1 | 2  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK (splice(2))
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close(2) sends RST


class Pump:
    """One direction: from descriptor `source` to descriptor `sink`. Owns its pipe, not the sockets."""

    __slots__ = ("_loop", "_read", "_size", "_splice", "_write", "moved", "pending", "sink", "source")

    def __init__(self, splice: Splice, loop: asyncio.AbstractEventLoop, source: int, sink: int) -> None:
        self._splice = splice
        self._loop = loop
        self.source = source
        self.sink = sink
        self.moved = 0
        self.pending = 0
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._size = fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:  # Over the user's share of pipe memory: the default size works too.
            self._size = fcntl.fcntl(self._write, fcntl.F_GETPIPE_SZ)

    def start(self) -> None:
        """Watch the source."""
        self._loop.add_reader(self.source, self._readable)

    def close(self) -> None:
        """Stop watching and drop the pipe."""
        self._loop.remove_reader(self.source)
        self._loop.remove_writer(self.sink)
        os.close(self._read)
        os.close(self._write)

    def _readable(self) -> None:
        try:
            for _ in range(ROUNDS):
                count = os.splice(self.source, self._write, self._size, flags=_FLAGS)
                if count == 0:
                    self._loop.remove_reader(self.source)
                    self._splice.ended(self)
                    return
                self.pending += count
                if not self._flush():
                    self._loop.remove_reader(self.source)
                    self._loop.add_writer(self.sink, self._writable)
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._splice.close(error)

    def _flush(self) -> bool:
        """Empty the pipe into the sink; False when the sink is full for now."""
        while self.pending:
            try:
                count = os.splice(self._read, self.sink, self.pending, flags=_FLAGS)
            except BlockingIOError:
                return False
            self.pending -= count
            self.moved += count
        return True

    def _writable(self) -> None:
        try:
            if self._flush():
                self._loop.remove_writer(self.sink)
                self._loop.add_reader(self.source, self._readable)
        except OSError as error:
            self._splice.close(error)


class Splice:
    """Both directions of a tunnel. `client` and `server` are the connected sockets' descriptors; they are dup()ed, the caller drops
    its own. `on_close(error)` is called once, with None after an orderly end. Raises `OSError` when descriptors run out."""

    __slots__ = ("_client", "_closed", "_on_close", "_open", "_server", "down", "up")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        client: int,
        server: int,
        on_close: Callable[[OSError | None], None],
    ) -> None:
        self._on_close = on_close
        self._open = 2
        self._closed = False
        with contextlib.ExitStack() as undo:
            self._client = os.dup(client)
            undo.callback(os.close, self._client)
            self._server = os.dup(server)
            undo.callback(os.close, self._server)
            self.up = Pump(self, loop, self._client, self._server)
            undo.callback(self.up.close)
            self.down = Pump(self, loop, self._server, self._client)
            undo.pop_all()

    def start(self) -> None:
        """Begin to relay; call it when no byte is left in the transports."""
        self.up.start()
        self.down.start()

    @property
    def moved(self) -> int:
        """Bytes relayed so far, both ways."""
        return self.up.moved + self.down.moved

    def ended(self, pump: Pump) -> None:
        """`pump`'s source has sent its last byte: pass the end on; both ends make the end of the tunnel."""
        self._open -= 1
        if not self._open:
            self.close(None)
            return
        sink = socket.socket(fileno=pump.sink)
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError as error:
            sink.detach()
            self.close(error)
            return
        sink.detach()

    def close(self, error: OSError | None) -> None:
        """End both ways now; with an `error` both peers see a reset rather than an orderly end."""
        if self._closed:
            return
        self._closed = True
        self.up.close()
        self.down.close()
        for descriptor in (self._client, self._server):
            if error is not None:
                _reset_on_close(descriptor)
            os.close(descriptor)
        self._on_close(error)


def _reset_on_close(descriptor: int) -> None:
    peer = socket.socket(fileno=descriptor)
    with contextlib.suppress(OSError):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    peer.detach()
