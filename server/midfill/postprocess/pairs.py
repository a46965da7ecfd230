"""If all brackets around the cursor pair, they still pair with the suggestion between them, and no string is open.

`balance` knows only what is open. Here the text below counts too: a closer of something that the text below closes is
one too many, and what the middle opened and nothing closes is closed. If the brackets around the cursor do not pair,
the middle may be what repairs them, so nothing is done.
"""

from __future__ import annotations

import re

from midfill.postprocess.place import Place, closers_of
from midfill.postprocess.rule import rule, where_brackets_pair
from midfill.postprocess.sure import closed
from midfill.syntax.lexical import CLOSERS, scan, unopened_at

_WHOLE = re.compile(r"[\w)\]}\"'`;]\s*\Z|\n[^\n]*,\s*\Z")  # a word, a value, a statement; a line of a list
_QUOTE = re.compile(r"[)\]}\"'`#]+")  # not the name at a heredoc's end


@rule(where_brackets_pair)
def drop_second_closer(middle: str, place: Place) -> str:
    """End before a closer of what the text below closes, unless the middle opens that again."""
    outer = place.state.brackets
    if not outer or unopened_at(middle, place.language, place.state) is None or not _pairs(place):
        return middle
    end = 0
    for at, char in enumerate(middle):
        if char in CLOSERS and _brackets(middle[:at], place) == outer != _brackets(middle[: at + 1], place):
            end = at
    is_opened_again = _brackets(middle, place) == outer
    return middle if is_opened_again else _without_empty_line(middle[:end])


def _brackets(middle: str, place: Place) -> tuple[str, ...] | None:
    """Return what is open after ``middle``; None in a string or a comment."""
    state = scan(middle, place.language, place.state)
    return state.brackets if state.is_code else None


@rule(where_brackets_pair)
def close_what_it_opened(middle: str, place: Place) -> str:
    """Close the brackets in which the middle has some content; if it breaks off right after a bracket, the user may
    continue there."""
    if not _pairs(place) or _WHOLE.search(middle) is None:
        return middle
    is_in_string = scan(middle, place.language, place.state).within != place.state.within  # in code inside a string
    return middle if is_in_string else closed(middle, place)


@rule(where_brackets_pair)
def close_string(middle: str, place: Place) -> str:
    """Close a string that is open at the end and began in that line; where a longer string ends is unknown."""
    if not _pairs(place):
        return middle
    quote, said = scan(middle, place.language, place.state).string, middle.rstrip()
    if not quote or not _QUOTE.fullmatch(quote) or said.endswith(quote[0]):
        return middle
    line_start = middle.rfind("\n") + 1
    began_above = bool(scan(middle[:line_start], place.language, place.state).string)
    return middle if began_above else said + quote


def _pairs(place: Place) -> bool:
    """Whether the text below closes every bracket that is open at the cursor, and closes nothing else."""
    if not place.is_whole or not place.state.is_code or place.kind in ("comment", "docstring", "string"):
        return False
    return place.state.n_unopened == 0 and place.closed_below == closers_of(place.state.brackets)


def _without_empty_line(middle: str) -> str:
    """Return ``middle`` without the indentation of a closer that was on a line of its own."""
    kept = middle.rstrip(" \t")
    return kept.rstrip() if kept.endswith("\n") else middle
