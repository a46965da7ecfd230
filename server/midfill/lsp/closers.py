"""Closers that the editor put in by itself: "(" was typed, and "()" stands there.

Nobody wrote them, so a prompt leaves them out, and a suggestion that closes what is open takes their place. The editor
forgets about them as soon as the cursor leaves them, and so does this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from midfill.syntax.lexical import string_end, unopened_at

PAIRS = ("()", "[]", "{}", '""', "''", "``")
QUOTES = frozenset("\"'`")

Point = tuple[int, int]  # a line and a code point in it


@dataclass(frozen=True, slots=True)
class Closers:
    """Closers right of the cursor, the innermost first, and where they begin."""

    row: int = 0
    index: int = 0
    text: str = ""

    def at(self, point: Point) -> str:
        """They, if they stand there."""
        return self.text if point == (self.row, self.index) else ""

    def edited(self, start: Point, end: Point, text: str) -> Closers:
        """They after what stands from ``start`` to ``end`` was replaced by ``text``."""
        here = (self.row, self.index) if self.text else None
        if text in PAIRS and start == end:
            kept = self.text if start == here else ""
            return Closers(start[0], start[1] + 1, text[1] + kept)
        if here is None or start[0] != self.row or end[0] != self.row or "\n" in text or "\r" in text:
            return NONE
        if end <= here:  # typed or deleted before them
            return replace(self, index=self.index + len(text) - (end[1] - start[1]))
        if start == here and text == self.text[:1] and end[1] == self.index + 1:  # the first was typed over
            return replace(self, index=self.index + 1, text=self.text[1:])
        return NONE


NONE = Closers()


def n_covered(middle: str, closers: str, language: str) -> int:
    """How many of ``closers`` the middle writes itself, so that it takes their place."""
    return len(_ends(middle, closers, language))


def steady(middle: str, closers: str, language: str) -> str:
    """The beginning of a middle that still grows up to where it writes a covered closer a second time.

    An editor finds the closer that stands there in the text by comparing the two, and with several to choose from takes
    another one each time the text grows: a bracket hops from line to line.
    """
    ends = _ends(middle, closers, language)
    again = (at for at in range(ends[-1], len(middle)) if middle[at] in closers[: len(ends)]) if ends else iter(())
    return middle[: next(again, len(middle))].rstrip() if ends else middle


def _ends(middle: str, closers: str, language: str) -> list[int]:
    """Where in the middle each of ``closers`` ends that it writes itself."""
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
