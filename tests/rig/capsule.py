"""A project with a home and a state directory of its own, and ``kap run`` in it: as the user of the tests, and (as root) as nobody."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
SECONDS = 60
AS_NOBODY = Path(__file__).with_name("as_nobody.py")
START = "from kap.cli.main import main; main()"
USERS = ["self", "nobody"]
EMPTY = '[proxy.network]\nallow = ["unused.example.com"]\n'


@functools.cache
def why_not() -> str:
    """Why no capsule can be made here, "" where one can."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return "bubblewrap is not installed"
    probe = [bwrap, "--unshare-user", "--unshare-net", "--unshare-pid", "--ro-bind", "/", "/", "true"]
    done = subprocess.run(probe, capture_output=True, text=True, timeout=SECONDS, check=False)
    return "" if done.returncode == 0 else f"bubblewrap cannot make namespaces here: {done.stderr.strip()}"


class Project:
    """`root` is the workspace, in the home directory `home`; `state` is kap's (KAP_HOME), outside of both."""

    def __init__(self, user: str = "self", policy: str = EMPTY) -> None:
        if why_not():
            pytest.skip(why_not())
        if user == "nobody" and os.geteuid() != 0:
            pytest.skip("only root can become nobody; the tests run unprivileged already")
        self.user = user
        # Not pytest's own directory: that is closed to nobody.
        self.base = Path(os.path.realpath(tempfile.mkdtemp(prefix="kap-test-")))
        self.base.chmod(0o755)
        self.home, self.state = self.base / "home", self.base / "state"
        self.root = self.home / "project"
        self.root.mkdir(parents=True)
        self.state.mkdir()
        (self.home / "secret.txt").write_text("home secret\n")
        (self.home / ".ssh").mkdir()
        (self.home / ".ssh" / "id_ed25519").write_text("key\n")
        self.write("kap.toml", policy)
        self.own()

    def write(self, name: str, text: str) -> Path:
        """A file in the workspace."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def own(self) -> None:
        """Give everything to the user of the run."""
        if self.user == "nobody":
            for directory, _, files in os.walk(self.base):
                os.chown(directory, NOBODY, NOBODY)
                for name in files:
                    os.chown(Path(directory, name), NOBODY, NOBODY, follow_symlinks=False)

    def argv(self, *arguments: str) -> list[str]:
        """The command line of kap."""
        before = ["unshare", "-m", sys.executable, str(AS_NOBODY)] if self.user == "nobody" else [sys.executable]
        return [*before, "-c", START, *arguments]

    def environment(self, **more: str) -> dict[str, str]:
        """A small environment; `more` comes on top."""
        keep = {name: value for name, value in os.environ.items() if name in ("LANG", "SSL_CERT_FILE", "SSL_CERT_DIR")}
        path = {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
        return keep | path | {"HOME": str(self.home), "KAP_HOME": str(self.state)} | more

    def run(
        self, *command: str, options: tuple[str, ...] = (), env: dict[str, str] | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """``kap run OPTIONS -- COMMAND`` in the workspace."""
        how = {"capture_output": True, "text": True, "timeout": SECONDS, "check": False, "cwd": self.root} | how
        if "input" not in how:
            how.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run(self.argv("run", *options, "--", *command), env=self.environment(**(env or {})), **how)

    def start(self, *command: str, options: tuple[str, ...] = (), **how: Any) -> subprocess.Popen[str]:
        """The same, going on by itself."""
        how = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "stdin": subprocess.DEVNULL,
            "text": True,
            "cwd": self.root,
        } | how
        return subprocess.Popen(self.argv("run", *options, "--", *command), env=self.environment(), **how)

    def events(self) -> list[dict[str, Any]]:
        """What the audit log says."""
        logs = list(self.state.glob("projects/*/events.jsonl"))
        return [json.loads(line) for log in logs for line in log.read_text().splitlines()]

    def remove(self) -> None:
        """Take everything away."""
        shutil.rmtree(self.base, ignore_errors=True)


def processes_with(mark: str) -> list[int]:
    """Living processes of this machine that have `mark` in their arguments."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
    return found
