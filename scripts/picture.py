"""Draws docs/images/denial.svg from the real thing: runs `kap run` and `kap why-denied` on a pty and renders what they print.

Usage: python scripts/picture.py [OUT.svg]. Needs bubblewrap and the `rich` package; no network is needed, the host is refused by name.
"""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

REPO = Path(__file__).resolve().parent.parent
KAP = REPO / ".venv" / "bin" / "kap"
WIDTH = 100
POLICY = 'presets = ["python"]\n\n[proxy.network]\nallow = ["docs.example.com"]\n'
COMMANDS = (
    "kap run -- curl -sS http://files.example.org/setup.sh",
    "kap why-denied",
)


def run_on_a_terminal(command: str, where: Path, home: Path) -> str:
    """Run `command` in a shell on a pty; returns what it printed, colours and all."""
    parent, child = pty.openpty()
    environment = {
        "PATH": f"{KAP.parent}:/usr/bin:/bin",
        "HOME": str(home),
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
        "LANG": "C.UTF-8",
    }
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=where,
        env=environment,
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    out = b""
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # the pty's other end is gone: the command has ended
            break
        if not piece:
            break
        out += piece
    process.wait(timeout=60)
    os.close(parent)
    return out.decode(errors="replace").replace("\r\n", "\n")


def main() -> None:
    """Draw the picture; writes the file named by the first argument, else docs/images/denial.svg."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else REPO / "docs" / "images" / "denial.svg"
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with tempfile.TemporaryDirectory() as scratch:
        home, project = Path(scratch, "home"), Path(scratch, "home", "shop")
        project.mkdir(parents=True)
        (project / "kap.toml").write_text(POLICY)
        console.print(Text.assemble(("$ ", "bold green"), "cat kap.toml"))
        console.print(Text(POLICY.rstrip("\n")))
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), command))
            text = run_on_a_terminal(command, project, home).replace(str(project) + "/", "").replace(str(home), "~")
            console.print(Text.from_ansi(text.rstrip("\n")))
    target.parent.mkdir(parents=True, exist_ok=True)
    svg = console.export_svg(title="kap", unique_id="kap")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.S)  # no picture of ours loads a font from elsewhere
    target.write_text(svg)
    print(f"wrote {target}")


if __name__ == "__main__":
    main()
