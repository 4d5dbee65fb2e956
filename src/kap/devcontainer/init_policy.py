"""The kap.toml that ``kap init`` proposes. Pure.

Rules: it holds presets and nothing that was guessed; each preset stands on a line of its own with what spoke for it; it is checked like
any other file before it is written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from kap.config import presets
from kap.config.check import check
from kap.devcontainer.detect import Sign
from kap.document.toml import parse
from kap.errors import KapError, UsageError

_HEAD = """\
# What the capsule of this project may reach. Everything else is refused, with the reason in: kap why-denied
# After a change: kap check, then kap overlay accepts it on this machine. Commit this file.
"""
_TAIL = """
[proxy.network]
allow = []  # "docs.example.com", "*.cdn.example.com", "git.example.com:22"
deny = []
"""


def write(signs: Sequence[Sign]) -> str:
    """The text of a kap.toml with the presets of `signs`. Raises `UsageError` for a preset that does not exist."""
    for sign in signs:
        if presets.expand(sign.preset) is None:
            raise UsageError(f"there is no preset {sign.preset!r}", "`kap presets` lists them")
    lines = [f"  {json.dumps(s.preset, ensure_ascii=False)}," for s in signs]
    wide = max(map(len, lines), default=0)
    listed = "".join(
        f"{line:<{wide}}  # {_comment(sign.seen)}".rstrip(" #") + "\n" for line, sign in zip(lines, signs, strict=True)
    )
    text = _HEAD + (f"presets = [\n{listed}]\n" if listed else "presets = []  # kap presets lists them\n") + _TAIL
    checked = check(parse(text), path="kap.toml", advice=False)
    if checked.file is None:
        raise KapError(f"the proposed kap.toml has errors: {checked.problems[0].message}", "name the presets: --preset")
    return text


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text)[:60]
