"""Write docs/codes/README.md, the index of every code, from the pages beside it; with --check only say whether it is up to date."""

from __future__ import annotations

import sys
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "docs" / "codes"
INDEX = PAGES / "README.md"

HEAD = """\
# Codes

<!-- Written by scripts/codes.py from the pages beside it; change those and run the script. -->

One code per reason, the same everywhere: in `kap explain` and `kap why-denied`, in the log, in the `X-Kap-Reason` header, in `kap check`.

| family | who says it |
|---|---|
| `egress.*` | the proxy, about a connection or a request |
| `dns.*` | the name server, about a query |
| `config.*` | `kap check`, about a file |
| `capsule.*` | `kap run`, about the machine it runs on |
| `gate.*` | the Feature's gate and `kap status`, about a dev container |
| `sidecar.*`, `audit.*` | kap, about itself |
"""


def entry(page: Path) -> str:
    """One row: the code, linked, and the page's first sentence."""
    lines = [line for line in page.read_text().splitlines() if line.strip()]
    return f"| [{page.stem}]({page.name}) | {lines[1].strip() if len(lines) > 1 else ''} |"


def build() -> str:
    """The whole index as text."""
    families: dict[str, list[str]] = {}
    for page in sorted(PAGES.glob("*.md")):
        if page != INDEX:
            families.setdefault(page.stem.split(".")[0], []).append(entry(page))
    parts = [f"\n## {family}\n\n| code | |\n|---|---|\n" + "\n".join(rows) + "\n" for family, rows in families.items()]
    return HEAD + "".join(parts)


def main() -> int:
    """0 when the index is up to date or was written; 1 when --check finds it is not."""
    text = build()
    if "--check" in sys.argv[1:]:
        return 0 if INDEX.is_file() and INDEX.read_text() == text else 1
    INDEX.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
