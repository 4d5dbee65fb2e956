"""Where things are in a text: symbolically (`Route`) and in characters (`Span`)."""

from __future__ import annotations

import msgspec

Route = tuple[str | int, ...]
"""Where a value stands in a document, by keys and indices: ``("proxy", "network", "allow", 2)``."""


class Span(msgspec.Struct, frozen=True):
    """Half-open range in the text. Offsets count characters (code points); `line` and `column` are zero-based, columns count characters."""

    start: int
    end: int
    line: int
    column: int
    end_line: int
    end_column: int
