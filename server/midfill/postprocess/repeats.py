"""Does not repeat what is already there: the cursor's line, lines, runs of lines, endless lists."""

from __future__ import annotations

import re

from midfill.postprocess.place import Place
from midfill.postprocess.rule import everywhere, not_in_prose, rule, where_lines_differ
from midfill.syntax.lexical import scan
from midfill.syntax.names import indent

# Shorter lines repeat for good reasons.
MIN_LINE = 4
# Up to this many consecutive lines are compared with those before them.
MAX_PERIOD = 4
# Of a run of lines that differ only in a number or a word, this many are kept.
MAX_RUN = 2
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_GOES_ON = re.compile(r"[ \t]*\\[ \t]*(?=\n)")
_NUMBER = re.compile(r"\d+")
_LONGER_WORD = re.compile(r"\w\w")


@rule(not_in_prose)
def drop_repeated_prefix(middle: str, place: Place) -> str:
    """Drop a beginning that repeats the cursor's line, once or more often, or repeats its continuation mark."""
    said = place.before.strip()
    if said.endswith("\\") and place.kind == "line" and (mark := _GOES_ON.match(middle)) is not None:
        return middle[mark.end() :]
    if place.kind == "line" and place.traits.holder(said).startswith("$"):  # $$ around a body of SQL
        return middle.lstrip("$")
    if place.kind not in ("line", "rest", "inside") or len(said) < MIN_LINE or not any(map(str.isalpha, said)):
        return middle
    while _says_again(said, middle, place):
        middle = middle.lstrip(" \t")[len(said) :]
    return middle


def _says_again(said: str, middle: str, place: Place) -> bool:
    """Whether the middle repeats the cursor's line. After a space of its own ("type typeName"), a longer word is a
    different word."""
    text = middle.lstrip(" \t")
    white = middle[: len(middle) - len(text)]
    if not text.startswith(said):
        return False
    is_at_start = not white or place.before.endswith((" ", "\t")) or place.before.startswith(white)
    return is_at_start or _LONGER_WORD.match(text, len(said) - 1) is None


@rule(where_lines_differ)
def drop_repeated_line(middle: str, place: Place) -> str:
    """End before a line that repeats the line before it, or the line above the cursor."""
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
    """End where a run of lines begins again that was just written."""
    lines = middle.split("\n")
    for period in range(2, MAX_PERIOD + 1):
        for i in range(period, len(lines) - period + 1):
            again = lines[i : i + period]
            if again == lines[i - period : i] and sum(len(line.strip()) for line in again) > 2 * MIN_LINE:
                return "\n".join(lines[:i])
    return middle


@rule(everywhere)
def end_run(middle: str, place: Place) -> str:
    """Of a run of lines that each repeat the previous one with a number or one word changed, keep two. The middle ends
    there, unless something that it opened still has to be closed."""
    return _RepeatTrimmer(middle, place).kept()


def run_end(middle: str, place: Place) -> int | None:
    """Return where the second line of such a run ends, and with it the middle; None while it may continue."""
    run = _RepeatTrimmer(middle, place)
    kept = run.kept()
    return len(kept) if run.is_over else None


class _RepeatTrimmer:
    """Reads a middle for runs of such lines."""

    def __init__(self, middle: str, place: Place) -> None:
        self._place, self._lines = place, (place.before + middle).split("\n")
        first = next((line for line in self._lines[place.kind != "block" :] if line.strip()), "")
        self._level = indent(first) if place.kind in ("block", "inside") else -1
        self.is_over = False

    def kept(self) -> str:
        """Return the middle without the superfluous lines."""
        lines, found, n_run = list[str](), None, 1
        for line in self._lines:
            changed = _difference(lines[-1], line, self._place) if lines else None
            n_run = n_run + 1 if changed is not None and changed == found else 1 + (changed is not None)
            found = changed
            if n_run > MAX_RUN and self._ends_with(line, lines):
                self.is_over = True
                break
            lines.append(line if n_run <= MAX_RUN else _Surplus(line))
        kept = "\n".join(line for line in lines if not isinstance(line, _Surplus))
        return kept[len(self._place.before) :]

    def _ends_with(self, line: str, lines: list[str]) -> bool:
        """Whether nothing has to be closed where a run continues with ``line``."""
        if indent(line) <= self._level:
            return True
        state = scan("\n".join(lines), self._place.language)
        return not self._place.traits.closes_blocks and state.depth <= 0


def changes(a: str, b: str, place: Place) -> bool:
    """Whether a line repeats the one before it with a number or one word changed."""
    return _difference(a, b, place) is not None


class _Surplus(str):
    """A line that continues a run."""

    __slots__ = ()


def _difference(a: str, b: str, place: Place) -> int | None:
    """Return the number of the only token in which two lines differ; None if they differ in more, or are the same. In
    code a name may change, as names do; elsewhere numbers may change as well."""
    if a.strip() == b.strip() or min(len(a.strip()), len(b.strip())) < MIN_LINE:
        return None
    first, second = _TOKEN.findall(a), _TOKEN.findall(b)
    if len(first) != len(second):
        return None
    found = [i for i, (one, other) in enumerate(zip(first, second, strict=True)) if one != other]
    if any(not (first[i][0].isalnum() and second[i][0].isalnum()) for i in found):
        return None
    words = [i for i in found if _NUMBER.sub("", first[i]) != _NUMBER.sub("", second[i])]
    if place.traits.has_names:
        is_name = bool(words) and scan("".join(second[: words[0]]), place.language).is_code
        return found[0] if len(found) == 1 and not is_name else None
    return (words or found)[0] if len(words) <= 1 else None
