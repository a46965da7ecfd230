"""From what the model said to what is shown: pure rules over (middle, place). Each can be switched off by its name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from midfill.postprocess.place import Place, is_closer
from midfill.postprocess.unit import unit_end
from midfill.syntax import languages
from midfill.syntax.lexical import OPENERS, START, scan, unopened, unopened_at
from midfill.syntax.names import indent

Rule = Callable[[str, Place], str]

# Lines shorter than this repeat for good reasons.
MIN_LINE = 4
# So many lines in a row are compared with those before them.
MAX_PERIOD = 4


def drop_invisible(middle: str, place: Place) -> str:
    """Drop control, bidirectional, zero-width and filler characters, unless the cursor's line has them already.

    They can make code read otherwise than it runs (Boucher & Anderson 2021, "Trojan Source", arXiv:2111.00169). A
    space of another width, or one that does not break, is a plain one in code, and stays in text for people.
    """
    if middle.isascii() and (middle.isprintable() or _CONTROL.search(middle) is None):
        return middle
    line = place.before + place.after
    if place.kind not in ("comment", "docstring", "string") and not languages.of(place.language).prose:
        middle = _SPACE.sub(lambda space: space[0] if space[0] in line else " ", middle)
    return "".join(
        char
        for char, before in zip(middle, place.before[-1:] + middle if place.before else "\n" + middle, strict=False)
        if char in "\n\t" or char in line or not _is_invisible(char, before)
    )


def _is_invisible(char: str, before: str) -> bool:
    """Whether nothing would be seen of ``char`` behind ``before``."""
    if char.isascii() and char.isprintable():
        return False
    if "\ufe00" <= char <= "\ufe0f" or "\U000e0100" <= char <= "\U000e01ef":  # variation selectors
        return not (
            unicodedata.category(before) in ("So", "Sm", "Po", "Nd") or unicodedata.name(before, "").startswith("CJK")
        )
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") or _IGNORABLE.match(char) is not None


_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
# Unicode's Default_Ignorable_Code_Point beside the categories above, and letters and symbols that are drawn blank.
_IGNORABLE = re.compile(
    "[\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2065\u2800\u3164\uffa0\ufff0-\ufff8\U0001d159"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
_FENCE = re.compile(r"\s*(?:```|~~~)[\w+-]*[ \t]*\n")
_PROSE = re.compile(
    r"\s*(?:(?:Sure|Certainly|Of course)[,.! ]|Here(?:'s| is| are) "
    r"|(?:To|The|This|You|I) (?:\w+ ){2,}.*[:.]\s*(?:\n|$))"
)


def drop_markup(middle: str, place: Place) -> str:
    """Take code out of the fence that an instruct model puts around it; drop what it says to a person."""
    if place.kind in ("comment", "docstring", "string") or place.language in ("markdown", "plaintext", ""):
        return middle
    if (match := _FENCE.match(middle)) is not None:
        middle = re.split(r"\n[ \t]*(?:```|~~~)", middle[match.end() :], maxsplit=1)[0]
    elif (at := middle.find("\n```")) >= 0:
        middle = middle[:at]
    return "" if _PROSE.match(middle) and not place.before.strip() else middle


def drop_repeated_prefix(middle: str, place: Place) -> str:
    """Drop a beginning that says the cursor's line again."""
    said = place.before.strip()
    text = middle.lstrip(" \t")
    if place.kind in ("line", "rest", "inside") and len(said) >= MIN_LINE and text.startswith(said):
        return text[len(said) :]
    return middle


def first_unit(middle: str, place: Place) -> str:
    """Keep the first unit: the rest of the line, the statement, the block (unit.py)."""
    end = unit_end(middle, place)
    return middle if end is None else middle[:end]


def drop_repeated_line(middle: str, place: Place) -> str:
    """End before a line that says again what the line before it, or the line above the cursor, says."""
    lines = middle.split("\n")
    first = (place.before + lines[0]).strip()
    if len(first) >= MIN_LINE and first == place.above.strip() and not is_closer(first):
        return ""
    for i in range(1, len(lines)):
        if len(lines[i].strip()) >= MIN_LINE and lines[i] == lines[i - 1]:
            return "\n".join(lines[:i])
    return middle


def drop_repeated_block(middle: str, place: Place) -> str:
    """End where a run of lines begins again that stood just before."""
    lines = middle.split("\n")
    for period in range(2, MAX_PERIOD + 1):
        for i in range(period, len(lines) - period + 1):
            again = lines[i : i + period]
            if again == lines[i - period : i] and sum(len(line.strip()) for line in again) > 2 * MIN_LINE:
                return "\n".join(lines[:i])
    return middle


def drop_doubled_space(middle: str, place: Place) -> str:
    """Drop leading white space where the cursor already stands behind some, in a line or at its indentation."""
    return middle.lstrip(" \t") if place.before.endswith((" ", "\t")) else middle


