"""Documents that must say what the program says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from kap.cli.main import COMMANDS

REPO = Path(__file__).resolve().parents[2]


def test_the_readme_help_block_is_the_help() -> None:
    block = re.search(r"<!-- kap --help -->\n```\n(.*?)```", (REPO / "README.md").read_text(), re.S)
    assert block is not None, "README.md has no `kap --help` block"
    environment = {"PATH": "/usr/bin:/bin", "COLUMNS": "80", "LANG": "C.UTF-8"}
    kap = Path(sys.executable).with_name("kap")
    out = subprocess.run([kap, "--help"], capture_output=True, text=True, env=environment, timeout=60, check=True)
    assert block.group(1) == out.stdout


def test_every_visible_command_is_in_the_readme_or_the_quickstart() -> None:
    text = (REPO / "README.md").read_text() + "".join(p.read_text() for p in (REPO / "docs").glob("*.md"))
    missing = [name for name, (_, _, hidden) in COMMANDS.items() if not hidden and f"kap {name}" not in text]
    assert missing == []


def test_links_inside_the_repository_lead_somewhere() -> None:
    broken = []
    for page in [*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text()):
            if not (page.parent / target).exists():
                broken.append(f"{page.relative_to(REPO)} -> {target}")
    assert broken == []


def test_the_index_of_codes_is_up_to_date() -> None:
    out = subprocess.run([sys.executable, str(REPO / "scripts" / "codes.py"), "--check"], timeout=60, check=False)
    assert out.returncode == 0, "run: make docs"
