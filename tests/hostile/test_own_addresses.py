"""An allowed name that points to a public address of the very machine kap runs on must not open the services of that machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from kap.host.own_addresses import OwnAddresses, is_bound_here
from rig.capsule import SECONDS, START, Project

ADDRESS = "8.8.4.4"
ASK = """
import socket
proxy = socket.create_connection(("127.0.0.1", 3128))
proxy.sendall(b"CONNECT {} HTTP/1.1\\r\\n\\r\\n")
print(proxy.recv(4096).decode())
"""
SERVICE = """
import socket, subprocess, sys
service = socket.socket()
service.bind(("{address}", 0))
service.listen()
target = "{address}:%d" % service.getsockname()[1]
ask = sys.argv.pop().replace("{{}}", target)
options = ["run", "-q", "--allow", target + "/tcp", "--", "/usr/bin/python3", "-c", ask]
code = subprocess.run([sys.executable, "-c", {start!r}, *options]).returncode
service.settimeout(0.2)
try:
    service.accept()
    print("REACHED")
except TimeoutError:
    print("not reached")
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("address", "own"), [("127.0.0.1", True), ("192.0.2.7", False), ("::1", True), ("1.1.1.1", False)]
)
def test_the_kernel_knows_what_is_bound_here(address: str, own: bool) -> None:
    assert is_bound_here(address) is own
    assert address not in OwnAddresses()  # not global, so the guard's; or not ours


def test_a_public_address_of_this_machine_is_refused(one: Project) -> None:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("giving a network namespace an address needs root and iproute2")
    script = SERVICE.format(address=ADDRESS, start=START)
    setup = f'ip link set lo up && ip addr add {ADDRESS}/32 dev lo && exec "$@"'
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", setup, "sh", sys.executable, "-c", script, ASK],
        env=one.environment(),
        cwd=one.root,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert "403" in done.stdout, (done.stdout, done.stderr)
    assert "x-kap-reason: egress.own-address" in done.stdout.lower()
    assert "not reached" in done.stdout
