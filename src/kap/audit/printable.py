"""The one way untrusted text reaches a terminal: everything that could move the cursor, hide, or reorder what a person reads is
shown as an escape. Pure.

Rules: the result is unambiguous (a backslash is doubled), one line, and bounded. Sources: Unicode general categories (UAX 44), bidi
controls (UAX 9), ECMA-48 (C0 and C1 controls).
"""

from __future__ import annotations

import unicodedata

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_SELECTORS = ((0xFE00, 0xFE0F), (0xE0100, 0xE01EF), (0x180B, 0x180F))
_BLANK = frozenset({0x115F, 0x1160, 0x2800, 0x3164, 0xFFA0})  # letters that draw nothing: Hangul fillers, blank Braille
_MARKS_IN_A_ROW = 2


def printable(text: str, limit: int = 255, *, composed: bool = False) -> str:
    """`text` safe to print on a terminal, cut after `limit` characters of input (an ellipsis says so). `composed`: it is a sentence of
    ours, in which what others chose is escaped already: a backslash stays single.

    Controls, format and bidi characters, private and unassigned code points, lone surrogates, line separators, blanks other than
    U+0020, and combining marks piled more than two high become ``\\x1b``, ``\\u202e`` or ``\\U000e0041``.
    """
    head = text[:limit]
    if head.isascii() and head.isprintable() and (composed or "\\" not in head):
        return head if len(text) <= limit else head + "…"
    out: list[str] = []
    marks = 0
    for char in head:
        marks = marks + 1 if unicodedata.category(char) in {"Mn", "Me"} else 0
        if marks > _MARKS_IN_A_ROW:
            out.append(escape(char))
        else:
            out.append(char if composed and char == "\\" else _shown(char))
    return "".join(out) + ("…" if len(text) > limit else "")


def escape(char: str) -> str:
    """One character as ``\\xHH``, ``\\uHHHH`` or ``\\UHHHHHHHH``."""
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _shown(char: str) -> str:
    if char == "\\":
        return "\\\\"
    if char == " ":
        return char
    code = ord(char)
    category = unicodedata.category(char)
    hidden = category in _HIDDEN or category == "Zs" or code in _BLANK or any(a <= code <= b for a, b in _SELECTORS)
    return escape(char) if hidden else char
