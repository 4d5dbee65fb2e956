"""The images of the tests, made without a registry: Debian's Python as the base, the sidecar from this checkout on top of it."""

from __future__ import annotations

import subprocess

from lab.engine import REPO, Lab, Unavailable

BASE = "kap-e2e-base"
SMALL = "kap-e2e-busybox"
DOCKERFILE = REPO / "src" / "kap" / "sidecar" / "image" / "Dockerfile"


def script(name: str, *arguments: str) -> str:
    """The last line a script of this repository prints. Raises `Unavailable` with the reason it gives."""
    done = subprocess.run([REPO / "scripts" / name, *arguments], capture_output=True, text=True, timeout=400)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise Unavailable(f"scripts/{name}: {said[-1]}")
    return done.stdout.split()[-1]


def base(lab: Lab) -> str:
    """Debian trixie with Python 3.13, curl and perl; also what the dev containers of the tests are."""
    lab.docker("import", "--change", 'CMD ["sleep", "infinity"]', script("test-base.sh"), BASE)
    return BASE


def small(lab: Lab) -> str:
    """What Alpine is to a shell script: busybox and nothing else."""
    directory = lab.directory / "small"
    directory.mkdir()
    (directory / "Dockerfile").write_text(
        f"FROM {BASE} AS from\nFROM scratch\nCOPY --from=from /bin/busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "mkdir", "-p", "/etc", "/tmp", "/usr/bin", "/usr/sbin", "/sbin", "/usr/local/share", "/root"]\n'
        'RUN ["/bin/busybox", "--install", "-s"]\nRUN echo "root:x:0:0:root:/root:/bin/sh" > /etc/passwd && echo "root:x:0:" > /etc/group\n'
        'CMD ["sleep", "infinity"]\n'
    )
    lab.docker("build", "-q", "-t", SMALL, directory)
    return SMALL


def sidecar(lab: Lab, tag: str) -> str:
    """The sidecar's image as its Dockerfile builds it where there is no network."""
    wheels = script("sidecar-wheels.sh")
    options = [
        "--network=none",
        "--build-context",
        f"wheels={wheels}",
        "--build-arg",
        f"BASE={BASE}",
        "-f",
        DOCKERFILE,
        "-t",
        tag,
    ]
    lab.docker("build", "--progress=plain", *options, REPO, timeout=300)
    return tag
