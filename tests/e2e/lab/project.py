"""A test project, copied out of the checkout, and the devcontainer CLI that brings it up."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.engine import CACHE, REPO, Lab, Unavailable, run

HERE = Path(__file__).resolve().parents[1]
FEATURE = REPO / "features" / "src" / "kap"


def devcontainer_cli() -> str:
    """The devcontainer CLI of tests/e2e/package-lock.json, installed under ~/.cache. Raises `Unavailable` without npm."""
    place = CACHE / "devcontainer-cli"
    program = place / "node_modules" / ".bin" / "devcontainer"
    lock = (HERE / "package-lock.json").read_text()
    if not program.exists() or (place / "package-lock.json").read_text() != lock:
        if shutil.which("npm") is None:
            raise Unavailable("npm is missing: apt-get install -y npm")
        place.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, place / name)
        done = subprocess.run(
            ["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=place, capture_output=True, text=True, timeout=180
        )
        if done.returncode:
            raise Unavailable(f"npm ci of the devcontainer CLI failed: {done.stderr.strip()[-200:]}")
    return str(program)


class DevContainer:
    """One copy of a test project. `close` removes its containers, networks and volumes."""

    def __init__(self, lab: Lab, cli: str, name: str, directory: Path, image: str, *, called: str = "") -> None:
        self.lab = lab
        self.cli = cli
        self.directory = directory / (called or name)
        shutil.copytree(REPO / "test-projects" / name, self.directory, symlinks=False)
        if called:  # another project than the one its overlay was written for
            self.overlay.unlink()
        # A sidecar that is not there is waited for: not long, here.
        self.edit(self.config, ('"./kap": {}', '"./kap": {"waitSeconds": "2"}'))
        self.home = directory / "home"
        # One for each: the CLI names its temporary files by the millisecond.
        temporary = self.directory.with_name(f"{self.directory.name}.tmp")
        for place in (self.home, temporary):
            place.mkdir(exist_ok=True)
        self.env = {
            **lab.env,
            "HOME": str(self.home),
            "TMPDIR": str(temporary),
            "APP_IMAGE": image,
            "PATH": f"{REPO / '.venv' / 'bin'}:{lab.env['PATH']}",
        }

    @property
    def config(self) -> Path:
        return self.directory / ".devcontainer" / "devcontainer.json"

    @property
    def overlay(self) -> Path:
        return self.directory / ".devcontainer" / "kap.overlay.yml"

    @property
    def state(self) -> Path:
        """The capsule's directory on the host."""
        return (self.home / ".kap" / "capsules" / self.directory.name).resolve()

    def edit(self, path: Path, *changes: tuple[str, str]) -> None:
        """Replace texts in a file; each has to be there."""
        text = path.read_text()
        for old, new in changes:
            assert old in text, f"{path.name} has no {old!r}:\n{text}"
            text = text.replace(old, new)
        path.write_text(text)

    def kap(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The kap command on the host; on the engine's host that is, where the engine's networks are."""
        argv = ["ip", "netns", "exec", self.lab.name, str(REPO / ".venv" / "bin" / "kap"), *arguments]
        return run(*argv, check=False, env={**self.env, **(env or {})}, cwd=self.directory)

    def up(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`devcontainer up`; where it fails, what the sidecar said is at the end of `stderr`."""
        done = self._cli("up", "--workspace-folder", str(self.directory), *arguments)
        for sidecar in self.containers("kap-sidecar") if done.returncode else ():
            done.stderr += f"\n--- the sidecar said:\n{self.lab.docker('logs', sidecar, check=False).stderr[-3000:]}"
            done.stderr += self.lab.docker("inspect", "-f", "{{json .State}}", sidecar, check=False).stdout[-3000:]
        return done

    def exec(self, *argv: str) -> subprocess.CompletedProcess[str]:
        return self._cli("exec", "--workspace-folder", str(self.directory), *argv)

    def _cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        # On the engine's host, as on a person's machine: there initializeCommand runs, and a registry on localhost is reached.
        return run(
            "ip",
            "netns",
            "exec",
            self.lab.name,
            self.cli,
            *arguments,
            check=False,
            env=self.env,
            cwd=self.directory,
            timeout=180,
        )

    def containers(self, service: str = "") -> list[str]:
        """Ids of this project's containers, stopped ones too."""
        label = f"devcontainer.local_folder={self.directory}"
        found = self.lab.docker("ps", "-aq", "--filter", f"label={label}").stdout.split()
        if not found:
            return []
        project = self.inspect(found[0])["Config"]["Labels"].get("com.docker.compose.project")
        if not project:
            return found
        filters = ["--filter", f"label=com.docker.compose.project={project}"]
        if service:
            filters += ["--filter", f"label=com.docker.compose.service={service}"]
        return self.lab.docker("ps", "-aq", *filters).stdout.split()

    def inspect(self, container: str) -> dict[str, object]:
        return json.loads(self.lab.docker("inspect", container).stdout)[0]  # type: ignore[no-any-return]

    def stopped(self, container: str) -> tuple[bool, int]:
        """Waits until a container has stopped: whether it has, and its exit code."""

        def state() -> dict[str, object]:
            return self.inspect(container)["State"]  # type: ignore[return-value]

        self.lab.wait_for(lambda: state()["Running"] is False, "the container to stop")
        return True, int(str(state()["ExitCode"]))

    def sh(self, script: str, *, service: str = "app", user: str = "") -> subprocess.CompletedProcess[str]:
        """A shell command in a service's container, by docker exec: no environment but the container's own."""
        (container,) = self.containers(service)
        return self.lab.docker(
            "exec", *(["-u", user] if user else []), container, "sh", "-c", script, check=False, timeout=60
        )

    def close(self) -> None:
        projects = set()
        for container in self.containers():
            projects.add(self.inspect(container)["Config"]["Labels"].get("com.docker.compose.project", ""))  # type: ignore[index]
            self.lab.docker("rm", "-f", "-v", container, check=False)
        for project in projects - {""}:
            networks = self.lab.docker(
                "network", "ls", "-q", "--filter", f"label=com.docker.compose.project={project}"
            ).stdout.split()
            if networks:
                self.lab.docker("network", "rm", *networks, check=False)
        if os.path.lexists(self.directory):
            shutil.rmtree(self.directory)
