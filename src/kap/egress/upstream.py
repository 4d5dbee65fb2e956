"""Through a corporate proxy: which targets go through it, and a tunnel opened in it.

Rules: the proxy's own address is resolved here and needs no rule, but is never one of ours, and one that a project chose is nothing that
is denied and nothing of this machine (`Connector.proxy_refusal`); its credentials are
given at start and appear in nothing we write but the requests to it; its refusals reach the client with their true status. The names
of targets are resolved by that proxy, so the guard against non-global addresses is its business there; literal addresses are still
vetted here.

Source: RFC 9110 9.3.6 (CONNECT), 11.7 (proxy authentication).
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from kap.config.model import Upstream
from kap.egress.connector import Owner
from kap.egress.http1 import BadMessage, ResponseParser, WireLimits
from kap.egress.server_side import ServerSide
from kap.egress.state import PlaneState
from kap.errors import ConfigError
from kap.names.hosts import BadTarget, Host, Target, parse_authority
from kap.names.patterns import BadPattern, Pattern, parse_pattern
from kap.policy.compiler import Policy

_NOT_CHOSEN = frozenset({"egress.deny-rule", "egress.always-denied", "egress.address-not-global"})


class Dialling(Protocol):
    """A connection being made that can be given up."""

    def cancel(self) -> None:
        """Stop; nothing is reported any more."""


class UpstreamProxy:
    """`target`: the proxy. `authorization`: the value of Proxy-Authorization, None without credentials. `tls`: for ``https://``."""

    __slots__ = ("_direct", "_hosts", "authorization", "target", "tls")

    def __init__(
        self,
        target: Target,
        *,
        authorization: bytes | None = None,
        tls: ssl.SSLContext | None = None,
        hosts: tuple[Pattern, ...] = (),
        direct: tuple[Pattern, ...] = (),
    ) -> None:
        self.target = target
        self.authorization = authorization
        self.tls = tls
        self._hosts = hosts
        self._direct = direct

    @classmethod
    def from_config(cls, config: Upstream, credentials: str = "") -> UpstreamProxy | None:
        """Of ``[proxy.upstream]``; None where no `url` is set. `credentials` is the ``user:password`` of `auth_env` or `auth_file`, read
        by the caller. Raises `ConfigError`."""
        if not config.url:
            return None
        parts = urlsplit(config.url)
        if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ConfigError(
                f"the upstream proxy {config.url!r} is not http://host:port or https://host:port",
                'write url = "http://proxy.example.com:3128" under [proxy.upstream]',
            )
        if "@" in parts.netloc:
            raise ConfigError(
                "the upstream proxy's url holds a user name or password",
                "put user:password into a file or a variable and name it with auth_file or auth_env",
            )
        try:
            target = parse_authority(parts.netloc, 443 if parts.scheme == "https" else 80)
        except BadTarget as bad:
            raise ConfigError(f"the upstream proxy {config.url!r}: {bad}", "write a host name and a port") from bad
        return cls(
            target,
            authorization=b"Basic " + base64.b64encode(credentials.encode()) if credentials else None,
            tls=_tls_context(config.ca_file) if parts.scheme == "https" else None,
            hosts=_patterns("hosts", config.hosts),
            direct=_patterns("direct", config.direct),
        )

    def carries(self, host: Host) -> bool:
        """True where connections to `host` go through this proxy."""
        if any(pattern.matches_host(host) for pattern in self._direct):
            return False
        return not self._hosts or any(pattern.matches_host(host) for pattern in self._hosts)


def _patterns(key: str, texts: tuple[str, ...]) -> tuple[Pattern, ...]:
    """Which proxy a host goes through opens nothing, so a wildcard may stand over a whole top-level domain, as in a deny rule."""
    try:
        return tuple(parse_pattern(text, "deny") for text in texts)
    except BadPattern as bad:
        raise ConfigError(f"{key} under [proxy.upstream]: {bad.message}", bad.suggestion) from bad


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(Path(ca_file))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"the upstream proxy's ca_file {ca_file!r} cannot be used: {error}", "give the path of a PEM file"
            ) from error
    return context


