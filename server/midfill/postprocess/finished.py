"""Leaves alone what is finished: a whole sentence, a line that opens a block, a statement with its end.

What comes next belongs on the next line. A model that is asked there still adds a tail: `` and count them`` to a
sentence, `` ...`` to a header.
"""

from __future__ import annotations

import re

from midfill.postprocess.place import Place, code_of
from midfill.postprocess.rule import not_in_prose, rule
from midfill.types import Snapshot

# The end of a sentence, also in quotes or brackets. An ellipsis continues; so do abbreviations, initials and numbers.
_SENTENCE = re.compile(r"[^\s.!?]{2,}[)\]\"'`]*[.!?。！？][)\]\"'`]*\Z")
_ABBREVIATION = re.compile(
    r"(?i:\b(?:e\.?g|i\.?e|cf|etc|vs|resp|approx|incl|fig|figs|sec|eq|eqs|ref|refs|vol|no|pp|st|dr|mr|mrs|ms|prof|jr|sr"
    r"|al|ca|min|max|dept|est))\.\Z|\d\.\Z"
)
_MARK = re.compile(r"\s*(?:#+!?|//[/!]?|--+|;+|%+|/\*+!?|\*|\"\"\"|'''|<!--|\"|REM\b)\s*")
MIN_WORDS = 2

# By language, a complete line that opens a block. The bodies of brackets may be on the same line.
_HEADERS = {
    "python": re.compile(
        r"(?:async\s+)?(?:def|class|if|elif|else|for|while|try|except|finally|with|match|case)\b.*:\Z", re.DOTALL
    ),
    "ruby": re.compile(r".*\bdo(?:\s*\|[^|]*\|)?\Z", re.DOTALL),
    "lua": re.compile(r".*\b(?:then|do)\Z", re.DOTALL),
}
# A file with bodies on the lines of their headers, such as a stub file.
_ONE_LINERS = re.compile(
    r"^\s*(?:async\s+)?(?:def|class|if|elif|else|for|while|try|except|with|case)\b.*:[ \t]+[^#\s]", re.MULTILINE
)


def is_whole_sentence(snapshot: Snapshot) -> bool:
    """Whether the cursor is right after a finished sentence of a comment or a docstring, and nothing follows."""
    if _SENTENCE.search(snapshot.line_before) is None:  # reading a place takes its time
        return False
    place = Place.of(snapshot)
    if not (place.kind in ("comment", "docstring") or _is_docstring(place)) or place.after.strip(" \t*/\"'>-"):
        return False
    said = _comment(place) if place.kind == "comment" else _MARK.sub("", place.before, count=1)
    is_sentence = len(said.split()) >= MIN_WORDS and _SENTENCE.search(said) is not None
    return is_sentence and _ABBREVIATION.search(said) is None


def _is_docstring(place: Place) -> bool:
    """Whether the cursor is in a string of three quotes that is a statement and ends on its line."""
    quotes = place.state.string
    return place.state.is_block and len(quotes) == 3 and place.before.lstrip().startswith(quotes)


def _comment(place: Place) -> str:
    """Return the text of the comment on the cursor's line, without the code before it."""
    code = code_of(place.before, place.language)
    return _MARK.sub("", place.before[len(code) :] or place.before, count=1)


@rule(not_in_prose)
def leave_finished_line(middle: str, place: Place) -> str:
    """Show nothing that adds to a finished line; text that begins on the next line may be shown."""
    if place.kind != "line" or not middle.partition("\n")[0].strip() or place.before[-1:].isspace():
        return middle
    return "" if _is_header(place) or _is_statement(place) else middle


def _is_header(place: Place) -> bool:
    shape = _HEADERS.get(place.language)
    if shape is None or not place.state.is_code or place.state.brackets:
        return False
    return shape.match(place.before.strip()) is not None and _ONE_LINERS.search(place.prefix) is None


def _is_statement(place: Place) -> bool:
    known, state = place.traits, place.state
    if not known.has_braces or not place.before.endswith(";") or not state.is_code:
        return False
    return state.brackets[-1:] != ("(",)  # the head of a loop
