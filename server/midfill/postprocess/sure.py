"""What of a growing middle is shown: only what no later text takes back.

The rules read the text so far, and some of them change their mind: a line turns out to be the one below, a closer the
one to the right of the cursor, a third line one too many of a run. The user would see lines come and go. So what may
yet be dropped is held back until more text is there; at the end everything that is left is shown.
"""

from __future__ import annotations

import re

from midfill.postprocess.place import Place, closers_of
from midfill.postprocess.repeats import MAX_PERIOD, MIN_LINE, changes
from midfill.syntax.lexical import OPENERS, scan
from midfill.syntax.names import indent

# Closers, and what may be between them.
_CLOSERS = re.compile(r"[)\]}>;,'\"`\s]+\Z")
# Text that a model addresses to the user begins with words; a fence begins with its marks.
_WORDS = re.compile(r"\s*[A-Z][\w']*(?:[,.!]? [\w']*){0,3}\Z")
_FENCE = re.compile(r"\s*(?:`{1,3}|~{1,3})[^\n]*\Z|\n[ \t]*`{1,2}\Z")
# The last two are linear in a long word: they begin where it does, and take all of it.
_WORD, _WORD_END = re.compile(r"\w"), re.compile(r"(?<!\w)\w++\Z")
_QUOTE = re.compile(r"(?<!\w)\w*+[\"'`/]")
_MARKS = (
    "copyright",
    "(c)",
    "©",
    "all rights reserved",
    "@author",
    "author:",
    "authors:",
    "__author__",
    "spdx-filecopyrighttext",
)


def common(a: str, b: str) -> str:
    """Return the common start of two texts."""
    n = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        n += 1
    return a[:n]


def sure(middle: str, place: Place, *, grows: bool) -> str:
    """Return the start of ``middle`` that stays, as far as the rules can tell. ``grows``: its last line
    is incomplete."""
    lines = middle.split("\n")
    first = place.before + lines[0]
    if _may_open_content(first, place):
        return ""
    if len(lines) == 1 and _may_be_said(lines[0], first, place):
        return ""
    if _is_code(place) and (_FENCE.search(middle) or (not place.before.strip() and _WORDS.fullmatch(middle))):
        middle = "" if len(lines) == 1 or _FENCE.match(middle) else "\n".join(lines[:-1])
        lines = middle.split("\n")
    lines = lines[: _n_sure(lines, place, grows=grows)]
    return _without_tail("\n".join(lines), place)


def _is_code(place: Place) -> bool:
    return place.traits.is_code and place.kind not in ("comment", "docstring", "string")


def _may_open_content(line: str, place: Place) -> bool:
    """Whether in the end only the opening of a first line may be shown, because its content is below."""
    if place.content is None:
        return False
    return place.kind == "line" or (place.kind == "block" and indent(line) == place.content.depth)


def _may_be_said(text: str, line: str, place: Place) -> bool:
    """Whether a first line may turn out to repeat the text at the cursor, above it, or below it."""
    said, text, line = place.before.strip(), text.strip(), line.strip()
    if not text:
        return True
    is_again = place.kind in ("line", "rest", "inside") and len(said) >= MIN_LINE and said.startswith(text)
    others = (place.above.strip(), (place.below or "").strip())
    return is_again or any(len(other) >= MIN_LINE and other.startswith(line) for other in others)


def _n_sure(lines: list[str], place: Place, *, grows: bool) -> int:
    """Return how many of the lines stay."""
    n = len(lines)
    last = lines[-1]
    is_below = n > 1 and place.below is not None and bool(last.strip()) and place.below.startswith(last.rstrip())
    if is_below or _may_claim(last):
        n -= 1
    elif n > 1 and not place.after.strip() and place.traits.is_closer(last.strip()):
        n -= 1  # until the text after it is there, it may be the line below
    elif grows and n > 1 and _may_repeat([place.before + lines[0], *lines[1:]], place):
        n -= 1
    return min(n, _before_repeated(lines))


def _may_claim(line: str) -> bool:
    """Whether a line may turn out to claim someone's authorship."""
    low = line.lower()
    if any(mark in low for mark in _MARKS):
        return True
    word = re.split(r"[^\w@()©]", low)[-1]
    return len(word) > 1 and any(mark.startswith(word) for mark in _MARKS)


def _may_repeat(lines: list[str], place: Place) -> bool:
    """Whether the growing last line may repeat the line before it, or be one too many of a run."""
    if len(lines[-2].strip()) >= MIN_LINE and lines[-2].startswith(lines[-1]):
        return True
    return len(lines) > 2 and changes(lines[-3], lines[-2], place)


