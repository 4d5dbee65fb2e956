"""JSON with comments, as devcontainer.json is written: comments and trailing commas go, the rest is JSON.

A byte order mark is allowed. Positions are kept: what is dropped becomes spaces, so an error names the line the author sees.
"""

from __future__ import annotations

import json
import re
from typing import Any

_PART = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|/\*|,(?=(?:\s|//[^\n]*|/\*.*?\*/)*[}\]])', re.S)


def loads(text: str) -> Any:
    """The value of `text`. Raises `ValueError` with line and column in its message."""
    text = text.removeprefix("\ufeff")
    out, end = "", 0
    for found in _PART.finditer(text):
        part = found.group()
        out += text[end : found.start()]
        end = found.end()
        if part == "/*":
            raise ValueError(f"a comment that begins in line {text.count(chr(10), 0, found.start()) + 1} does not end")
        # A comma after nothing is no trailing comma, but an error of its own.
        kept = part.startswith('"') or (part == "," and out.rstrip()[-1:] in ("", "{", "[", ",", ":"))
        out += part if kept else re.sub(r"[^\n]", " ", part)
    return json.loads(out + text[end:])
