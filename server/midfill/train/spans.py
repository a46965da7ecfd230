"""What is taken out of a file: spans that end where code ends, as in ``eval.cutting``, and some that end anywhere."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from midfill.eval.cutting import KINDS, Code, Span
from midfill.train.rows import LineIndex, read_code

MAX_MIDDLE = 1000  # characters
MAX_LINES = 10
MAX_OF_KIND = 60  # spans of a kind that are kept of one file
MAX_BEGINNING = 6  # most lines that a file that just begins may already have
_WORD_END = re.compile(r"\w+|[^\w\s]")
_WORD_START = re.compile(r"(?<![\w$@])[\w$@]")

# How often each kind is drawn, in percent. A typing user is most often in a line, and next at an empty one. About a
# third of the middles have several lines: with nearly half of them, an adapter that had stopped after short middles ran
# on after more of these (docs/log.md, 2026-11-29).
WEIGHTS = {
    "rest-of-line": 20,
    "line": 14,
    "mid-word": 12,
    "call-arguments": 6,
    "anywhere": 8,
    "lines": 14,
    "block": 7,
    "body": 8,
    "opening": 4,
    "before-code": 3,
    "beginning": 4,
}
NOTHING_BELOW = {"beginning": 0.7}  # share of a kind's holes with nothing below: the file ends there so far


def lines(code: Code, rng: random.Random) -> list[Span]:
    """Return spans of two to ten whole lines, from the end of the first one's indentation."""
    rows = sorted(code.rows)
    found = []
    for _ in range(min(MAX_OF_KIND, len(rows))):
        at = rng.randrange(len(rows))
        last = rng.randint(at + 1, at + MAX_LINES - 1)
        if last < len(rows) and rows[last] - rows[at] <= MAX_LINES + 1:
            found.append((code.rows[rows[at]][0].start, code.end_of(rows[last])))
    return found


def anywhere(code: Code, rng: random.Random) -> list[Span]:
    """Return spans from any character, also in comments and strings, to the end of a word or
    sign, mostly on the same line.

    None begins before the first line of code, as licences are there.
    """
    found = []
    first = code.rows[min(code.rows)][0].start if code.rows else 0
    for _ in range(MAX_OF_KIND if len(code.text) > first + 1 else 0):
        start = rng.randrange(first, len(code.text))
        end = _WORD_END.search(code.text, start + int(rng.expovariate(1 / 40)))
        if end is not None:
            found.append((start, end.end()))
    return found


def body(code: Code, rng: random.Random) -> list[Span]:
    """Return spans of all deeper lines below a line: from that line's end, or from the end
    of the next one's indentation.

    The line that closes the body stays below. The depth is taken from indentation alone, so
    that it works in every language.
    """
    rows, found = LineIndex(code.text), []
    for header in code.rows:
        last = rows.last_deeper(header, MAX_LINES)
        if last is None:
            continue
        first = rows.next(header)
        start = rows.end(header) if first is None or rng.random() < 0.7 else rows.text_start(first)
        found.append((start, rows.end(last)))
    return found


def opening(code: Code, rng: random.Random) -> list[Span]:
    """Return spans of a line, or the rest of it, whose content follows below, deeper: a
    call's name and bracket, a header."""
    rows, found = LineIndex(code.text), []
    for row, tokens in code.rows.items():
        end = rows.end(row)
        is_bare = not any(map(str.isalnum, code.text[tokens[0].start : end]))  # a brace on a line of its own
        if rows.opens(row) and not is_bare and not code.text[end - 1].isalnum():
            inner = [match.start() for match in _WORD_START.finditer(code.text, tokens[0].start + 1, end)]
            found.append((rng.choice([tokens[0].start, *inner]), end))
    return found


def before_code(code: Code, rng: random.Random) -> list[Span]:
    """Return spans of whole lines with their line end, so that code follows right after the cursor.

    The cursor is in the first column, or after the indentation if the line below has the same.
    """
    rows, found = LineIndex(code.text), []
    for row in code.rows:
        last = row + rng.choice((0, 0, 0, 1, 2, 3))
        if any(at not in code.rows for at in range(row, last + 2)):
            continue
        start, end = rows.start(row), rows.start(last + 1)
        if rows.indentation(row) == rows.indentation(last + 1) and rng.random() < 0.4:
            start, end = rows.text_start(row), rows.text_start(last + 1)
        found.append((start, end))
    return found


def beginning(code: Code, rng: random.Random) -> list[Span]:
    """Return what a file has next, after nothing or a few lines: up to ten lines, which end
    at an empty one if one comes.

    The first lines may be a comment; often users have written only that when they want the rest.
    """
    rows, found = LineIndex(code.text), []
    for n_before in range(min(MAX_BEGINNING, rows.n - 2) + 1):
        first = n_before if rows.is_text(n_before) else rows.next(n_before)
        if first is None:
            continue
        n_least = rng.randint(1, 3)
        last = first
        while last - first < MAX_LINES - 1 and last + 1 < rows.n:
            if not rows.is_text(last + 1) and last - first + 1 >= n_least:
                break
            last += 1
        while not rows.is_text(last):
            last -= 1
        found.append((rows.start(n_before), rows.end(last)))
    return found


_RANDOM: dict[str, Callable[[Code, random.Random], list[Span]]] = {
    "lines": lines,
    "anywhere": anywhere,
    "body": body,
    "opening": opening,
    "before-code": before_code,
    "beginning": beginning,
}


class FileSpans:
    """The spans of one file by kind, found when they are first asked for."""

    def __init__(self, text: str, language: str, seed: str) -> None:
        self._text, self._language = text, language
        self._seed = seed
        self._code: Code | None = None
        self._of_kind: dict[str, Sequence[Span]] = {}

    def draw(self, kind: str, rng: random.Random) -> Span | None:
        """Return one of them; None if there is none."""
        found = self._of_kind.get(kind)
        if found is None:
            found = self._of_kind[kind] = self._find(kind)
        return rng.choice(found) if found else None

    def imports(self, start: int, end: int) -> float:
        """Return the share of a span's lines that are import statements, 0 to 1."""
        first = self._text.count("\n", 0, start)
        rows = range(first, first + 1 + self._text.count("\n", start, end))
        return sum(any(leaf.is_import for leaf in self._read.rows.get(row, ())) for row in rows) / len(rows)

    @property
    def _read(self) -> Code:
        if self._code is None:
            self._code = read_code(self._text, self._language)
        return self._code

    def _find(self, kind: str) -> Sequence[Span]:
        rng = random.Random(f"{self._seed}:{kind}")  # noqa: S311 - the same spans, independent of earlier calls
        found = _RANDOM[kind](self._read, rng) if kind in _RANDOM else KINDS[kind](self._read)
        spans = [(start, end) for start, end in found if self._is_sound(start, end, kind)]
        return spans if len(spans) <= MAX_OF_KIND else rng.sample(spans, MAX_OF_KIND)

    def _is_sound(self, start: int, end: int, kind: str) -> bool:
        has_place = start > 0 or kind in NOTHING_BELOW
        return has_place and end - start <= MAX_MIDDLE and bool(self._text[start:end].strip())


def draw_kind(rng: random.Random) -> str:
    """Draw a kind by ``WEIGHTS``."""
    return rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