def _before_repeated(lines: list[str]) -> int:
    """Return the number of lines before those that may begin a run of lines again."""
    n = len(lines)
    for period in range(2, MAX_PERIOD + 1):
        for start in range(max(period, n - period), n):
            again = lines[start:]
            whole = again[:-1] == lines[start - period : start - period + len(again) - 1]
            if whole and again[-1].strip() and lines[start - period + len(again) - 1].startswith(again[-1]):
                return start
    return n


def _without_tail(middle: str, place: Place) -> str:
    """Return ``middle`` without what may turn out to be the text to the right of the cursor, or
    superfluous before it."""
    middle = middle.rstrip()
    rest = place.after.rstrip()
    if rest:
        middle = _CLOSERS.sub("", middle)
        for n in range(min(len(rest), len(middle)), 0, -1):
            if middle.endswith(rest[:n]):
                middle = middle[:-n]
                break
    return middle.rstrip().rstrip(",").rstrip()  # before a closer, a comma may be one too many


def closed(middle: str, place: Place) -> str:
    """Return ``middle``, which was broken off, with closers for the brackets that it opened, each laid out like the
    line of its opener; unchanged if the text below closes them, or if they are not brackets."""
    if not place.traits.has_brackets or place.kind in ("comment", "docstring", "string") or not place.is_whole:
        return middle
    state = scan(middle, place.language, place.state)
    outer = len(place.state.brackets) if place.state.is_code else 0
    opened = state.brackets[outer:]
    if not opened or not state.is_code or place.closed_below != closers_of(place.state.brackets):
        return middle
    for bracket in reversed(opened):
        middle = middle.rstrip()
        line = _opener_line(middle, place)
        if line is not None and line.rstrip().endswith(bracket):
            middle += _comma(middle, place) + f"\n{line[: indent(line)]}"
        elif line is not None and bracket == "{" and "{ " in line:  # written with a space inside
            middle += " "
        middle += OPENERS[bracket]
    return middle


def _comma(middle: str, place: Place) -> str:
    """Return the comma after the last of several lines that end with one, if it may come before a closer."""
    lines = [line.rstrip() for line in middle.split("\n") if line.strip()]
    is_list = len(lines) > 1 and lines[-2].endswith(",") and not lines[-1].endswith((",", ";", "{", "(", "["))
    return "," if is_list and not place.traits.refuses_trailing_commas else ""


def _opener_line(middle: str, place: Place) -> str | None:
    """Return the line up to its end that holds the innermost bracket that ``middle`` leaves open."""
    depth = len(scan(middle, place.language, place.state).brackets)
    lines = middle.split("\n")
    for n in range(len(lines), 0, -1):
        head = "\n".join(lines[: n - 1]) + ("\n" if n > 1 else "")
        if len(scan(head, place.language, place.state).brackets) < depth:
            return (place.before if n == 1 else "") + lines[n - 1]
    return None


def words(line: str, place: Place, after: str = "") -> str:
    """Return a first ``line``, before which the middle may end, up to the end of a word; outside of strings that it
    opens. "" if that has no word. ``after``: the next character; without it, the last word may continue."""
    found = _WORD_END.sub("", line) if not after or _WORD.match(after) else line
    if _in_string(found, place):
        quotes = reversed(list(_QUOTE.finditer(found)))
        found = next((head for quote in quotes if not _in_string(head := found[: quote.start()], place)), "")
    return found.rstrip() if _WORD.search(found) else ""


def _in_string(line: str, place: Place) -> bool:
    """Whether a string that ``line`` opens is open at its end, also around code inside of it."""
    state = scan(line, place.language, place.state)
    around = [frame.mode for frame in state.within[len(place.state.within) :]]
    return place.state.is_code and any(mode is not None and mode.kind == "string" for mode in (state.mode, *around))


def whole_arguments(middle: str, place: Place) -> str:
    """Return ``middle``, whose last line was broken off, up to the last complete argument of what it leaves open in
    that line.

    Unchanged if it was not broken off in a list of arguments.
    """
    if not place.traits.has_brackets or place.kind in ("comment", "docstring", "string"):
        return middle
    start = middle.rfind("\n") + 1
    head, line = middle[:start], middle[start:]
    before = scan(head, place.language, place.state)
    state = scan(line, place.language, before)
    if not state.brackets or state.brackets[-1] not in ("(", "["):
        return middle
    depth = len(state.brackets)
    for at in range(len(line), 0, -1):
        inner = scan(line[:at], place.language, before)
        if len(inner.brackets) < depth:
            return head + line[: at + 1].rstrip()  # the opener itself: no argument is complete
        if line[at - 1] == "," and len(inner.brackets) == depth and inner.is_code:
            return head + line[: at - 1]
    return middle
