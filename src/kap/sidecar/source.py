"""The files a sidecar's policy is made of: look at them cheaply and often, load them when they changed.

Rules: a change is a change of content, since bind mounts lie about modification times and events; a file that is not there, cannot be
read or is no file is a content too. Whatever is in the files, `load` gives a policy or a `Refusal`, never an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec

from kap.config import files, layers
from kap.config.problem import Problem
from kap.errors import KapError
from kap.policy import compiler
from kap.policy.compiler import Policy


class Snapshot(msgspec.Struct, frozen=True):
    """What the files hold now. `project`, `global_`: whether that layer's file is there; `blank`: a file holds nothing at all,
    as between an editor's truncation and its first write."""

    digest: bytes
    project: bool
    global_: bool
    blank: bool


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no policy in the files. `message`: ``path:line:column: words``; `vanished`: a file that was there is gone."""

    message: str
    vanished: bool = False


class PolicySource:
    """`config`: a kap.toml, or the folder that holds it. `global_path`: the global file, None for none; it must exist where
    `global_required` says so, else its absence means there is no such layer. `check` raises `KapError` where a policy cannot be used
    on this machine."""

    def __init__(
        self,
        config: Path,
        global_path: Path | None = None,
        *,
        global_required: bool = False,
        check: Callable[[Policy], None] = lambda policy: None,
    ) -> None:
        self.config = config
        self.global_path = global_path
        self._global_required = global_required
        self._check = check

    def snapshot(self) -> Snapshot:
        """Read all files (each at most 1 MiB) and give their digest. Blocks: call it in a thread."""
        digest = hashlib.sha256()
        found = {"project": False, "global": False}
        blank = False
        for layer, path in self._candidates():
            reading = files.read(path, layer)
            code = reading.problem.code if reading.problem else ""
            found[layer] = found[layer] or code != "config.missing"
            blank = blank or (reading.text is not None and not reading.text.strip())
            digest.update(f"{layer}\0{path}\0{code}\0".encode("utf-8", "surrogateescape"))
            digest.update(hashlib.sha256((reading.text or "").encode()).digest())
        return Snapshot(digest.digest(), found["project"], found["global"], blank)

    def load(self) -> Policy | Refusal:
        """Read, check and compile. Blocks: call it in a thread."""
        try:
            if self._global_required and self.global_path is not None and not self.global_path.exists():
                return Refusal(f"{self.global_path}: there is no such file")
            loaded = layers.load(self.config, global_path=self.global_path)
            if loaded.config is None:
                worst = next(problem for problem in loaded.problems if problem.severity == "error")
                return Refusal(describe(worst))
            policy = compiler.compile(loaded.config)
            self._check(policy)
            return policy
        except KapError as error:
            return Refusal(error.message)
        except Exception as error:  # noqa: BLE001 - a bug in loading must not end the sidecar: the last good policy stays
            return Refusal(f"{self.config}: kap failed to load it: {type(error).__name__}: {error}")

    def _candidates(self) -> list[tuple[str, Path]]:
        found = [("global", self.global_path)] if self.global_path is not None else []
        if self.config.is_dir():
            places = (self.config / layers.NAME, self.config / ".devcontainer" / layers.NAME)
            return [*found, *(("project", place) for place in places)]
        return [*found, ("project", self.config)]


def describe(problem: Problem) -> str:
    """One line for a log: ``path:line:column: message (hint)``, lines and columns from 1; without them where there is no place."""
    span = problem.span
    if span is None and problem.route and problem.path:
        document, _ = layers.read_layer(Path(problem.path))
        span = document.nearest(problem.route, key=problem.on_key) if document else None
    where = f"{problem.path}:{span.line + 1}:{span.column + 1}" if span else problem.path
    hint = f" ({problem.hint})" if problem.hint else ""
    return f"{where}: {problem.message}{hint}"
