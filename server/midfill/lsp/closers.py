"""Closers that the editor inserted by itself: the user typed "(", and the buffer holds "()".

The user did not write them, so a prompt leaves them out, and a suggestion that closes what is open replaces them. The
editor forgets them as soon as the cursor leaves them, and so does this module.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from midfill.syntax.lexical import string_end, unopened_at

PAIRS = ("()", "[]", "{}", '""', "''", "``")
QUOTES = frozenset("\"'`")

Point = tuple[int, int]  # a line, and a code point in it


@dataclass(frozen=True, slots=True)
class Closers:
    """The auto-inserted closers to the right of the cursor, the innermost first, and their position."""

    row: int = 0
    index: int = 0
    text: str = ""

    def at(self, point: Point) -> str:
        """Return the auto-inserted closers if the cursor is right before them, else ""."""
        return self.text if point == (self.row, self.index) else ""

    def edited(self, start: Point, end: Point, text: str) -> Closers:
        """Return the closers after ``text`` replaced the text from ``start`` to ``end``."""
        here = (self.row, self.index) if self.text else None
        if text in PAIRS and start == end:
            kept = self.text if start == here else ""
            return Closers(start[0], start[1] + 1, text[1] + kept)
        if here is None or start[0] != self.row or end[0] != self.row or "\n" in text or "\r" in text:
            return NONE
        if end <= here:  # the user typed or deleted text before them
            return replace(self, index=self.index + len(text) - (end[1] - start[1]))
        if start == here and text == self.text[:1] and end[1] == self.index + 1:  # the user typed over the first one
            return replace(self, index=self.index + 1, text=self.text[1:])
        return NONE


NONE = Closers()


def n_covered(middle: str, closers: str, language: str) -> int:
    """Return how many of ``closers`` the middle writes itself; the middle replaces these."""
    return len(_ends(middle, closers, language))


def steady(middle: str, closers: str, language: str) -> str:
    """Return the part of a growing middle that ends before it writes a covered closer a second time.

    An editor looks for the closer of the buffer in the suggestion. If several match, it picks another one each time
    the text grows, and a bracket hops from line to line.
    """
    ends = _ends(middle, closers, language)
    again = (at for at in range(ends[-1], len(middle)) if middle[at] in closers[: len(ends)]) if ends else iter(())
    return middle[: next(again, len(middle))].rstrip() if ends else middle


def _ends(middle: str, closers: str, language: str) -> list[int]:
    """Yield where each of ``closers`` that the middle writes itself ends in it."""
    ends, at = list[int](), 0
    for closer in closers:
        rest = middle[at:]
        if closer in QUOTES:
            end = string_end(rest, language, closer)
        else:
            unopened = unopened_at(rest, language)
            end = None if unopened is None else unopened + 1
        if end is None or rest[end - 1] != closer:
            return ends
        at += end
        ends.append(at)
    return ends
