"""Who a capsule is: its name, and where the host keeps what belongs to it.

Rules: a name is ``[a-z0-9-]``, safe in a path, a label and YAML; it comes from the directory's name, so that an overlay in a repository
is the same on every machine; a second project of the same name on one machine gets a part of its path's hash. The state lies in the
project's state directory under ``~/.kap``, never in the workspace; ``~/.kap/capsules/<name>`` is a link to it, and the claim on the name.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import msgspec

from kap.errors import KapError

NOBODYS = (65532, 65532)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


class Capsule(msgspec.Struct, frozen=True):
    """`project`: the real path of the project; `home`: kap's own directory; `state`: the project's directory in it, closed to others."""

    name: str
    project: Path
    home: Path
    state: Path

    @property
    def policy(self) -> Path:
        """The policy in force, mounted read-only into the sidecar: ``kap.toml`` and ``global.toml``."""
        return self.state / "policy"

    @property
    def log(self) -> Path:
        """Where the sidecar writes its audit log and its status."""
        return self.state / "sidecar"


def is_name(text: object) -> bool:
    """Whether `text` could be the name of a capsule."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def slug(name: str) -> str:
    """`name` as a capsule's name: lower case, everything but letters and digits becomes a dash; ``capsule`` where nothing is left."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40].strip("-") or "capsule"


def choose(project: Path, home: Path, state: Path, written: object = None) -> Capsule:
    """The capsule of `project` (a real path): called what is `written` in its overlay, or what its directory is called, unless
    another project of this machine has that name."""
    name = slug(project.name)
    unique = f"{name[:38]}-{hashlib.sha256(os.fsencode(project)).hexdigest()[:8]}"
    for candidate in (written, name, unique):
        if isinstance(candidate, str) and is_name(candidate) and _holder(home, candidate) in (None, state.resolve()):
            return Capsule(candidate, project, home, state)
    raise KapError(f"the name {unique} belongs to another project", f"remove the link {home / 'capsules' / unique}")


def claim(capsule: Capsule) -> None:
    """Make the capsule's directories, and the link that says whose name it is. Raises `KapError` where the disk refuses."""
    link = capsule.home / "capsules" / capsule.name
    try:
        link.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        capsule.state.chmod(0o700)
        for directory in (capsule.policy, capsule.log):
            directory.mkdir(mode=0o700, exist_ok=True)
            if os.geteuid() == 0:
                os.chown(directory, *sidecar_user())
        if link.is_symlink() and not link.exists():
            link.unlink()
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(capsule.state.resolve(), link.parent.resolve()))
    except OSError as error:
        raise KapError(
            f"the capsule's state cannot be written: {error}", f"make {capsule.home} writable for you"
        ) from error


def sidecar_user() -> tuple[int, int]:
    """User and group the sidecar runs as: this user's, so that its log can be read here; a number nobody has where this is root."""
    uid = os.geteuid()
    return (uid, os.getegid()) if uid else NOBODYS


def _holder(home: Path, name: str) -> Path | None:
    """The state directory that has `name`; None where nobody has it, or the directory is gone."""
    link = home / "capsules" / name
    return link.resolve() if link.exists() else None
