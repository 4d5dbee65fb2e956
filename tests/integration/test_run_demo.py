"""``make demo``, where the network has a Python package index."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from rig.capsule import why_not

REPO = Path(__file__).resolve().parents[2]


def index_host() -> str:
    from kap.config.layers import load

    config = load(REPO / "test-projects" / "demo" / "kap.toml", global_path=None).config
    assert config is not None
    return next(rule.text for rule in config.rules if rule.via == "python" and "*" not in rule.text)


def test_everything_comes_out_as_it_should(tmp_path: Path) -> None:
    if why_not():
        pytest.skip(why_not())
    if not (REPO / ".venv" / "bin" / "kap").exists() or shutil.which("bash") is None:
        pytest.skip("kap is not set up in .venv")
    try:
        socket.getaddrinfo(index_host(), 443)
    except OSError:
        pytest.skip("this network does not know the Python package index")
    done = subprocess.run(
        [str(REPO / "scripts" / "demo.sh")],
        env={**os.environ, "DEMO_SECRET": "outer", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything came out as it should" in done.stdout
    assert "\x1b" not in done.stdout, "plain without a terminal"
    assert "not-for-agents" not in done.stdout, "neither the secret nor the key was seen"
    assert "home/.ssh/id_ed25519" in done.stdout
    for code in ("egress.not-listed", "dns.not-listed", "egress.always-denied"):
        assert code in done.stdout
    assert list(tmp_path.iterdir()) == [], "nothing is left"
