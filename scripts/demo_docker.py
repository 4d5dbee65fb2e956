"""What ``make demo-docker`` runs; see demo-docker.sh. Exit code 0 when everything came out as it should, 69 where there is no engine."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from lab import images
from lab.engine import REPO, Lab, Unavailable
from lab.project import devcontainer_cli

from kap.devcontainer.overlay import IMAGE

KAP = REPO / ".venv" / "bin" / "kap"
PROJECT = REPO / "test-projects" / "compose-with-db"
COLOUR = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
BASE = "python:3.13-slim-trixie"


class Failed(Exception):
    """What went wrong, in words."""


def say(text: str) -> None:
    print(f"\n\033[1m== {text}\033[0m" if COLOUR else f"\n== {text}", flush=True)


class Machine:
    """Where commands run: this machine, or the host of the lab's engine. `namespace` is empty for the first."""

    def __init__(self, env: Mapping[str, str], namespace: str = "") -> None:
        self.env = dict(env)
        self.prefix = ["ip", "netns", "exec", namespace] if namespace else []

    def run(self, *argv: str | Path, quiet: bool = False, cwd: Path | None = None) -> int:
        out = subprocess.PIPE if quiet else None
        done = subprocess.run(
            [*self.prefix, *map(str, argv)],
            env=self.env,
            cwd=cwd,
            stdout=out,
            stderr=subprocess.STDOUT if quiet else None,
            text=True,
        )
        if quiet and done.returncode:
            print(done.stdout[-4000:], file=sys.stderr)
        return done.returncode

    def must(self, what: str, *argv: str | Path, quiet: bool = True, cwd: Path | None = None) -> None:
        if self.run(*argv, quiet=quiet, cwd=cwd):
            raise Failed(f"{what} failed: {' '.join(map(str, argv))}")


def engine_answers() -> bool:
    if os.environ.get("KAP_TEST_ENGINE") or shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=60).returncode == 0


@contextlib.contextmanager
def machine(work: Path) -> Iterator[Machine]:
    """An engine that has the images; `APP_IMAGE` in its environment is what the dev container is made from."""
    common = {
        "KAP_HOME": str(work / "state"),
        "DEMO_SECRET": "not-for-agents",
        "PATH": f"{KAP.parent}:{os.environ['PATH']}",
    }
    if engine_answers():
        here = Machine({**os.environ, **common, "APP_IMAGE": os.environ.get("APP_IMAGE", BASE)})
        if here.run("docker", "image", "inspect", IMAGE, quiet=True):
            say("Building the sidecar's image (once; from this checkout)")
            certificates = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
            secret = ["--secret", f"id=ca,src={certificates}"] if Path(certificates).is_file() else []
            here.must(
                "building the image", "docker", "build", "-q", *secret, "-f", images.DOCKERFILE, "-t", IMAGE, REPO
            )
        yield here
        return
    print(
        "No Docker engine answers here: starting one of its own, in a network namespace, with a small internet behind it."
    )
    with Lab(work / "lab") as lab:
        print("Making its images, without a registry (the first time takes a minute) ...", flush=True)
        images.base(lab)
        images.sidecar(lab, IMAGE)
        here = Machine({**lab.env, **common, "APP_IMAGE": images.BASE}, lab.name)
        here.env["PATH"] = f"{KAP.parent}:{lab.env['PATH']}"
        yield here


def demonstrate(here: Machine, cli: str, work: Path) -> bool:
    """The demonstration itself; whether everything came out as it should."""
    project = work / "kap-demo"
    shutil.copytree(PROJECT, project, symlinks=False)
    grant_what_this_network_needs(here, project)
    say("1. The policy: kap.toml")
    print((project / "kap.toml").read_text(), end="")
    say("2. kap overlay: a person accepts the policy, and the compose project is closed")
    here.must("kap overlay", KAP, "overlay", "-C", project, quiet=False)
    say("3. devcontainer up")
    here.must("devcontainer up", cli, "up", "--workspace-folder", project)
    print("The dev container runs; its gate has proven that it is closed.")
    try:
        say("4. Real attempts inside (DEMO_SECRET is set out here)")
        container = [cli, "exec", "--workspace-folder", project]
        good = (
            here.run(*container, "env", f"DEMO_COLOUR={'1' if COLOUR else ''}", "python3", "/workspace/agent.py") == 0
        )
        say("5. kap why-denied: what was refused, why, and the fix for each")
        (state,) = (work / "state" / "projects").iterdir()
        here.run(KAP, "why-denied", "--log", state / "sidecar" / "events.jsonl", cwd=project)
        say("6. kap status: is the capsule closed?")
        return here.run(KAP, "status", "-C", project) == 0 and good
    finally:
        take_down(here, project)


def grant_what_this_network_needs(here: Machine, project: Path) -> None:
    """Where this network answers public names with addresses that are not public, exactly those are granted, for this run."""
    if here.prefix:
        return
    done = subprocess.run(
        [KAP.parent / "python", "-m", "kap.host.network_check", "--project", project],
        capture_output=True,
        text=True,
        env=here.env,
    )
    grants = [line.partition("=")[2] for line in done.stdout.splitlines() if line.startswith("grant=")]
    if grants:
        print(
            f"This network answers public names with its own addresses; for this run, and no other, granted: {', '.join(grants)}"
        )
        with (project / "kap.toml").open("a") as file:
            file.write(f"private = [{', '.join(repr(g) for g in grants)}]\n".replace("'", '"'))


def take_down(here: Machine, project: Path) -> None:
    files = [project / ".devcontainer" / name for name in ("compose.yml", "kap.overlay.yml")]
    options = [part for file in files for part in ("-f", str(file))]
    here.run("docker", "compose", "-p", f"{project.name}_devcontainer", *options, "down", "-v", "-t", "1", quiet=True)


def main() -> int:
    work = Path(tempfile.mkdtemp(prefix="kap-demo-"))
    (work / "lab").mkdir()
    try:
        cli = devcontainer_cli()
        with machine(work) as here:
            good = demonstrate(here, cli, work)
    except Unavailable as reason:
        print(f"demo: {reason}", file=sys.stderr)
        print(
            "  fix: start Docker (docker info has to answer), or run this as root on Debian or Ubuntu", file=sys.stderr
        )
        return 69
    except Failed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say("Everything came out as it should." if good else "The demo did not come out as it should: see the lines above.")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