def reach(
    plane: PlaneState,
    policy: Policy,
    target: Target,
    subject: str,
    factory: Callable[[], ServerSide],
    owner: Owner,
    *,
    tunnel: bool = True,
) -> Dialling:
    """Connect to `target`, by the upstream proxy where that carries it; with `tunnel` False the owner gets a connection *to the proxy*
    then (for absolute-form requests)."""
    upstream = plane.upstream
    connector = plane.connector
    if upstream is None or not upstream.carries(target.host):
        return connector.dial(policy, target, subject, factory, owner)
    if target.host.is_ip:
        code = connector.refusal(policy, target, target.host.text, subject)
        if code:
            owner.dial_failed(code, target.host.text, "")
            return _Nothing()
    through = ThroughProxy(plane, upstream, target, owner, tunnel)
    through.start(policy, subject)
    return through


class _Nothing:
    """A dial that has already failed."""

    def cancel(self) -> None:
        """Nothing to stop."""


class ThroughProxy:
    """One connection to, or tunnel through, the upstream proxy being made."""

    __slots__ = ("_address", "_dial", "_owner", "_parser", "_plane", "_target", "_tunnel", "_upstream", "server")

    def __init__(
        self,
        plane: PlaneState,
        upstream: UpstreamProxy,
        target: Target,
        owner: Owner,
        tunnel: bool,
    ) -> None:
        self._plane = plane
        self._upstream = upstream
        self._target = target
        self._owner: Owner | None = owner
        self._tunnel = tunnel
        self._dial: Dialling | None = None
        self._parser = ResponseParser(WireLimits(head_bytes=plane.limits.head_bytes))
        self._address = target.host.text if target.host.is_ip else ""
        self.server: ServerSide | None = None

    def start(self, policy: Policy, subject: str) -> None:
        """Dial the proxy."""
        upstream = self._upstream
        self._dial = self._plane.connector.dial_proxy(
            policy, upstream.target, subject, partial(ServerSide, self), self, upstream.tls
        )

    def cancel(self) -> None:
        """See `Dialling`."""
        self._owner = None
        if self._dial is not None:
            self._dial.cancel()
        if self.server is not None:
            self.server.transport.abort()

    def dial_failed(self, code: str, address: str, detail: str, status: int = 0) -> None:
        """See `Owner`."""
        where = f"it is at {address}, which this policy does not let a project choose: " if code in _NOT_CHOSEN else ""
        self._fail(f"cannot connect to the upstream proxy: {where}{detail or code}")

    def dialled(self, server: ServerSide, address: str) -> None:
        """See `Owner`: connected to the proxy; now the tunnel in it, where one is wanted."""
        if self._owner is None or server.lost:
            server.transport.abort()
            self._fail("the upstream proxy closed the connection")
            return
        self.server = server
        if not self._tunnel:
            self._hand_over(server)
            return
        authority = str(self._target).encode("ascii")
        request = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n" % (authority, authority)
        if self._upstream.authorization is not None:
            request += b"Proxy-Authorization: %b\r\n" % self._upstream.authorization
        server.transport.write(request + b"\r\n")
        self._parser.expect(b"CONNECT")
        early, server.early = server.early, b""
        if early:
            self.server_data(early)
        server.transport.resume_reading()

    def server_data(self, data: bytes) -> None:
        """See `ServerOwner`: the proxy's answer to CONNECT."""
        self._parser.feed(data)
        try:
            head = self._parser.next()
            while head is not None and not isinstance(head, bytes | memoryview) and getattr(head, "interim", False):
                head = self._parser.next()
        except BadMessage as bad:
            self._fail(f"the upstream proxy's answer is not HTTP: {bad.message}")
            return
        if head is None or self.server is None:
            return
        status = getattr(head, "status", 0)
        if getattr(head, "switched", False):
            self.server.early = self._parser.rest()
            self._hand_over(self.server)
        else:
            reason = bytes(getattr(head, "reason", b"")).decode("latin-1")
            self._fail(f"the upstream proxy answered {status} {reason}".rstrip(), status)

    def server_ended(self) -> bool:
        """See `ServerOwner`."""
        self._fail("the upstream proxy closed the connection")
        return False

    def server_lost(self, error: Exception | None) -> None:
        """See `ServerOwner`."""
        self._fail("the upstream proxy closed the connection")

    def server_full(self, full: bool) -> None:
        """See `ServerOwner`: one small request fills nothing."""

    def _hand_over(self, server: ServerSide) -> None:
        owner, self._owner = self._owner, None
        self.server = None
        if owner is not None:
            owner.dialled(server, self._address)

    def _fail(self, detail: str, status: int = 0) -> None:
        owner, self._owner = self._owner, None
        server, self.server = self.server, None
        if server is not None:
            server.transport.abort()
        if owner is not None:
            owner.dial_failed("egress.upstream-proxy", self._address, detail, status if 400 <= status <= 599 else 0)
