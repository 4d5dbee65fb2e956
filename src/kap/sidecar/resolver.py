"""Resolve for the egress plane by the name servers of ``[proxy] dns_upstream``, with the DNS plane's own client.

Rules: both address types are asked at once; what one server says of one name is used for at most `TTL` seconds; bounded by the client's
in-flight limit and by `ENTRIES` remembered names. An address the policy forbids is not filtered here: the plane vets every one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Sequence

from kap.dns import wire
from kap.dns.answer import Answer
from kap.dns.cache import Cache
from kap.dns.upstream import Address, Upstream
from kap.egress.resolve import ResolveError
from kap.names.addresses import canonical

_Waiter = asyncio.Future[Answer | str]

TTL = 30.0
ENTRIES = 4096


class ServerResolver:
    """`kap.egress.resolve.Resolver` over `servers`; `seconds` bounds one lookup, `inflight` the lookups at a time."""

    def __init__(self, servers: Sequence[Address], *, seconds: float, inflight: int) -> None:
        self._upstream: Upstream[_Waiter] = Upstream(
            servers, _tell, inflight=inflight, seconds=seconds, cache=Cache(ENTRIES)
        )
        self._known: dict[str, tuple[float, tuple[str, ...]]] = {}

    def cached(self, name: str) -> tuple[str, ...] | None:
        """The addresses of `name` where they are known and fresh."""
        entry = self._known.get(name)
        return entry[1] if entry is not None and entry[0] > time.monotonic() else None

    async def resolve(self, name: str) -> tuple[str, ...]:
        """The addresses of `name`, IPv4 first. Raises `ResolveError`."""
        known = self.cached(name)
        if known is not None:
            return known
        results = await asyncio.gather(self._ask(name, wire.A), self._ask(name, wire.AAAA))
        found = tuple(dict.fromkeys(address for result in results if isinstance(result, tuple) for address in result))
        if not found:
            reasons = [result for result in results if isinstance(result, str)]
            raise ResolveError(reasons[0] if reasons else "the name server knows no address for it")
        self._known.pop(name, None)
        while len(self._known) >= ENTRIES:
            del self._known[next(iter(self._known))]
        self._known[name] = (time.monotonic() + TTL, found)
        return found

    def close(self) -> None:
        """Fail what is under way."""
        self._upstream.close()

    async def _ask(self, name: str, qtype: int) -> tuple[str, ...] | str:
        """The addresses, or why there are none."""
        done: _Waiter = asyncio.get_running_loop().create_future()
        if not self._upstream.ask((name, qtype), wire.encode_question(name, qtype), done):
            return "too many names are being looked up at once"
        answer = await done
        if isinstance(answer, str):
            return answer
        if answer.rcode not in (wire.NOERROR, wire.NXDOMAIN):
            return f"the name server answers RCODE {answer.rcode}"
        return _addresses(answer, qtype)


def _tell(waiter: _Waiter, result: Answer | str) -> None:
    if not waiter.done():
        waiter.set_result(result)


def _addresses(answer: Answer, qtype: int) -> tuple[str, ...]:
    found = [record.data for record in answer.records if record.rtype == qtype]
    return tuple(canonical(str(ipaddress.ip_address(data))) for data in found if isinstance(data, bytes))
