"""The part of a text that fits a token budget: its end before the cursor, its beginning after it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from midfill.tokenizer import CodeTokenizer

# A longer word is not a name that the user is typing.
MAX_WORD = 40
_WORD = re.compile(r" ?[^\W\d]\w{0,39}\Z")


def word_before(text: str) -> str:
    """Return the word that ``text`` ends in, with the space before it, which is part of its first token."""
    match = _WORD.search(text, max(0, len(text) - MAX_WORD - 1))
    if match is None or (match.group()[0] != " " and re.match(r"\w", text[match.start() - 1 : match.start()])):
        return ""  # the end of a longer word or number
    return match.group()


# Code rarely has more characters per token; a window of this many characters per token is enough to fill a budget.
CHARS_PER_TOKEN = 8
# Nearly always this many are enough, and encoding half the text takes half the time at every key.
USUAL_CHARS = 5
APART = 32  # after this many tokens, it makes no difference where a text was cut


def tail(tokenizer: CodeTokenizer, text: str, budget: int) -> list[int]:
    """Return at most the last ``budget`` tokens of ``text``, starting at a coarse step of lines if one is near."""
    if budget <= 0:
        return []
    for per_token in (USUAL_CHARS, CHARS_PER_TOKEN):
        clip = max(0, len(text) - budget * per_token)
        ids, starts = tokenizer.encode_with_offsets(text[clip:])
        if clip == 0 or len(ids) > budget + APART:
            break
    if clip == 0 and len(ids) <= budget:
        return ids
    at = _whole_character(starts, len(ids) - budget, 1)
    first = clip + starts[at] if at < len(starts) else len(text)
    start = _coarse_start(text, first, step=_step(budget), latest=len(text) - (len(text) - first) // 2)
    ids, starts = tokenizer.encode_with_offsets(text[start:])
    return ids[_whole_character(starts, len(ids) - budget, 1) :]


def head(tokenizer: CodeTokenizer, text: str, budget: int) -> list[int]:
    """Return at most the first ``budget`` tokens of ``text``, ending at a line end if one is near."""
    if budget <= 0:
        return []
    text = text[: budget * CHARS_PER_TOKEN]
    ids, starts = tokenizer.encode_with_offsets(text)
    if len(ids) <= budget:
        return ids
    end = text.rfind("\n", starts[budget] // 2, starts[budget])
    if end >= 0:
        ids, starts = tokenizer.encode_with_offsets(text[: end + 1])
    return ids[: _whole_character(starts, budget, -1)]


def _whole_character(starts: Sequence[int], at: int, step: int) -> int:
    """Return the token nearest to ``at``, in the direction of ``step``, that does not begin inside a character that
    several tokens share."""
    at = max(at, 0)
    while 0 < at < len(starts) and starts[at] == starts[at - 1]:
        at += step
    return at


MAX_STEP = 256


def _step(budget: int) -> int:
    """Return how many lines a window's start moves at once: about a quarter of what the budget holds at ten tokens a
    line."""
    step = 8
    while step * 2 * 40 <= budget and step < MAX_STEP:
        step *= 2
    return step


def _coarse_start(text: str, first: int, step: int, latest: int) -> int:
    """Return the first line start from ``first`` on whose number is a multiple of ``step``, else the next line
    start."""
    number = text.count("\n", 0, first)
    at, fallback = first, first
    if first > 0 and text[first - 1] != "\n":
        at = text.find("\n", first) + 1
        if not 0 < at <= latest:
            return first
        number += 1
        fallback = at
    while at <= latest:
        if number % step == 0:
            return at
        following = text.find("\n", at) + 1
        if following <= 0:
            break
        at, number = following, number + 1
    return fallback
