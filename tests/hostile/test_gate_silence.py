"""The gate on a network that swallows packets: silence is not a refusal, so nothing is proven and nothing passes.

Found by a machine so busy that an open network took longer to answer than the gate waited: it took the time-out for a closed network.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

GATE = Path(__file__).resolve().parents[2] / "features" / "src" / "kap" / "gate.sh"
TOOLS = ("sh", "sed", "tr", "date", "cut", "awk", "cat", "head", "timeout", "sleep", "getent")

SIDECAR = r"""
import socket, subprocess, sys, threading

listener = socket.create_server(("127.0.0.1", 0))

def serve():
    while True:
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(b"HTTP/1.1 403 Forbidden\r\nX-Kap-Reason: egress.not-listed\r\nContent-Length: 0\r\n\r\n")
        client.close()

threading.Thread(target=serve, daemon=True).start()
environment = {"PATH": sys.argv[1], "KAP_SIDECAR": "127.0.0.1:%d" % listener.getsockname()[1]}
sys.exit(subprocess.run(sys.argv[2:], env=environment).returncode)
"""


def states_from_the_gate(network: str, path: Path) -> dict[str, str]:
    """State by code, from the gate in an empty network namespace that `network` (shell) has set up."""
    server = path / "sidecar.py"
    server.write_text(SIDECAR)
    inside = f"ip link set lo up; {network}; exec {sys.executable} {server} {path} sh {GATE} --lines --wait 2"
    program = ["unshare", "--net", "sh", "-c", inside]
    out = subprocess.run(program, capture_output=True, text=True, timeout=90, check=False)
    rows = [line.split("\t") for line in out.stdout.splitlines() if line.count("\t") == 2]
    assert rows, out.stderr
    return {code: state for state, code, _ in rows}


@pytest.fixture(params=["python3", "perl", "bash", "nc"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A PATH on which one program that opens connections is found, and no other."""
    found = "/usr/bin/python3" if request.param == "python3" else shutil.which(request.param)
    if found is None or not Path(found).exists():
        pytest.skip(f"{request.param} is not installed")
    if os.getuid() != 0 or not shutil.which("ip"):
        pytest.skip("needs root and iproute2 for a network namespace")
    for name in TOOLS:
        tool = shutil.which(name)
        if tool:
            (tmp_path / name).symlink_to(tool)
    (tmp_path / request.param).symlink_to(found)
    return tmp_path


def test_a_network_that_swallows_packets_proves_nothing(path: Path) -> None:
    # A cable into nowhere, and a neighbour that is known and never there: what is sent vanishes.
    swallow = (
        "ip link add v0 type veth peer name v1; ip addr add 10.9.9.2/24 dev v0; ip link set v0 up; ip link set v1 up;"
        "ip neigh add 10.9.9.1 lladdr 02:00:00:00:00:01 dev v0; ip route add default via 10.9.9.1"
    )
    states = states_from_the_gate(swallow, path)
    assert states["gate.no-sidecar"] == "ok"
    assert states["gate.direct-route"] == "unknown"


def test_a_network_without_a_route_is_closed(path: Path) -> None:
    states = states_from_the_gate(":", path)
    assert states["gate.no-sidecar"] == "ok"
    assert states["gate.direct-route"] == "ok"
