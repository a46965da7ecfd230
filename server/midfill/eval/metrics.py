"""How an answer compares with what was taken out. Each metric is pure: (hole, text) -> number or bool."""

from __future__ import annotations

import re
from collections.abc import Callable

from midfill.eval.holes import Hole

# Longer texts are compared by their beginnings.
MAX_CHARS = 2000
# A shorter line does not count as repeated: closing brackets are everywhere.
MIN_LINE = 4
# The shape of the templates' control tokens. A file may contain such text; then an answer may, too.
_CONTROL = re.compile(
    r"<\|\w{1,40}\|>|<｜[^｜\n]{1,40}｜>|<(?:fim|file|repo)_\w+>|<(?:filename|reponame|EOT|PRE|SUF|MID)>|"
    r"\[(?:PREFIX|SUFFIX|MIDDLE)\]"
)


def first_line_right(hole: Hole, text: str) -> bool:
    """The first line equals the original's."""
    return hole.is_answered_by(text)


def whole_right(hole: Hole, text: str) -> bool:
    """All of it equals the original, except for white space at the end of lines."""
    return _trimmed(text) == _trimmed(hole.middle)


def similarity(hole: Hole, text: str) -> float:
    """1 minus the edit distance divided by the longer text's length: 1 is the same text."""
    a, b = _trimmed(text)[:MAX_CHARS], _trimmed(hole.middle)[:MAX_CHARS]
    return 1 - edit_distance(a, b) / max(len(a), len(b), 1)


def is_shown(hole: Hole, text: str) -> bool:
    """There is something to show."""
    return bool(text.strip())


def repeats_suffix(hole: Hole, text: str) -> bool:
    """The text repeats what follows the cursor, and the original does not.

    That is: it ends with the rest of the cursor's line, or one of its lines is the next line.
    """
    rest, below = _following(hole.suffix)
    if _ends_with(text, rest) and not _ends_with(hole.middle, rest):
        return True
    said, wanted = _lines(text), _lines(hole.middle)
    return len(below) >= MIN_LINE and below in said and below not in wanted


def has_control(hole: Hole, text: str) -> bool:
    """The text contains a control token's name that is nowhere in the file."""
    return any(found not in hole.prefix + hole.middle + hole.suffix for found in _CONTROL.findall(text))


def names(hole: Hole, text: str) -> bool:
    """The text mentions the name that the hole needs, as a word."""
    return re.search(rf"(?<!\w){re.escape(hole.name)}(?!\w)", text) is not None


METRICS: dict[str, Callable[[Hole, str], bool | float]] = {
    "first_line": first_line_right,
    "whole": whole_right,
    "similarity": similarity,
    "shown": is_shown,
    "repeats_suffix": repeats_suffix,
    "control_tokens": has_control,
}


def judged(hole: Hole, text: str) -> dict[str, float]:
    """Return every metric that applies to the hole; true is 1."""
    found = {name: float(metric(hole, text)) for name, metric in METRICS.items()}
    return {**found, "names": float(names(hole, text))} if hole.name else found


def edit_distance(a: str, b: str) -> int:
    """Return the least number of insertions, deletions and replacements that turn ``a`` into ``b`` (Levenshtein
    1966)."""
    row = list(range(len(b) + 1))
    for i, char in enumerate(a, 1):
        left, diagonal = i, row[0]
        row[0] = i
        for j, other in enumerate(b, 1):
            left = min(diagonal if char == other else 1 + min(diagonal, left, row[j]), 1 + left)
            diagonal, row[j] = row[j], left
    return row[-1]


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.rstrip().split("\n"))


def _lines(text: str) -> set[str]:
    return {line.strip() for line in text.split("\n")}


def _ends_with(text: str, rest: str) -> bool:
    """Whether ``text`` ends with ``rest`` without needing it to close what ``text`` opens."""
    if not rest or not (text := text.rstrip()).endswith(rest):
        return False
    before = text.removesuffix(rest)
    return sum(before.count(opening) for opening in "([{") <= sum(before.count(closing) for closing in ")]}")


def _following(suffix: str) -> tuple[str, str]:
    """Return the rest of the cursor's line and the first line below it that is not blank, both without white space
    around them."""
    rest, _, after = suffix.partition("\n")
    return rest.strip(), next((line.strip() for line in after.split("\n") if line.strip()), "")
