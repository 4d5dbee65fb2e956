"""The host's trust store, for the capsule: the same certificates under paths that exist inside, and nothing but certificates.

A variable that names a file the capsule sees anyway (/etc/ssl/certs/...) stays as it is. Any other file is rebuilt from its
``CERTIFICATE`` blocks, so that a key kept beside a certificate stays out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from kap.sandbox.environment import TRUST_DIRECTORY, TRUST_FILES
from kap.sandbox.filesystem import Found, beneath
from kap.sandbox.plan import File

PLACE = "/run/kap/trust"
MAX_BYTES = 16 * 1024 * 1024
MAX_FILES = 2000

_BLOCK = re.compile(rb"-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----[A-Za-z0-9+/=\s]+?-----END \1-----")


class Trust(msgspec.Struct, frozen=True):
    """`variables` for the command's environment, and the `files` they name."""

    variables: dict[str, str]
    files: tuple[File, ...]


def carry(host: Mapping[str, str], found: Found) -> Trust:
    """What of the trust-store variables in `host` (an environment) goes into a capsule; a variable that leads nowhere is left out."""
    variables: dict[str, str] = {}
    files: dict[str, File] = {}
    made: dict[str, str] = {}
    for name in TRUST_FILES:
        source = host.get(name, "")
        if not source.startswith("/"):
            continue
        if _visible(source, found):
            variables[name] = source
        elif source in made:
            variables[name] = made[source]
        elif pem := certificates(Path(source)):
            target = f"{PLACE}/{len(files)}.pem"
            files[target] = File(target, pem)
            variables[name] = made[source] = target
    directories = [
        _directory(place, found, files) for place in host.get(TRUST_DIRECTORY, "").split(":") if place.startswith("/")
    ]
    if any(directories):
        variables[TRUST_DIRECTORY] = ":".join(place for place in directories if place)
    return Trust(variables, tuple(files.values()))


def certificates(path: Path) -> bytes:
    """The certificates in the PEM file at `path`, and nothing else of it; empty where there are none or it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError:
        return b""
    return b"".join(match.group(0) + b"\n" for match in _BLOCK.finditer(data))


def _directory(place: str, found: Found, files: dict[str, File]) -> str:
    """`place` if the capsule sees it, else a directory of its certificates under the names OpenSSL looks for; "" without any."""
    if _visible(place, found):
        return place
    target = f"{PLACE}/directory{len(files)}"
    try:
        names = sorted(os.listdir(place))[:MAX_FILES]  # noqa: PTH208 - names only
    except OSError:
        return ""
    added = False
    for name in names:
        pem = certificates(Path(place, name))
        if pem:
            files[f"{target}/{name}"] = File(f"{target}/{name}", pem)
            added = True
    return target if added else ""


def _visible(path: str, found: Found) -> bool:
    """Whether the capsule sees the host's `path`: it and what it leads to lie in a visible tree, and not in the home or a hidden path."""
    shown = (*found.trees, *(link.path for link in found.links), *found.etc, *found.read_only)
    hidden = (*found.private, *found.hidden_files, *found.hidden_directories)
    names = (os.path.normpath(path), os.path.realpath(path))
    return (
        all(
            any(beneath(name, place) for place in shown) and not any(beneath(name, place) for place in hidden)
            for name in names
        )
        and Path(path).exists()
    )
