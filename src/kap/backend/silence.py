"""Why a container engine did not answer, as a sentence for a person and what to do about it.

The Docker SDK hands over three layers of other libraries' exceptions, as text; what happened is the innermost one.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator

START = "start the engine (Linux: sudo systemctl start docker) and check it with: docker info"
_ADDRESS = "see to DOCKER_HOST, or to docker's context (docker context ls), and check it with: docker info"
_GROUP = 'let this user use the engine (Linux: sudo usermod -aG docker "$USER", then log in again), and check it with: docker info'


def why(error: BaseException) -> tuple[str, str]:
    """What happened, and the remedy, from what the SDK raised; nothing of its own text is in either."""
    causes = tuple(_causes(error))
    for kind, text, remedy in (
        (PermissionError, "this user may not use it", _GROUP),
        (FileNotFoundError, "there is no such socket", START),
        (ConnectionRefusedError, "nothing listens there", START),
        (socket.gaierror, "there is no such host", _ADDRESS),
        (ConnectionError, "it ended the connection", START),
    ):
        if any(isinstance(one, kind) for one in causes):
            return text, remedy
    names = [type(one).__name__ for one in causes]
    if any("Timeout" in name for name in names):
        return "it did not answer in time", START
    if any("ConnectionError" in name for name in names):
        return "it cannot be reached", _ADDRESS
    if any(name in ("APIError", "JSONDecodeError") for name in names):
        return "what answers does not speak as an engine does", _ADDRESS
    return "that is not an address it can be reached at", _ADDRESS


def shown(address: str) -> str:
    """An engine's address on one line of a terminal: what is not printable is spelled out."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in address)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all that lie in it: causes, contexts, and those the libraries put into one another's arguments."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = (one.__cause__, one.__context__, getattr(one, "reason", None), *one.args)
        waiting.extend(each for each in inner if isinstance(each, BaseException))
