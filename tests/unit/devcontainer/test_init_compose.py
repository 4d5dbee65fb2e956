"""Compose files: read without an engine, and unsafe lines taken out of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kap.devcontainer import compose_cut, compose_files, services
from kap.errors import ConfigError

FILE = """\
# the project
x-shared: &shared
  restart: always
services:
  app:
    <<: *shared
    image: debian:12   # base
    privileged: true
    cap_add:
      - SYS_PTRACE
      - NET_ADMIN # why not
    volumes:
      - ..:/workspace:cached
      # the engine
      - /var/run/docker.sock:/var/run/docker-host.sock
      - type: bind
        source: /
        target: /host
    ports: ["80:80"]
  db:
    image: debian:12
    network_mode: host
    pid: "host"
    extra_hosts: ["a:10.0.0.1"]
    volumes: [/var/run/docker.sock:/d]
volumes:
  data:
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "compose.yml"
    path.write_bytes(text.encode())
    return path


def test_every_service_is_judged(tmp_path: Path) -> None:
    model = compose_files.read([write(tmp_path, FILE)]).project
    found = services.judge(model, ())
    assert sorted((f.code, f.where) for f in found) == [
        ("gate.capabilities", "service app: cap_add: NET_ADMIN"),
        ("gate.engine-socket", "service app: mounts /var/run/docker.sock"),
        ("gate.engine-socket", "service db: mounts /var/run/docker.sock"),
        ("gate.host-mount", "service app: mounts /"),
        ("gate.host-namespace", "service db: pid: host"),
        ("gate.privileged", "service app: privileged: true"),
    ]
    told = "\n".join(services.taken_away(model))
    assert "service app: its ports" in told
    assert "service db: network_mode: host" in told
    assert "service db: extra_hosts" in told


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_unsafe_lines_go_and_no_others(tmp_path: Path, newline: str) -> None:
    path = write(tmp_path, FILE.replace("\n", newline))
    findings = services.judge(compose_files.read([path]).project, ())
    cut = compose_cut.cut([path], tmp_path, findings)
    assert [f.where for f in cut.left] == []
    (change,) = cut.changes
    assert change.after is not None
    gone = set(FILE.splitlines()) - set(change.after.decode().splitlines())
    assert gone == {
        "    privileged: true",
        "      - NET_ADMIN # why not",
        "      - /var/run/docker.sock:/var/run/docker-host.sock",
        "      - type: bind",
        "        source: /",
        "        target: /host",
        '    pid: "host"',
        "    volumes: [/var/run/docker.sock:/d]",
    }
    path.write_bytes(change.after)
    assert services.judge(compose_files.read([path]).project, ()) == ()


def test_what_would_take_something_else_with_it_stays_and_is_refused(tmp_path: Path) -> None:
    flow = "services: {app: {image: x, privileged: true}, db: {image: x}}\n"
    path = write(tmp_path, flow)
    findings = services.judge(compose_files.read([path]).project, ())
    cut = compose_cut.cut([path], tmp_path, findings)
    assert cut.changes == ()
    assert cut.left == findings


def test_an_anchor_that_is_used_elsewhere_is_not_broken(tmp_path: Path) -> None:
    path = write(tmp_path, "services:\n  a: &a\n    image: x\n    privileged: true\n  b:\n    <<: *a\n")
    findings = services.judge(compose_files.read([path]).project, ())
    cut = compose_cut.cut([path], tmp_path, findings)
    assert {f.where for f in findings} == {"service a: privileged: true", "service b: privileged: true"}
    assert cut.left == findings
    assert cut.changes == ()


def test_later_files_lie_over_earlier_ones(tmp_path: Path) -> None:
    first = write(tmp_path, "services:\n  app:\n    image: a\n    cap_add: [NET_RAW]\n")
    second = tmp_path / "b.yml"
    second.write_text(
        "include: [x.yml]\nservices:\n  app:\n    ports: !reset []\n    extends: {service: y}\n  db: {image: b}\n"
    )
    reading = compose_files.read([first, second])
    assert set(reading.project.services) == {"app", "db"}
    assert reading.project.services["app"]["cap_add"] == ["NET_RAW"]
    assert reading.blind == ("b.yml: include", "b.yml: extends of app")


@pytest.mark.parametrize("text", ["services: [", "\x00", "a: !!python/object:x {}", "- &a [*a]"])
def test_what_is_no_yaml_is_a_plain_error_or_nothing(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    try:
        assert compose_files.read([path]).project.services == {}
    except ConfigError as error:
        assert "compose.yml" in error.message
    with pytest.raises(ConfigError, match=r"missing\.yml"):
        compose_files.read([tmp_path / "missing.yml"])
