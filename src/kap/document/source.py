"""Places in a text: byte offsets (tree-sitter), line and column (tomllib) and characters (`Span`) converted into one another, once.

Lines end at LF only (TOML 1.0: LF or CRLF), so a lone CR never starts a line.
"""

from __future__ import annotations

from bisect import bisect_right

from kap.document.route import Span


class Source:
    """A text with its UTF-8 bytes and line starts. Lone surrogates are carried through, so no text is refused here.

    `plain` is the text the parsers read: a byte order mark in front becomes a space, so that every column stays where it is.
    """

    __slots__ = ("_byte_lines", "_lines", "ascii", "data", "plain", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.plain = " " + text[1:] if text.startswith("\ufeff") else text
        self.data = self.plain.encode("utf-8", "surrogatepass")
        self.ascii = len(self.data) == len(text)
        self._lines = _line_starts(text)
        self._byte_lines = self._lines if self.ascii else _line_starts(self.data)

    def char_offset(self, byte_offset: int) -> int:
        """The character at a byte offset (which must lie on a character boundary)."""
        if self.ascii:
            return byte_offset
        row = bisect_right(self._byte_lines, byte_offset) - 1
        piece = self.data[self._byte_lines[row] : byte_offset]
        return self._lines[row] + len(piece.decode("utf-8", "surrogatepass"))

    def offset(self, line: int, column: int) -> int:
        """The character offset of a zero-based line and column, held inside the text."""
        if line >= len(self._lines):
            return len(self.text)
        return min(self._lines[line] + max(column, 0), len(self.text))

    def line_end(self, line: int) -> int:
        """The offset behind the last character of a zero-based line, its line end left out."""
        if line + 1 >= len(self._lines):
            return len(self.text)
        end = self._lines[line + 1] - 1
        return end - 1 if end > self._lines[line] and self.text[end - 1] == "\r" else end

    def line_of(self, offset: int) -> int:
        """The zero-based line a character offset is on."""
        return bisect_right(self._lines, offset) - 1

    def span(self, start: int, end: int) -> Span:
        """The `Span` of a half-open range of characters."""
        line, end_line = self.line_of(start), self.line_of(end)
        return Span(start, end, line, start - self._lines[line], end_line, end - self._lines[end_line])


def _line_starts(text: str | bytes) -> list[int]:
    starts, position = [0], 0
    newline: str | bytes = "\n" if isinstance(text, str) else b"\n"
    while True:
        position = text.find(newline, position) + 1  # type: ignore[arg-type]
        if not position:
            return starts
        starts.append(position)
