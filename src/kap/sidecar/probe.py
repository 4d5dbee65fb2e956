"""The health check: ask the running sidecar what a client would ask, and believe only its answers.

Rules: every listener is asked for a host that can exist nowhere and has to refuse it with a reason of kap's; the name server has to
know a name of the sidecar's own besides (the positive control: refusing everything is not health). Plain sockets and one deadline: the
check must neither hang nor need what it checks. Sources: RFC 1035 4 (DNS messages), RFC 9110 9.3.6 (CONNECT).
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from kap.audit.event import PROBE_ANSWERS, PROBE_HOST, PROBE_OWN_NAME
from kap.sidecar import status as status_file
from kap.sidecar.status import ListenerStatus, Status

_REFUSED = {code.encode() for code in PROBE_ANSWERS[PROBE_HOST] if code.startswith("egress.")}
_NXDOMAIN = 3


class Check(msgspec.Struct, frozen=True):
    """One thing that was asked. `detail`: what came back, or what is wrong."""

    name: str
    ok: bool
    detail: str


class _Unhealthy(Exception):
    """What is wrong, in words."""


def check(path: Path, *, seconds: float = 4.0) -> list[Check]:
    """Everything there is to ask of the sidecar whose status is at `path`, within `seconds` altogether. Never raises."""
    status = status_file.read(path)
    if status is None:
        return [Check("status", False, f"{path}: there is no status of a running sidecar")]
    deadline = time.monotonic() + seconds
    found = [_own_word(status)]
    asks: dict[str, Callable[[ListenerStatus, Status, float], str]] = {
        "proxy": _ask_proxy,
        "gate": _ask_proxy,
        "http": _ask_http,
        "tls": _ask_tls,
        "dns": _ask_dns,
        "dns-tcp": _ask_dns,
    }
    for listener in status.listeners:
        where = f"{listener.kind} {listener.address}:{listener.port}"
        try:
            detail = asks[listener.kind](listener, status, deadline)
            found.append(Check(where, True, detail))
        except _Unhealthy as problem:
            found.append(Check(where, False, str(problem)))
        except (OSError, ValueError, KeyError, struct.error, IndexError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            found.append(Check(where, False, f"no answer: {reason}"))
    return found


def _own_word(status: Status) -> Check:
    age = time.time() - status.updated
    if age > status_file.STALE:
        return Check("status", False, f"the sidecar has not written its status for {age:.0f} s: it hangs or has ended")
    if not status.listeners:
        return Check("status", False, "no listener is up")
    if not status.healthy:
        return Check("status", False, "; ".join(status.problems) or "the sidecar says it is not healthy")
    return Check("status", True, f"policy {status.policy.digest[:12]}, {status.policy.rules} rules")


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _Unhealthy("no time left to ask")
    return min(left, 2.0)


def _dial(listener: ListenerStatus) -> tuple[str, int]:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not bound to
    return anywhere.get(listener.address, listener.address), listener.port


def _exchange(listener: ListenerStatus, data: bytes, deadline: float, enough: Callable[[bytes], bool]) -> bytes:
    """Send `data` and read until `enough`, the end, or 64 KiB."""
    with socket.create_connection(_dial(listener), timeout=_left(deadline)) as sock:
        sock.sendall(data)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while len(answer) < 65_536 and not enough(answer):
                sock.settimeout(_left(deadline))
                part = sock.recv(16_384)
                if not part:
                    break
                answer += part
        return answer


def _ask_proxy(listener: ListenerStatus, status: Status, deadline: float) -> str:
    request = f"CONNECT {PROBE_HOST}:443 HTTP/1.1\r\nHost: {PROBE_HOST}:443\r\n\r\n"
    return _judge_http(_exchange(listener, request.encode(), deadline, _has_head))


def _ask_http(listener: ListenerStatus, status: Status, deadline: float) -> str:
    request = f"GET / HTTP/1.1\r\nHost: {PROBE_HOST}\r\nConnection: close\r\n\r\n"
    return _judge_http(_exchange(listener, request.encode(), deadline, _has_head))


def _has_head(answer: bytes) -> bool:
    return b"\r\n\r\n" in answer


def _judge_http(answer: bytes) -> str:
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    words = head[0].split(b" ")
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in head[1:])}
    reason = fields.get(b"x-kap-reason", b"")
    if not words[0].startswith(b"HTTP/1.") or len(words) < 2:
        raise _Unhealthy("the answer is not HTTP" if answer else "closed without an answer")
    if words[1].startswith(b"2"):
        raise _Unhealthy("a host that does not exist was let through")
    if reason == b"egress.no-policy":
        raise _Unhealthy("no policy is in force: everything is refused")
    if reason not in _REFUSED:
        raise _Unhealthy(f"an answer without a reason of kap's: {words[1].decode('ascii', 'replace')} {reason[:60]!r}")
    return f"refused as it should be ({reason.decode('ascii')})"


def _ask_tls(listener: ListenerStatus, status: Status, deadline: float) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=PROBE_HOST)
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    answer = _exchange(listener, outgoing.read(), deadline, lambda got: got[:1] == b"\x16")
    if answer[:1] == b"\x16":  # a handshake record: somebody said ServerHello
        raise _Unhealthy("a host that does not exist was let through")
    return "refused as it should be"


def _ask_dns(listener: ListenerStatus, status: Status, deadline: float) -> str:
    rcode, found = _query(listener, PROBE_HOST, deadline)
    if rcode != _NXDOMAIN:
        raise _Unhealthy(f"a name that does not exist is answered with RCODE {rcode} {sorted(found)}")
    rcode, found = _query(listener, PROBE_OWN_NAME, deadline)
    wanted = {address for address in status.own_addresses if ":" not in address}
    if rcode != 0 or (wanted and found != wanted):
        raise _Unhealthy(f"its own name is answered with RCODE {rcode} {sorted(found)}")
    return "refused as it should be, and its own name is answered"


def _query(listener: ListenerStatus, name: str, deadline: float) -> tuple[int, set[str]]:
    """RCODE and the addresses of an A query."""
    ident = os.urandom(2)
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    question = labels + b"\0" + struct.pack("!HH", 1, 1)
    message = ident + struct.pack("!HHHHH", 0x0100, 1, 0, 0, 0) + question
    if listener.kind == "dns-tcp":
        framed = len(message).to_bytes(2, "big") + message
        answer = _exchange(
            listener, framed, deadline, lambda got: len(got) > 2 and len(got) - 2 >= int.from_bytes(got[:2], "big")
        )[2:]
    else:
        family = socket.AF_INET6 if ":" in listener.address else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(_left(deadline))
            sock.connect(_dial(listener))
            sock.send(message)
            answer = sock.recv(4096)
    if answer[:2] != ident or len(answer) < 12 + len(question) or answer[12 : 12 + len(question)].lower() != question:
        raise _Unhealthy("the answer is to another question")
    flags, _, count = struct.unpack_from("!HHH", answer, 2)
    return flags & 0x0F, _addresses(answer, 12 + len(question), count)


def _addresses(message: bytes, offset: int, count: int) -> set[str]:
    found = set()
    for _ in range(count):
        while message[offset] and message[offset] < 0xC0:
            offset += 1 + message[offset]
        offset += 2 if message[offset] >= 0xC0 else 1
        rtype, _, _, size = struct.unpack_from("!HHIH", message, offset)
        offset += 10
        if rtype == 1 and size == 4:
            found.add(socket.inet_ntoa(message[offset : offset + 4]))
        offset += size
    return found
