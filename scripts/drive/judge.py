"""The rule by which a suggestion is judged: what is shown at a pause, compared with what the session types next.

White space counts as one space, and both must agree whether they begin on a new line. With that:

- *useful*: the first line that is shown is the first line that follows; or all that is shown is how the following text
  begins, up to the end of a word, at least a word or three characters;
- *half right*: the beginning is right, at least a word or three characters, and then it is wrong or stops in a word;
  also what is right as far as it goes and shorter than that;
- *annoying*: it is wrong from the first word;
- *nothing*: nothing was shown during the look.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from midfill.eval.keys import n_shared

Verdict = Literal["useful", "half right", "annoying", "nothing"]
VERDICTS: tuple[Verdict, ...] = ("useful", "half right", "annoying", "nothing")
MIN_RIGHT = 3  # characters that are worth as much as a word
_PIECE = re.compile(r"\w+|[^\w\s]|\s+")
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a suggestion was worth."""

    verdict: Verdict
    n_right: int = 0  # characters at the beginning, normalised
    n_read: int = 0  # characters of the first line that is shown: what the user reads before judging it
    whole: bool = False  # all of it follows


def judge(shown: str, follows: str) -> Judgement:
    """Judge what is shown at the cursor, where ``follows`` is the final text there."""
    if not shown.strip():
        return Judgement("nothing")
    n_read = len(first_line(shown))
    if starts_a_line(shown) != starts_a_line(follows):
        return Judgement("annoying", 0, n_read)
    seen, wanted = normal(shown), normal(follows)
    n_right, whole_words = _right(seen, wanted)
    whole = n_right == len(seen) and whole_words
    has_worth = n_right >= MIN_RIGHT or _has_word(seen[:n_right], wanted)
    if first_line(shown) == first_line(follows) or (whole and has_worth):
        return Judgement("useful", n_right, n_read, whole)
    if has_worth or n_right == len(seen):
        return Judgement("half right", n_right, n_read, whole)
    return Judgement("annoying", n_right, n_read)


def next_word(shown: str, follows: str) -> str:
    """Return the first word that is shown, if it is also the next word that follows; otherwise ""."""
    seen, wanted = _WORD.match(shown), _WORD.match(follows)
    if not seen or starts_a_line(shown) != starts_a_line(follows):
        return ""
    if wanted and seen[0].split() == wanted[0].split():
        return seen[0]
    # Signs may be apart in one and together in the other.
    word = seen[0].strip()
    return seen[0] if not word[-1:].isalnum() and follows.lstrip().startswith(word) else ""


def normal(text: str) -> str:
    """Return the text with white space as one space, none around it."""
    return " ".join(text.split())


def first_line(text: str) -> str:
    """Return the first line that is not blank, normalised."""
    return next((normal(line) for line in text.split("\n") if line.strip()), "")


def starts_a_line(text: str) -> bool:
    """Whether a line break comes before anything else."""
    return "\n" in text[: len(text) - len(text.lstrip())]


def _right(seen: str, wanted: str) -> tuple[int, bool]:
    """Return how many characters of ``seen`` begin ``wanted``, and whether they end where a word of ``wanted`` ends."""
    n = n_shared(seen, wanted)
    cuts = n and _is_word(wanted[n - 1 : n]) and _is_word(wanted[n : n + 1])
    return n, not cuts


def _has_word(right: str, wanted: str) -> bool:
    """Whether the right beginning contains a whole word of ``wanted``."""
    n = 0
    for piece in _PIECE.findall(wanted):
        n += len(piece)
        if n > len(right):
            return False
        if _is_word(piece[0]):
            return True
    return False


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
