"""What ``kap init`` and ``kap uninit`` do on this machine: plan, then write it all or nothing, then accept the policy."""

from __future__ import annotations

import fcntl
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kap.devcontainer import identity, init_files, init_plan, single, snapshot, uninit
from kap.devcontainer.init_plan import Place, Plan, Wish
from kap.devcontainer.uninit import Undoing
from kap.errors import BackendError, KapError, UsageError
from kap.host.overlay import taken, taken_without_engine
from kap.host.state import kap_home, project_state

_SCRATCH = "uninit"
"""Where uninit remembers what it is at."""


class Project:
    """A project directory. `notes`: what could not be asked on this machine. Raises `UsageError` for no directory."""

    def __init__(self, directory: Path) -> None:
        if not directory.is_dir():
            raise UsageError(f"{directory} is not a directory", "name the project's directory: -C DIR")
        self.path = Path(os.path.realpath(directory))
        if self.path in (Path("/"), Path.home()):
            raise UsageError(f"{self.path} is not a project", "name the project's directory: -C DIR")
        self.state = project_state(self.path, create=False).directory
        self.notes: list[str] = []

    def configs(self) -> list[Path]:
        """Every devcontainer.json there is."""
        return init_plan.configs(self.path)

    def plan(self, paths: list[Path], wish: Wish) -> Plan:
        """What init does to the devcontainer.json at `paths`."""
        return init_plan.make(Place(self.path, kap_home(), self.state, self._taken), paths, wish)

    def carry_out(self, plan: Plan) -> str:
        """Write the files of `plan` and accept the policy; its digest comes back. Raises `KapError`, with every file as it was."""
        with self._locked():
            fresh = not snapshot.accepted(plan.capsule)
            digests: list[str] = []

            def accept() -> None:
                identity.claim(plan.capsule)
                digests.append(snapshot.accept(plan.capsule))

            # Accepting belongs to the same all or nothing: killed before it, the next run begins anew.
            init_files.apply(plan.changes, self.state, accepted=fresh, last=accept)
            return digests[0]

    def heal(self) -> list[str]:
        """Undo what an interrupted run left in the project; gives the files that were put back."""
        places = [p for p in (self.state, self.state / _SCRATCH) if (p / init_files.RECORD).exists()]
        if not places:
            return []
        with self._locked():
            return [path for place in places for path in init_files.heal(place)]

    def undoing(self) -> Undoing:
        """What uninit does."""
        return uninit.make(self.path, self.state)

    def undo(self, undoing: Undoing) -> None:
        """Write the files of `undoing`, stop the sidecar, and forget what init did. Raises `KapError`, with every file as it was."""
        with self._locked():
            record = init_files.load(self.state)
            if undoing.changes:
                scratch = self.state / _SCRATCH
                scratch.mkdir(mode=0o700, exist_ok=True)
                init_files.apply(undoing.changes, scratch)
                (scratch / init_files.RECORD).unlink(missing_ok=True)
                scratch.rmdir()
            if not single.down(self.state):
                self.notes.append(
                    "the sidecar could not be stopped: remove the dev container, then run kap uninit again"
                )
            if record.accepted:
                (self.state / "policy" / snapshot.PROJECT).unlink(missing_ok=True)
            init_files.forget(record, self.state)

    def _taken(self, capsule: str) -> list[ipaddress.IPv4Network]:
        try:
            return taken(capsule)
        except BackendError:
            note = "no container engine answers, so the network was chosen without it; the start of the dev container checks it"
            if note not in self.notes:
                self.notes.append(note)
            return taken_without_engine()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        state = project_state(self.path)
        try:
            with (state.directory / "init.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield
        except BlockingIOError as error:
            raise KapError("another kap init or uninit is at work in this project", "wait for it to end") from error
        except OSError as error:
            raise KapError(f"{state.directory} cannot be used: {error.strerror}", "make it writable for you") from error
