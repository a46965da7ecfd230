"""What was said already is not said again: the cursor's line, lines, runs of lines, lists without an end."""

from __future__ import annotations

import re

from midfill.postprocess.place import Place
from midfill.postprocess.rule import everywhere, not_in_prose, rule, where_lines_differ

# Lines shorter than this repeat for good reasons.
MIN_LINE = 4
# So many lines in a row are compared with those before them.
MAX_PERIOD = 4
# Of a run of lines that differ in a number or a word only, so many are kept.
MAX_RUN = 2
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_NUMBER = re.compile(r"\d+")


@rule(not_in_prose)
def drop_repeated_prefix(middle: str, place: Place) -> str:
    """Drop a beginning that says the cursor's line again."""
    said = place.before.strip()
    text = middle.lstrip(" \t")
    is_line = place.kind in ("line", "rest", "inside") and len(said) >= MIN_LINE and any(map(str.isalpha, said))
    return text[len(said) :] if is_line and text.startswith(said) else middle


@rule(where_lines_differ)
def drop_repeated_line(middle: str, place: Place) -> str:
    """End before a line that says again what the line before it, or the line above the cursor, says."""
    lines = middle.split("\n")
    first = (place.before + lines[0]).strip()
    if len(first) >= MIN_LINE and first == place.above.strip() and not place.traits.is_closer(first):
        return ""
    for i in range(1, len(lines)):
        if len(lines[i].strip()) >= MIN_LINE and lines[i] == lines[i - 1]:
            return "\n".join(lines[:i])
    return middle


@rule(everywhere)
def drop_repeated_block(middle: str, place: Place) -> str:
    """End where a run of lines begins again that stood just before."""
    lines = middle.split("\n")
    for period in range(2, MAX_PERIOD + 1):
        for i in range(period, len(lines) - period + 1):
            again = lines[i : i + period]
            if again == lines[i - period : i] and sum(len(line.strip()) for line in again) > 2 * MIN_LINE:
                return "\n".join(lines[:i])
    return middle


@rule(everywhere)
def end_run(middle: str, place: Place) -> str:
    """End a run of lines that each say the one before them with a number or one word changed, after the second."""
    at = run_end(middle, place)
    return middle if at is None else middle[:at]


def run_end(middle: str, place: Place) -> int | None:
    """Where the second line of such a run ends; None: there is none."""
    lines = (place.before + middle).split("\n")
    keep_names = place.traits.has_names
    end = -len(place.before)
    for i, line in enumerate(lines):
        if i >= MAX_RUN and line.strip() and _is_run(lines[i - MAX_RUN : i + 1], keep_names=keep_names):
            return end - 1 if end > 0 else None
        end += len(line) + 1
    return None


def _is_run(lines: list[str], *, keep_names: bool) -> bool:
    """Whether each of ``lines`` differs from the one before at one and the same place."""
    places = {_difference(a, b, keep_names=keep_names) for a, b in zip(lines, lines[1:], strict=False)}
    return len(places) == 1 and places != {None}


def _difference(a: str, b: str, *, keep_names: bool) -> int | None:
    """The number of the only token in which two lines differ, besides numbers where no names are kept; None: there is
    no such one, or they say the same."""
    if a.strip() == b.strip() or min(len(a.strip()), len(b.strip())) < MIN_LINE:
        return None
    first, second = _TOKEN.findall(a), _TOKEN.findall(b)
    if len(first) != len(second):
        return None
    found = [i for i, (one, other) in enumerate(zip(first, second, strict=True)) if one != other]
    words = [i for i in found if _NUMBER.sub("", first[i]) != _NUMBER.sub("", second[i])]
    if any(not (first[i][0].isalnum() and second[i][0].isalnum()) for i in found):
        return None
    if not words:
        return -1 if not keep_names or len(found) == 1 else None
    return words[0] if len(words) == 1 and (not keep_names or len(found) == 1) else None
