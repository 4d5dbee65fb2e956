"""Nothing that could move a cursor, hide or reorder text gets through `printable`."""

from __future__ import annotations

import unicodedata

import pytest

from kap.audit.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("api.example.com", "api.example.com"),
        ("", ""),
        ("münchen 日本 é", "münchen 日本 é"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\rc\td", "a\\x0ab\\x0dc\\x09d"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("\u2066x\u2069\u061c\u200f", "\\u2066x\\u2069\\u061c\\u200f"),
        ("a\u200bb\u2060c\ufeff", "a\\u200bb\\u2060c\\ufeff"),
        ("line\u2028par\u2029", "line\\u2028par\\u2029"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("\ue000", "\\ue000"),
        ("a\u00a0b\u3000", "a\\xa0b\\u3000"),
        ("\u3164\uffa0\u2800", "\\u3164\\uffa0\\u2800"),
        ("x\ufe0f", "x\\ufe0f"),
        ("back\\x1b", "back\\\\x1b"),
        ("e\u0301", "e\u0301"),
        ("e" + "\u0301" * 4, "e\u0301\u0301\\u0301\\u0301"),
    ],
)
def test_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_every_code_point_is_harmless() -> None:
    for code in range(0x110000):
        for char in printable(chr(code)):
            assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}, hex(code)


def test_long_text_is_cut_and_says_so() -> None:
    assert printable("a" * 300) == "a" * 255 + "…"
    assert printable("\x1b" * 300, limit=2) == "\\x1b\\x1b…"
