"""A file's lines, and its words if a grammar does not say enough about them."""

from __future__ import annotations

import re

from midfill.eval.cutting import Code, Leaf
from midfill.syntax import languages

TAB = 4  # columns
# Markup and configuration: their content is text, or another language, in leaves of several lines.
BY_LINES = frozenset({
    "html", "xml", "vue", "svelte", "yaml", "toml", "ini", "dockerfile", "makefile", "cmake",
})  # fmt: skip
_TOKEN = re.compile(r"\w+|[^\w\s]+")


class LineIndex:
    """The lines of a text by number, from 0. Places are code points of the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._lines = text.split("\n")
        self._starts = [0]
        for line in self._lines:
            self._starts.append(self._starts[-1] + len(line) + 1)

    @property
    def n(self) -> int:
        """The number of lines."""
        return len(self._lines)

    def start(self, row: int) -> int:
        """Return the place of its first column."""
        return self._starts[row]

    def text_start(self, row: int) -> int:
        """Return the place after its indentation."""
        return self._starts[row] + len(self.indentation(row))

    def end(self, row: int) -> int:
        """Return the place after its last character that is not white space."""
        return self._starts[row] + len(self._lines[row].rstrip())

    def indentation(self, row: int) -> str:
        """Return the white space it begins with."""
        line = self._lines[row]
        return line[: len(line) - len(line.lstrip())]

    def is_text(self, row: int) -> bool:
        """Whether the line holds more than white space."""
        return bool(self._lines[row].strip())

    def next(self, row: int) -> int | None:
        """Return the next line with text below ``row``; None at the end."""
        return next((at for at in range(row + 1, self.n) if self.is_text(at)), None)

    def opens(self, row: int) -> bool:
        """Whether the next line with text is deeper."""
        below = self.next(row)
        return below is not None and self._depth(below) > self._depth(row)

    def last_deeper(self, row: int, most: int) -> int | None:
        """Return the last of the deeper lines below ``row``; None if there is none, or more than ``most``."""
        depth, last = self._depth(row), None
        for at in range(row + 1, self.n):
            if self.is_text(at):
                if self._depth(at) <= depth:
                    break
                last = at
            if at - row > most:
                return None
        return last

    def _depth(self, row: int) -> int:
        return len(self.indentation(row).expandtabs(TAB))


def read_code(text: str, language: str) -> Code:
    """Return the file's tokens by its grammar; by its words if it is prose or markup or has no grammar."""
    known = languages.of(language)
    if known.prose or language in BY_LINES:
        return by_words(text)
    return Code.read(text, language) or by_words(text)


def by_words(text: str) -> Code:
    """Return every line with text as a line of code."""
    code, start = Code(text), 0
    for row, line in enumerate(text.split("\n")):
        found = [
            Leaf(start + one.start(), start + one.end(), row, "word" if one[0][0].isalpha() else "sign", one[0])
            for one in _TOKEN.finditer(line)
        ]
        if found:
            code.rows[row] = found
        start += len(line) + 1
    return code
