"""Whether names and TLS on this network are what they are on the public internet, for who runs a demonstration or looks for a fault.

    python -m kap.host.network_check --project DIR

Some networks answer public names with addresses of their own (a gateway that stands for the internet), or sign TLS with a private CA.
kap refuses the first unless the range is granted, and clients refuse the second without the host's trust store. This says what is so
here, in words on standard error, and on standard output what would cure it, one a line: ``grant=CIDR`` for ``kap run --grant-private``,
``trust=FILE`` for the host's bundle of certificates.
"""

from __future__ import annotations

import contextlib
import glob
import os
import socket
import ssl
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from kap.config.layers import Config, find_project, global_path, load
from kap.egress.resolve import system_lookup
from kap.names.addresses import canonical, classify
from kap.names.hosts import BadTarget

SECONDS = 5.0
MAX_NAMES = 24
MAX_TLS = 3
GRANTABLE = frozenset({"private", "shared", "documentation", "benchmarking", "unique-local"})
"""Kinds of addresses a network may have put its gateway at. This machine's own (loopback, link-local, metadata) are never granted."""
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
)
PRIVATE_CAS = (
    "/usr/local/share/ca-certificates/*.crt",
    "/etc/pki/ca-trust/source/anchors/*",
    "/etc/ca-certificates/trust-source/anchors/*",
)


class Network(msgspec.Struct, frozen=True):
    """`odd`: non-global addresses (canonical) by the name that resolved to them. `issuer`: the private CA that signs TLS here, "" where
    none does. `unresolved`: names without an address."""

    odd: dict[str, tuple[str, ...]]
    issuer: str = ""
    unresolved: tuple[str, ...] = ()


def look(names: Iterable[str], lookup: Callable[[str], list[str]] = system_lookup) -> Network:
    """Resolve `names` (at most `MAX_NAMES`), and look at the TLS of the first (of `MAX_TLS`) that answers on port 443."""
    wanted = list(dict.fromkeys(names))[:MAX_NAMES]
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(wanted, pool.map(lambda name: _addresses(name, lookup), wanted), strict=True))
    odd = {name: tuple(one for one in found if not classify(one).is_global) for name, found in answers.items()}
    reachable = [name for name, found in answers.items() if found][:MAX_TLS]
    issuer = next((who for name in reachable if (who := private_issuer(name)) is not None), "")
    return Network(
        odd={name: found for name, found in odd.items() if found},
        issuer=issuer,
        unresolved=tuple(name for name, found in answers.items() if not found),
    )


def grants(network: Network) -> tuple[str, ...]:
    """The CIDRs that make this network usable: one for each odd address of a `GRANTABLE` kind, no wider."""
    odd = {address for found in network.odd.values() for address in found}
    addresses = sorted(address for address in odd if classify(address).name in GRANTABLE)
    return tuple(f"{one}/{128 if ':' in one else 32}" for one in addresses)


def bundle() -> str:
    """The host's bundle of trusted certificates, "" where none is known."""
    return next((path for path in BUNDLES if Path(path).is_file()), "")


def private_issuer(name: str) -> str | None:
    """Who signed `name`'s certificate, if a CA that was added to this machine did; "" if a public one did; None where TLS fails."""
    private = [path for pattern in PRIVATE_CAS for path in glob.glob(pattern)]  # noqa: PTH207 - patterns of absolute paths
    context = ssl.create_default_context()
    for path in private:
        with contextlib.suppress(OSError, ssl.SSLError):
            context.load_verify_locations(path)
    certificate = _certificate(name, context)
    if certificate is None:
        return None
    alone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for path in private:
        with contextlib.suppress(OSError, ssl.SSLError):
            alone.load_verify_locations(path)
    if not private or _certificate(name, alone) is None:
        return ""
    fields = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return str(fields.get("commonName") or fields.get("organizationName") or "a CA of this machine")


def _certificate(name: str, context: ssl.SSLContext) -> dict[str, Any] | None:
    try:
        with (
            socket.create_connection((name, 443), SECONDS) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            return dict(tls.getpeercert() or {})
    except (OSError, ssl.SSLError):
        return None


def _addresses(name: str, lookup: Callable[[str], list[str]]) -> tuple[str, ...]:
    try:
        return tuple(dict.fromkeys(canonical(text.partition("%")[0]) for text in lookup(name)))
    except (OSError, UnicodeError, BadTarget):
        return ()


def _names(config: Config) -> list[str]:
    """The names of allow rules, without their ports; wildcards and addresses are none."""
    texts = [rule.text for rule in config.rules if rule.effect == "allow" and rule.layer != "builtin"]
    names = [text.partition(":")[0] for text in texts if text.count(":") < 2 and text[:1] != "["]
    return [name for name in names if name and "*" not in name and "/" not in name and not name[-1].isdigit()]


def main(arguments: list[str]) -> int:
    """See the module. 0; 2 where the project has no usable policy."""
    project = Path(arguments[arguments.index("--project") + 1]) if "--project" in arguments else Path()
    file = find_project(project)
    config = load(file, global_path=global_path()).config if file else None
    if config is None:
        sys.stderr.write(f"network: {project} has no policy that loads; run: kap check\n")
        return 2
    network = look(_names(config))
    for name, found in network.odd.items():
        kinds = ", ".join(f"{one} ({classify(one).name})" for one in found)
        sys.stderr.write(f"network: {name} resolves to {kinds}, which is not on the public internet\n")
    if network.issuer:
        sys.stderr.write(f"network: TLS is signed by a private CA here: {network.issuer}\n")
    if network.unresolved:
        sys.stderr.write(f"network: no address for {', '.join(network.unresolved)}\n")
    sys.stdout.write("".join(f"grant={cidr}\n" for cidr in grants(network)))
    if network.issuer and bundle():
        sys.stdout.write(f"trust={os.path.realpath(bundle())}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
