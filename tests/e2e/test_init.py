"""What `kap init` writes, brought up for real: an image, a Dockerfile and a compose project, and what they were before again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from lab.engine import HOST_ADDRESS, HOST_SERVICE_PORT, Lab
from lab.project import DevContainer

POLICY = '[proxy.network]\nallow = ["www.example.com"]\n'
PLAIN = """\
{
  // an image, and an argument that leads out
  "image": "${localEnv:APP_IMAGE}",
  "runArgs": ["--network=host", "--hostname=mine"],
  "initializeCommand": "touch initialized", // of the project
}
"""
DOCKERFILE = '{"build": {"dockerfile": "Dockerfile", "args": {"FROM": "${localEnv:APP_IMAGE}"}}}'


@pytest.fixture(params=["image", "dockerfile"])
def single(request: pytest.FixtureRequest, lab: Lab, project: Callable[..., DevContainer]) -> Iterator[DevContainer]:
    container: DevContainer = project("plain-image")
    container.config.write_text(PLAIN if request.param == "image" else DOCKERFILE)
    (container.config.parent / "Dockerfile").write_text("ARG FROM\nFROM ${FROM}\nRUN touch /built\n")
    (container.directory / "kap.toml").write_text(POLICY)
    yield container
    container.close()
    lab.docker("compose", "-p", "kap-plain-image", "down", "--remove-orphans", check=False)


def test_a_dev_container_without_compose_is_a_capsule(single: DevContainer) -> None:
    before = single.config.read_bytes()
    done = single.kap("init", "--yes", "--feature", "./kap")
    assert done.returncode == 0, done.stderr
    started = single.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert "kap: isolated" in started.stdout + started.stderr

    (app,) = single.containers()
    assert list(single.inspect(app)["NetworkSettings"]["Networks"]) == ["kap-plain-image"]  # type: ignore[index]
    assert single.sh("curl -sS -m 10 http://www.example.com/x").stdout.startswith("fake-internet")
    assert single.sh("env -i curl -sS -m 10 http://www.example.com/x").stdout.startswith("fake-internet")
    refused = single.sh("curl -sS -m 10 -o /dev/null -w '%{http_code}' http://evil.example.org/")
    assert refused.stdout == "403"
    for address in ("93.184.216.2:80", f"{HOST_ADDRESS}:{HOST_SERVICE_PORT}"):
        assert single.sh(f"env -i curl -sS -m 4 http://{address}/").returncode != 0
    inside = single.sh("touch $(ls -d /workspaces/*)/.devcontainer/x").stderr
    assert "Read-only" in inside
    status = single.kap("status")
    assert status.returncode == 0, status.stdout

    assert single.kap("uninit", "--yes").returncode == 0
    assert single.config.read_bytes() == before


def test_without_its_network_it_does_not_start(single: DevContainer, lab: Lab) -> None:
    assert single.kap("init", "--yes", "--feature", "./kap").returncode == 0
    value = json.loads(single.kap("init", "--json", "--dry-run").stdout)
    assert value["files"] == []
    text = single.config.read_text()
    single.config.write_text(text.replace('"kap", "overlay", "--refresh"', '"true", "overlay", "--refresh"'))
    started = single.up()
    assert started.returncode != 0
    assert "kap-plain-image" in started.stdout + started.stderr
    assert all(not single.inspect(c)["State"]["Running"] for c in single.containers())  # type: ignore[index]


def test_a_compose_project_is_a_capsule_after_init(lab: Lab, project: Callable[..., DevContainer]) -> None:
    container: DevContainer = project("compose-with-db")
    plain = '{\r\n\t"dockerComposeFile": "compose.yml",\r\n\t"service": "app", // the one\r\n\t"workspaceFolder": "/workspace",\r\n}\r\n'
    container.config.write_bytes(plain.encode())
    done = container.kap("init", "--yes", "--feature", "./kap")
    assert done.returncode == 0, done.stderr
    assert "judged as they are written" not in done.stderr
    started = container.up()
    assert started.returncode == 0, started.stdout + started.stderr
    assert container.sh("curl -sS -m 10 http://www.example.com/x").stdout.startswith("fake-internet")
    assert container.kap("status").returncode == 0
    assert "nothing to do" in container.kap("init", "--yes").stdout
    assert container.kap("uninit", "--yes").returncode == 0
    assert container.config.read_bytes() == plain.encode()
    assert not container.overlay.exists()
