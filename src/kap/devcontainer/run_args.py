"""The arguments of ``docker run`` that a devcontainer.json passes on in "runArgs": read as the docker CLI reads them, and kap's own. Pure.

Rules: flags are taken apart exactly (Docker CLI reference, "docker container run"), because a flag that is read as another's value, or
the other way round, would be judged wrongly; kap's own stand first, so that nothing in front of them can swallow one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kap import __version__
from kap.devcontainer import subnets
from kap.devcontainer.overlay import PROXY_PORT, SIDECAR

_SWITCHES = frozenset(
    [
        *("detach", "init", "interactive", "no-healthcheck", "oom-kill-disable", "privileged", "publish-all", "quiet"),
        *("read-only", "rm", "sig-proxy", "tty", "disable-content-trust", "help", "use-api-socket"),
    ]
)
_SHORT = {"v": "volume", "p": "publish", "P": "publish-all", "e": "env", "l": "label", "u": "user", "w": "workdir"} | {
    "h": "hostname",
    "c": "cpu-shares",
    "m": "memory",
    "a": "attach",
    "d": "detach",
    "i": "interactive",
    "t": "tty",
    "q": "quiet",
}
_FIRST, _LAST = "--label=kap.project=", "--env=KAP_SIDECAR="
_ROLE = "--label=kap.role="


class Flag(msgspec.Struct, frozen=True):
    """`name`: its long name, "" for what is no flag. `value`: "true" of a switch. It takes `count` elements from index `at` on."""

    name: str
    value: str
    at: int
    count: int


def read(arguments: Sequence[str]) -> list[Flag]:
    """`arguments` as flags. From the first that is none on, everything is one nameless `Flag`: the image, and what follows it."""
    found: list[Flag] = []
    at = 0
    while at < len(arguments):
        one = arguments[at]
        if not one.startswith("-") or one in ("-", "--"):
            found.append(Flag("", one, at, len(arguments) - at))
            break
        new = _long(arguments, at) if one.startswith("--") else _short(arguments, at)
        found.extend(new)
        at += max(flag.count for flag in new)
    return found


def _long(arguments: Sequence[str], at: int) -> list[Flag]:
    name, equals, value = arguments[at][2:].partition("=")
    name = "network" if name == "net" else "network-alias" if name == "net-alias" else name
    if equals:
        return [Flag(name, value, at, 1)]
    if name in _SWITCHES:
        return [Flag(name, "true", at, 1)]
    return [Flag(name, arguments[at + 1] if at + 1 < len(arguments) else "", at, 2)]


def _short(arguments: Sequence[str], at: int) -> list[Flag]:
    """``-itv a:b``: switches may stand together, the last may have a value, here or in the next argument."""
    letters = arguments[at][1:]
    found = []
    for index, letter in enumerate(letters):
        name = _SHORT.get(letter, letter)
        rest = letters[index + 1 :]
        if name in _SWITCHES and not rest.startswith("="):
            found.append(Flag(name, "true", at, 1))
        elif rest:
            return [*found, Flag(name, rest.removeprefix("="), at, 1)]
        else:
            return [*found, Flag(name, arguments[at + 1] if at + 1 < len(arguments) else "", at, 2)]
    return found


def block(capsule: str, network: subnets.Network, governing: Mapping[str, str]) -> list[str]:
    """What puts a container into `capsule`. `governing`: files of the workspace that are laid over it read-only, by their target.

    An engine that does not have the capsule's network refuses to start the container.
    """
    sidecar = subnets.sidecar_address(network)
    proxy = f"http://{sidecar}:{PROXY_PORT}"
    variables = {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": f"localhost,127.0.0.1,::1,{SIDECAR}"}
    return [
        f"{_FIRST}{capsule}",
        f"{_ROLE}app",
        f"--label=kap.version={__version__}",
        f"--network={network_name(capsule)}",
        f"--dns={sidecar}",
        "--dns-search=.",
        "--cap-drop=NET_ADMIN",
        "--cap-drop=NET_RAW",
        *(f"--env={name}={value}" for name, value in variables.items()),
        *(f"--env={name.lower()}={value}" for name, value in variables.items()),
        *(f"--mount=type=bind,source={source},target={target},readonly" for target, source in governing.items()),
        f"{_LAST}{sidecar}:{PROXY_PORT}",
    ]


def network_name(capsule: str) -> str:
    """The name of the capsule's network, for the engine."""
    return f"kap-{capsule}"


def span(arguments: Sequence[object]) -> tuple[int, int] | None:
    """From where to where kap's own arguments stand; None where there are none."""
    texts = [str(a) for a in arguments]
    first = next((i for i, a in enumerate(texts) if a.startswith(_FIRST)), None)
    if first is None:
        return None
    last = next((i for i in range(first, len(texts)) if texts[i].startswith(_LAST)), None)
    return (first, last + 1) if last is not None else None


def recorded(arguments: Sequence[object]) -> tuple[str, subnets.Network | None]:
    """The capsule and the network that kap's own arguments were written for."""
    place = span(arguments)
    if place is None:
        return "", None
    own = [str(a) for a in arguments[place[0] : place[1]]]
    capsule = own[0].removeprefix(_FIRST)
    sidecar = own[-1].removeprefix(_LAST).rsplit(":", 1)[0]
    for prefix in (subnets.PREFIX, 24):
        network = subnets.around(sidecar, prefix)
        if network is not None and subnets.sidecar_address(network) == sidecar:
            return capsule, network
    return capsule, None
