"""kap as the sidecar runs it, for the benchmark: both planes in one process, under mitmproxy's frame where it is installed, on uvloop
where that is, the audit log on. It differs from ``kap sidecar-run`` in two things only: the policy is written here, and loopback
addresses may be dialled, since the origin is on this machine.

Run: ``kap_process.py PROXY DNS_SELF DNS_FORWARD DNS_UPSTREAM TLS_PORT HTTP_PORT LOG`` (ports on 127.0.0.1).
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from functools import partial

from kap.audit.log import AuditLog
from kap.config.model import Limits
from kap.dns.server import NameServer
from kap.egress.plane import Plane
from kap.policy.compiler import compile_rules
from kap.policy.live import Live

HOST = "origin.bench.example"
RULES = 1000
"""Other rules beside the ones that match: a policy of a real size."""


class StaticResolver:
    """The origin's name is this machine; there is no other name."""

    def cached(self, name: str) -> tuple[str, ...] | None:
        return ("127.0.0.1",)

    async def resolve(self, name: str) -> tuple[str, ...]:
        return ("127.0.0.1",)


async def serve(ports: list[int], log: str) -> None:
    """Until SIGTERM."""
    proxy, dns_self, dns_forward, dns_upstream, tls, http = ports
    audit = AuditLog(log)
    allow = [f"h{n}.example.com" for n in range(RULES)] + [
        f"{HOST}:{tls}/tls",
        f"{HOST}:{http}/http",
        "*.names.bench.example",
    ]
    live = Live(compile_rules(allow=allow, private=["127.0.0.0/8", "10.0.0.0/8"]))
    plane = Plane(live, audit, resolver=StaticResolver(), limits=Limits())
    await plane.serve(bound(proxy), "proxy")
    own = NameServer(live, audit, answer="self", addresses=("10.9.8.7",))
    # No cache: what is measured is forwarding, and the peer's is off too.
    forward = NameServer(live, audit, answer="forward", upstream=f"127.0.0.1:{dns_upstream}", cache_entries=0)
    for server, port in ((own, dns_self), (forward, dns_forward)):
        await server.serve_udp(bound(port, socket.SOCK_DGRAM))
        await server.serve_tcp(bound(port))
    gc.collect()
    gc.freeze()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await plane.close()
    await own.close()
    await forward.close()
    audit.close()


def bound(port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def framed(work: Callable[[], Awaitable[None]]) -> Awaitable[None]:
    """`work` under the frame, or plain where mitmproxy is not installed."""
    try:
        from kap.egress.frame import run_framed
    except ImportError:
        return work()
    return run_framed(work)


async def main() -> None:
    await framed(partial(serve, [int(text) for text in sys.argv[1:7]], sys.argv[7]))


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(main())
    except ImportError:
        asyncio.run(main())
