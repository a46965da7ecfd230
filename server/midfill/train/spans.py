"""What is taken out of a file: spans that end where code ends, as in ``eval.cutting``, and some that end anywhere."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from midfill.eval.cutting import KINDS, Code, Span

MAX_MIDDLE = 800  # characters
MAX_LINES = 6
MAX_OF_KIND = 60  # spans of a kind that are kept of one file
_WORD_END = re.compile(r"\w+|[^\w\s]")

# How often each kind is drawn. Somebody who types is most often in a line, and next at an empty one.
WEIGHTS = {
    "rest-of-line": 24,
    "line": 16,
    "lines": 16,
    "block": 12,
    "call-arguments": 8,
    "mid-word": 14,
    "anywhere": 10,
}


def lines(code: Code, rng: random.Random) -> list[Span]:
    """Two to six whole lines, from behind the indentation of the first."""
    rows = sorted(code.rows)
    found = []
    for _ in range(min(MAX_OF_KIND, len(rows))):
        at = rng.randrange(len(rows))
        last = rng.randint(at + 1, at + MAX_LINES - 1)
        if last < len(rows) and rows[last] - rows[at] <= MAX_LINES + 1:
            found.append((code.rows[rows[at]][0].start, code.end_of(rows[last])))
    return found


def anywhere(code: Code, rng: random.Random) -> list[Span]:
    """From any character, also in comments and strings, to the end of a word or sign, mostly on the same line.

    Not before the first line of code: there stand licences.
    """
    found = []
    first = code.rows[min(code.rows)][0].start if code.rows else 0
    for _ in range(MAX_OF_KIND if len(code.text) > first + 1 else 0):
        start = rng.randrange(first, len(code.text))
        end = _WORD_END.search(code.text, start + int(rng.expovariate(1 / 40)))
        if end is not None:
            found.append((start, end.end()))
    return found


_RANDOM: dict[str, Callable[[Code, random.Random], list[Span]]] = {"lines": lines, "anywhere": anywhere}


class FileSpans:
    """The spans of one file by kind, found when they are first asked for."""

    def __init__(self, text: str, language: str, seed: str) -> None:
        self._text, self._language = text, language
        self._seed = seed
        self._code: Code | None = None
        self._of_kind: dict[str, Sequence[Span]] = {}

    def draw(self, kind: str, rng: random.Random) -> Span | None:
        """One of them; None where there is none."""
        found = self._of_kind.get(kind)
        if found is None:
            found = self._of_kind[kind] = self._find(kind)
        return rng.choice(found) if found else None

    def _find(self, kind: str) -> Sequence[Span]:
        if self._code is None:
            self._code = Code.read(self._text, self._language) or Code(self._text)
        rng = random.Random(f"{self._seed}:{kind}")  # noqa: S311 - the same spans, whatever was asked for before
        found = _RANDOM[kind](self._code, rng) if kind in _RANDOM else KINDS[kind](self._code)
        spans = [(start, end) for start, end in found if self._is_sound(start, end)]
        return spans if len(spans) <= MAX_OF_KIND else rng.sample(spans, MAX_OF_KIND)

    def _is_sound(self, start: int, end: int) -> bool:
        return start > 0 and end - start <= MAX_MIDDLE and bool(self._text[start:end].strip())


def draw_kind(rng: random.Random) -> str:
    """By ``WEIGHTS``."""
    return rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
