"""``kap status`` and ``kap overlay`` as a person meets them where there is nothing to check: an error with the way out, no traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kap.cli.status import command
from kap.devcontainer.inspection import Check
from kap.host import status
from kap.host.status import Report


def kap(*arguments: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "kap.cli.main", *arguments]
    environment = {**os.environ, "DOCKER_HOST": f"unix://{cwd}/none.sock", "KAP_HOME": str(cwd / "home"), **env}
    return subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env=environment, timeout=60)


def test_without_an_engine(tmp_path: Path) -> None:
    done = kap("status", cwd=tmp_path)
    assert done.returncode == 69
    assert done.stderr.splitlines() == [
        f"kap: no container engine answers at unix://{tmp_path}/none.sock: there is no such socket",
        "  fix: start the engine (Linux: sudo systemctl start docker) and check it with: docker info",
    ]


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("tcp://127.0.0.1:{closed}", "nothing listens there"),
        ("tcp://engine.invalid:2375", "there is no such host"),
        ("tcp://127.0.0.1", "not an address"),
        ("carrier-pigeon://x", "not an address"),
        ("tcp://127.0.0.1:99999", "not an address"),
        ("tcp://\x1b[2J\u202e", "not an address"),
    ],
)
def test_an_address_without_an_engine(tmp_path: Path, address: str, why: str) -> None:
    with socket.socket() as bound:  # bound, and nobody listens
        bound.bind(("127.0.0.1", 0))
        done = kap("status", cwd=tmp_path, DOCKER_HOST=address.format(closed=bound.getsockname()[1]))
    assert done.returncode == 69
    assert why in done.stderr
    assert "docker info" in done.stderr
    for raw in ("Error(", "Error while", "HTTPConnectionPool", "Traceback", "\x1b", "\u202e"):
        assert raw not in done.stderr


@pytest.mark.parametrize("name", ["status", "overlay"])
def test_a_directory_that_is_none(tmp_path: Path, name: str) -> None:
    done = kap(name, "-C", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere is not a directory" in done.stderr


def test_overlay_without_a_dev_container(tmp_path: Path) -> None:
    done = kap("overlay", cwd=tmp_path)
    assert done.returncode == 2
    assert "has no dev container" in done.stderr


def test_overlay_without_docker(tmp_path: Path) -> None:
    (tmp_path / ".devcontainer.json").write_text('{"dockerComposeFile": "compose.yml", "service": "app"}')
    done = kap("overlay", cwd=tmp_path, PATH="/nonexistent")
    assert done.returncode == 69
    assert "docker command was not found" in done.stderr


CHECKS = (
    Check("app", "ok", "gate.ipv6", "no IPv6"),
    Check("app", "failed", "gate.direct-route", "open\x1b[2J\u202e", "rebuild"),
    Check("inside", "unknown", "gate.unknown", "not asked", "try again"),
)


@pytest.mark.parametrize(("checks", "code"), [(CHECKS[:1], 0), (CHECKS[:2], 1), ((CHECKS[0], CHECKS[2]), 1), ((), 1)])
def test_anything_but_ok_is_not_ok(monkeypatch: pytest.MonkeyPatch, checks: tuple[Check, ...], code: int) -> None:
    monkeypatch.setattr(status, "report", lambda directory: Report("/p", checks))
    assert CliRunner().invoke(command, ["--json"], standalone_mode=False).return_value == code
    assert CliRunner().invoke(command, [], standalone_mode=False).return_value == code


def test_what_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "report", lambda directory: Report("/p", CHECKS))
    shown = CliRunner().invoke(command, [], standalone_mode=False).output
    assert "failed  app            open\\x1b[2J\\u202e (gate.direct-route)" in shown
    assert "fix: rebuild" in shown
    assert "NOT CLOSED: 1 failed, 1 unknown" in shown
    assert "\x1b" not in shown
    answer = json.loads(CliRunner().invoke(command, ["--json"], standalone_mode=False).output)
    assert (answer["v"], answer["ok"], len(answer["checks"])) == (1, False, 3)


def test_the_gate_comes_with_kap() -> None:
    assert status.gate_script().startswith("#!/bin/sh")
