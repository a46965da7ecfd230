"""From what the model said to what is shown: pure rules over (middle, snapshot), and where a middle ends.

Line or block: a middle is the rest of a line unless that line opens a block or the cursor stands on a blank line; then
it is the block, to its dedent. ``unit_end`` decides it while the middle still grows, so no token is decoded in vain.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from midfill.types import Snapshot

Rule = Callable[[str, Snapshot], str]

_OPENERS, _CLOSERS = "([{", ")]}"
# Characters of a line that must be there before it is judged while it still grows.
MIN_SEEN = 8
# What follows after more blank lines than this is no end of what is written here.
MAX_BLANK_LINES = 50
_CONTINUES = re.compile(r"(else|elif|except|finally|catch|rescue|case|default|while)\b|\}?\s*(else|catch|finally)\b")


def drop_invisible(middle: str, snapshot: Snapshot) -> str:
    """Drop control, bidirectional and zero-width characters, unless the cursor's line has them already.

    They can make code read otherwise than it runs (Boucher & Anderson 2021, "Trojan Source", arXiv:2111.00169).
    """
    if middle.isascii() and middle.isprintable():
        return middle
    line = snapshot.line_before + snapshot.line_after
    return "".join(char for char in middle if char in "\n\t" or char in line or not _is_invisible(char))


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")


def first_unit(middle: str, snapshot: Snapshot) -> str:
    """Keep the first unit: the rest of the line, or the block."""
    end = unit_end(middle, snapshot)
    return middle if end is None else middle[:end]


def drop_suffix_overlap(middle: str, snapshot: Snapshot) -> str:
    """Cut the tail that already stands to the right of the cursor."""
    rest = snapshot.line_after.rstrip()
    if not rest.strip():
        return middle
    for start in range(min(len(rest), len(middle)), 0, -1):
        if middle.endswith(rest[:start]) and _is_whole(rest, start):
            return middle[: len(middle) - start]
    return middle


def _is_whole(rest: str, length: int) -> bool:
    """Whether the first ``length`` characters of ``rest`` are an overlap worth the name: all of it, or closers."""
    return length == len(rest) or all(char in ")]}>\"'`;, " for char in rest[:length])


def drop_repeated_line(middle: str, snapshot: Snapshot) -> str:
    """End before a line that says again what the line before it, or the line above the cursor, says."""
    lines = middle.split("\n")
    above = _line_above(snapshot).strip()
    first = (snapshot.line_before + lines[0]).strip()
    if len(first) > 3 and first == above:
        return ""
    for i in range(1, len(lines)):
        if len(lines[i].strip()) > 3 and lines[i] == lines[i - 1]:
            return "\n".join(lines[:i])
    return middle


def drop_doubled_space(middle: str, snapshot: Snapshot) -> str:
    """Drop leading white space where the cursor already stands behind some, in a line or at its indentation."""
    return middle.lstrip(" \t") if snapshot.line_before.endswith((" ", "\t")) else middle


def trim_end(middle: str, snapshot: Snapshot) -> str:
    """Drop trailing white space; a middle of white space alone is nothing."""
    return middle.rstrip()


PIPELINE: tuple[Rule, ...] = (
    drop_invisible, first_unit, drop_repeated_line, drop_doubled_space, drop_suffix_overlap, trim_end,
)  # fmt: skip


def postprocess(middle: str, snapshot: Snapshot, *, cut_short: bool = False) -> str:
    """What is shown of ``middle``. ``cut_short``: it ran to its token limit, so its last line may be half a line."""
    if cut_short and unit_end(middle, snapshot) is None and "\n" in middle.strip("\n"):
        middle = middle[: middle.rfind("\n")]
    for rule in PIPELINE:
        middle = rule(middle, snapshot)
    return middle


def ends_here(middle: str, snapshot: Snapshot) -> bool:
    """Whether nothing the model could add would be shown."""
    return unit_end(middle, snapshot) is not None


def unit_end(middle: str, snapshot: Snapshot) -> int | None:
    """Where in ``middle`` its first unit ends, or None while that is not decided."""
    end_of_line = middle.find("\n")
    if end_of_line < 0:
        return None
    before = snapshot.line_before
    on_blank_line = not before.strip()
    if snapshot.line_after.strip() or not (on_blank_line or _opens_block(before + middle[:end_of_line])):
        return end_of_line
    if on_blank_line and not middle[:end_of_line].strip():
        return _leading_blank(middle, snapshot)
    return _block_end(middle, end_of_line, snapshot)


def _leading_blank(middle: str, snapshot: Snapshot) -> int | None:
    """A middle that begins with an empty line leaves the place where the cursor stands: nothing fits here."""
    return 0 if middle.strip() else None


def _block_end(middle: str, at: int, snapshot: Snapshot) -> int | None:
    """Where the block that begins with ``middle[:at]`` ends, or None while more of it may come.

    On a blank line that is the run of statements from the cursor's indentation on, to a blank line or a dedent; after
    a line that opens a block it is what is indented deeper, with the line that closes it.
    """
    before = snapshot.line_before
    on_blank_line = not before.strip()
    base = _indent(before)
    stop_line = _line_below(snapshot)
    while True:
        end = middle.find("\n", at + 1)
        complete = end >= 0
        line = middle[at + 1 : end if complete else len(middle)]
        if not line.strip():
            if not complete:
                return None
            if on_blank_line:
                return at
        elif line == stop_line:
            return at
        elif not complete and (len(line.strip()) < MIN_SEEN or (stop_line or "").startswith(line)):
            return None
        elif (end_here := _ends_before(line, base, on_blank_line=on_blank_line)) is not None:
            return at if end_here else end if complete else None
        if not complete:
            return None
        at = end


def _ends_before(line: str, base: int, *, on_blank_line: bool) -> bool | None:
    """True: the unit ended before ``line``. False: ``line`` is its last. None: ``line`` is inside."""
    indent, text = _indent(line), line.strip()
    if indent > base or (indent == base and on_blank_line and text[0] not in _CLOSERS):
        return None
    if indent < base or on_blank_line:
        return True
    if _CONTINUES.match(text):
        return None
    return not (text[0] in _CLOSERS or text.startswith("end"))


def _line_above(snapshot: Snapshot) -> str:
    """The line above the cursor's; found from the cursor, as a file may be large."""
    end = snapshot.text.rfind("\n", 0, snapshot.cursor)
    return snapshot.text[snapshot.text.rfind("\n", 0, end) + 1 : end] if end >= 0 else ""


def _line_below(snapshot: Snapshot) -> str | None:
    """The first line below the cursor's that is not blank, if it is near."""
    start = snapshot.text.find("\n", snapshot.cursor) + 1
    for _ in range(MAX_BLANK_LINES):
        if start <= 0:
            return None
        end = snapshot.text.find("\n", start)
        line = snapshot.text[start : end if end >= 0 else len(snapshot.text)]
        if line.strip():
            return line
        start = end + 1
    return None


def _opens_block(line: str) -> bool:
    """Whether ``line`` leaves a bracket open or ends as a line before a block does."""
    text = line.rstrip()
    depth = sum((char in _OPENERS) - (char in _CLOSERS) for char in text)
    return depth > 0 or text.endswith((":", "{", "=>", "->", "do", "then"))


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))