def own_indentation(middle: str, place: Place) -> str:
    """Indent by tabs in a file that does, and by spaces in one that does not."""
    lines = middle.split("\n")
    if len(lines) == 1 and place.before:
        return middle
    start = 1 if place.before else 0
    if place.tabs:
        return "\n".join(lines[:start] + [_to_tabs(line) for line in lines[start:]])
    if place.step > 1 and any(line.startswith("\t") for line in lines[start:]):
        return "\n".join(lines[:start] + [_to_spaces(line, place.step) for line in lines[start:]])
    return middle


def _to_tabs(line: str) -> str:
    n = indent(line)
    white = line[:n]
    return white.replace("    ", "\t").replace("  ", "\t") + line[n:] if " " in white else line


def _to_spaces(line: str, step: int) -> str:
    n = indent(line)
    return line[:n].replace("\t", " " * step) + line[n:]


def drop_suffix_overlap(middle: str, place: Place) -> str:
    """Cut the tail that already stands to the right of the cursor."""
    rest = place.after.rstrip()
    if not rest.strip():
        return middle
    for start in range(min(len(rest), len(middle)), 0, -1):
        if middle.endswith(rest[:start]) and _is_whole(rest, start) and not _closes_own(middle, start, place):
            return middle[: len(middle) - start]
    return middle


def _is_whole(rest: str, length: int) -> bool:
    """Whether the first ``length`` characters of ``rest`` are an overlap worth the name: all of it, or closers."""
    return length == len(rest) or all(char in ")]}>\"'`;, " for char in rest[:length])


def _closes_own(middle: str, length: int, place: Place) -> bool:
    """Whether the tail closes what the middle itself opened: then it is not the one that stands there."""
    if place.state.string:
        return False
    kept = scan(middle[: len(middle) - length], place.language)
    return bool(kept.string) or (kept.depth > 0 and unopened_at(middle, place.language) is None)


def drop_what_follows(middle: str, place: Place) -> str:
    """Drop what already stands below: the last line that closes, or all of it."""
    below = (place.below or "").rstrip()
    if not below or place.after.strip():
        return middle
    lines = middle.rstrip().split("\n")
    if (place.before + lines[0]).strip() == below.strip() and len(lines) == 1 and len(below.strip()) >= MIN_LINE:
        return ""
    if len(lines) > 1 and lines[-1].rstrip() == below and _is_superfluous(lines, place):
        return "\n".join(lines[:-1])
    return middle


def _is_superfluous(lines: list[str], place: Place) -> bool:
    """Whether the last line closes more than the others opened, or says what the file says anyway."""
    closer = lines[-1].strip()
    if not is_closer(closer):
        return len(closer) >= MIN_LINE
    return scan(place.before + "\n".join(lines[:-1]), place.language).depth <= 0


def balance(middle: str, place: Place) -> str:
    """Cut before a closer of a bracket that is not open."""
    if place.kind in ("comment", "docstring", "string"):
        return middle
    state, cut = place.state, unopened_at(middle, place.language)
    if cut is None:
        return middle
    whole = scan(middle, place.language, state)
    if whole.n_unopened <= state.n_unopened:
        return middle
    for at, char in enumerate(middle):
        if char in ")]}" and scan(middle[: at + 1], place.language, state).n_unopened > state.n_unopened:
            return middle[:at]
    return middle


def open_body(middle: str, place: Place) -> str:
    """Open the brace that the text below closes, where its body stands there already."""
    if not middle.strip() or place.below is None or place.after.strip() or place.kind not in ("line", "block"):
        return middle
    lines = (place.before + middle).split("\n")
    if indent(place.below) <= indent(lines[-1]) or lines[-1].rstrip().endswith(("{", ";", ",", "(", "[", "=>")):
        return middle
    state = scan(middle, place.language, place.state)
    expected = "".join(OPENERS[bracket] for bracket in reversed(state.brackets))
    closed = unopened(place.suffix, place.language) if place.is_whole and state.is_code else ""
    return middle.rstrip() + " {" if closed == "}" + expected else middle


def trim_end(middle: str, place: Place) -> str:
    """Drop trailing white space; a middle of white space alone is nothing."""
    return middle.rstrip()


PIPELINE: tuple[Rule, ...] = (
    drop_invisible, drop_markup, drop_repeated_prefix, first_unit, drop_repeated_line, drop_repeated_block,
    drop_doubled_space, own_indentation, drop_suffix_overlap, drop_what_follows, balance, trim_end,
)  # fmt: skip
# For a middle that has its end.
FINISH: tuple[Rule, ...] = (open_body,)
NAMES = frozenset(rule.__name__ for rule in PIPELINE + FINISH)


def whole_lines(middle: str, place: Place) -> str:
    """Of a middle that was broken off, the lines up to the last one after which nothing is open."""
    lines = middle.split("\n")
    for n in range(len(lines) - 1, 0, -1):
        kept = "\n".join(lines[:n])
        state = scan(place.before + kept + "\n", place.language, START)
        if state.is_code and state.depth <= 0 and kept.strip() and not _waits_for_body(lines[:n], place):
            return kept
    return middle if len(lines) == 1 else lines[0]


def _waits_for_body(lines: list[str], place: Place) -> bool:
    last = lines[-1].rstrip()
    return last.endswith((":", "{")) and (place.below is None or indent(place.below) <= indent(last))
