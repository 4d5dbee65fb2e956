"""The verdict on how a tunnel begins, per `Decision.wire`. Sans-io.

    opening = Opening(decision.wire, target, decision.ech, limits.hello_bytes)
    passed = opening.client(data)      # what may go to the server now; raises Refused
    passed = opening.server(data)      # what may go to the client now; raises Refused
    opening.complete                   # from here on everything passes
    opening.http                       # what `client` returned is HTTP: parse it, pass none of it as it is

Rules: until `complete` nothing passes but what was returned; a server may speak first only where the wire is ``ssh`` or ``tcp``.
"""

from __future__ import annotations

from kap.egress.clienthello import BadHello, HelloReader, check_hello
from kap.egress.wires import NotSsh, SshBanner, sniff
from kap.names.hosts import Target
from kap.policy.decision import Wire


class Refused(Exception):
    """The tunnel does not begin as it must. `code` is the reason, `detail` words for the log."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail


class Opening:
    """See the module. `ech`: the client used Encrypted ClientHello."""

    __slots__ = (
        "_client",
        "_ech_allowed",
        "_limit",
        "_reader",
        "_server",
        "_target",
        "_wire",
        "complete",
        "ech",
        "http",
    )

    def __init__(self, wire: Wire, target: Target, ech_allowed: bool, limit: int) -> None:
        self._wire = wire
        self._target = target
        self._ech_allowed = ech_allowed
        self._limit = limit
        self._reader = HelloReader(limit) if wire == "tls" else None
        self._client = SshBanner(is_server=False) if wire == "ssh" else None
        self._server = SshBanner(is_server=True) if wire == "ssh" else None
        self.complete = wire == "tcp"
        self.http = False
        self.ech = False

    @property
    def begun(self) -> bool:
        """A ClientHello has begun to come: the client understands a TLS alert."""
        return self._reader is not None and self._reader.data[:1] == b"\x16"

    def client(self, data: bytes) -> bytes:
        """Bytes of the client; what of them, and of earlier ones, may pass now."""
        if self.complete:
            return data
        if self._reader is not None:
            return self._hello(self._reader, data)
        if self._client is not None:
            return self._identify(self._client, data, "client")
        found = sniff(data[0])
        if found == "tls" and self._wire == "auto":
            self._reader = HelloReader(self._limit)
            return self._hello(self._reader, data)
        if found == "http":
            self.http = True
            return data
        raise Refused("egress.not-http" if self._wire == "http" else "egress.not-tls", f"first byte 0x{data[0]:02x}")

    def server(self, data: bytes) -> bytes:
        """Bytes of the server; what of them, and of earlier ones, may pass now."""
        if self.complete:
            return data
        if self._server is None:
            raise Refused("egress.server-first", f"{len(data)} bytes")
        return self._identify(self._server, data, "server")

    def _hello(self, reader: HelloReader, data: bytes) -> bytes:
        try:
            hello = reader.feed(data)
        except BadHello as bad:
            raise Refused(bad.code, bad.message) from None
        if hello is None:
            return b""
        code = check_hello(hello, self._target, self._ech_allowed)
        if code is not None:
            raise Refused(code, f"SNI {hello.sni}" if hello.sni else "")
        self.ech = hello.ech
        self.complete = True
        return bytes(reader.data)

    def _identify(self, banner: SshBanner, data: bytes, side: str) -> bytes:
        try:
            passed = banner.feed(data)
        except NotSsh as error:
            raise Refused("egress.not-ssh", f"{side}: {error}") from None
        self.complete = (
            self._client is not None and self._server is not None and self._client.done and self._server.done
        )
        return passed
