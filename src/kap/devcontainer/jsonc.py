"""JSON with comments, as devcontainer.json is written: comments and trailing commas go, the rest is JSON.

A byte order mark is allowed. Positions are kept: what is dropped becomes spaces, so an error names the line the author sees.
"""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|/\*|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.S)


def loads(text: str) -> Any:
    """The value of `text`. Raises `ValueError` with line and column in its message."""

    def blank(match: re.Match[str]) -> str:
        part = match.group()
        if part.startswith('"'):
            return part
        if part == "/*":
            line = text.count("\n", 0, match.start()) + 1
            raise ValueError(f"a comment that begins in line {line} does not end")
        return re.sub(r"[^\n]", " ", part)

    return json.loads(_TOKEN.sub(blank, text.removeprefix("\ufeff")))
