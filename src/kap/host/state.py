"""Where kap keeps what it knows about a project: ``~/.kap`` (or ``KAP_HOME``), readable by its user only.

``~/.kap/projects/<name>-<hash of the real path>/events.jsonl`` is the project's audit log. Nothing in here is visible in a capsule.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

import msgspec

from kap.errors import KapError


class ProjectState(msgspec.Struct, frozen=True):
    """The state directory of one project. `id` names the project in events and elsewhere."""

    id: str
    directory: Path

    @property
    def events(self) -> Path:
        """The audit log."""
        return self.directory / "events.jsonl"


def kap_home() -> Path:
    """``KAP_HOME``, else ``~/.kap``; absolute. The directory may not exist yet."""
    configured = os.environ.get("KAP_HOME", "")
    return Path(configured).absolute() if configured else Path.home() / ".kap"


def project_id(project: Path) -> str:
    """A name for the project directory, by its real path: readable, and different for every path."""
    real = os.path.realpath(project)
    slug = re.sub(r"[^a-z0-9]+", "-", Path(real).name.lower()).strip("-")[:32] or "project"
    return f"{slug}-{hashlib.sha256(os.fsencode(real)).hexdigest()[:12]}"


def project_state(project: Path, *, create: bool = True) -> ProjectState:
    """The state of `project`; with `create`, its directory exists afterwards with mode 0700. Raises `KapError`."""
    name = project_id(project)
    directory = kap_home() / "projects" / name
    if create:
        for each in (kap_home(), kap_home() / "projects", directory):
            _private_directory(each)
    return ProjectState(name, directory)


def _private_directory(path: Path) -> None:
    hint = "choose another place with KAP_HOME, or correct owner and permissions"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = path.lstat()
        if not stat.S_ISDIR(path.stat().st_mode):
            raise KapError(f"{path} is not a directory", hint)
        if found.st_uid not in (os.geteuid(), 0):
            raise KapError(f"{path} belongs to another user (uid {found.st_uid})", hint)
        if found.st_uid == os.geteuid() and not stat.S_ISLNK(found.st_mode) and stat.S_IMODE(found.st_mode) & 0o077:
            path.chmod(0o700)
    except OSError as error:
        raise KapError(f"cannot use {path} for kap's state: {error.strerror}", hint) from error
