"""What stands around the cursor, read once for a request: what kind of place it is, and what already follows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from midfill.syntax.lexical import CLOSERS, State, scan, state_at
from midfill.syntax.names import Names, indent, names_around
from midfill.types import Snapshot

# rest: text follows on the line. inside: only what closes brackets follows. line: nothing follows. block: a blank line.
Kind = Literal["rest", "inside", "line", "block", "string", "comment", "docstring"]

# So much text before the cursor is read for what is open, and for its indentation.
WINDOW = 20_000
# What follows after more blank lines than this is no end of what is written here.
MAX_BLANK_LINES = 50
_ONLY_CLOSERS = re.compile(r"[)\]}][)\]}>;,:'\"` \t]*(?:\{|=>)?\s*")


@dataclass(frozen=True, slots=True)
class Place:
    """One cursor. Indentations are counted in characters."""

    kind: Kind
    language: str
    before: str  # the cursor's line up to it
    after: str  # and from it
    state: State  # of the text before the cursor
    above: str  # the last line above that is not blank
    below: str | None  # the first line below that is not blank
    step: int  # by which the file indents
    tabs: bool  # whether it does so by tabs
    prefix: str  # of both so much as is read
    suffix: str
    is_whole: bool  # the two are all of the text

    @classmethod
    def of(cls, snapshot: Snapshot) -> Place:
        """Read ``snapshot``."""
        before, after, language = snapshot.line_before, snapshot.line_after, snapshot.language
        prefix = snapshot.text[max(0, snapshot.cursor - WINDOW) : snapshot.cursor]
        suffix = snapshot.text[snapshot.cursor : snapshot.cursor + WINDOW]
        state = state_at(prefix, suffix, language, is_start=len(prefix) == snapshot.cursor)
        language = state.language or language
        kind = _kind(before, after, state, suffix)
        step, tabs = _step(prefix)
        return cls(
            kind,
            language,
            before,
            after,
            state,
            _above(snapshot),
            _below(snapshot),
            step,
            tabs,
            prefix,
            suffix,
            len(prefix) + len(suffix) == len(snapshot.text),
        )

    def names(self, base: int) -> Names:
        """What the code around a line indented by ``base`` lacks, on a blank line."""
        return names_around(self.prefix, self.suffix, self.language, base) if self.kind == "block" else Names()

    @property
    def base(self) -> int:
        """The indentation of the cursor's line, as far as it stands before the cursor."""
        return indent(self.before)


def _kind(before: str, after: str, state: State, suffix: str) -> Kind:
    if state.comment:
        return "comment" if state.comment == "\n" or after.strip() else "docstring"
    if state.string:
        return "docstring" if state.is_block and not after.strip() else "string"
    if after.strip():
        return "inside" if state.brackets and _ONLY_CLOSERS.fullmatch(after) else "rest"
    return "line" if before.strip() else "block"


def _above(snapshot: Snapshot) -> str:
    end = snapshot.text.rfind("\n", 0, snapshot.cursor)
    for _ in range(MAX_BLANK_LINES):
        if end < 0:
            return ""
        start = snapshot.text.rfind("\n", 0, end) + 1
        line = snapshot.text[start:end]
        if line.strip():
            return line
        end = start - 1
    return ""


def _below(snapshot: Snapshot) -> str | None:
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


def _step(prefix: str) -> tuple[int, bool]:
    """(the smallest indentation of the lines before the cursor, of an unindented file four; whether it is of tabs)."""
    *above, current = prefix.rsplit("\n", 200)
    lines = [line for line in above if line.strip()]
    if current.strip() or current.startswith("\t"):  # the first indented line of a new file is often the cursor's
        lines.append(current)
    if any(line.startswith("\t") for line in lines):
        return 1, not any(line.startswith("  ") for line in lines)
    return min((n for line in lines if (n := indent(line)) > 1), default=4), False


def opens_block(line: str, language: str) -> bool:
    """Whether ``line`` ends as a line before a block does."""
    code = code_of(line, language).rstrip()
    return code.endswith((":", "{", "=>", "->")) or bool(re.search(r"\b(?:do|then|begin)(?:\s*\|[^|]*\|)?$", code))


def code_of(line: str, language: str) -> str:
    """``line`` without a comment at its end."""
    mark = "#" if language in ("python", "ruby", "shellscript", "") else "//"
    at = line.find(mark)
    while at >= 0:
        if scan(line[:at], language).is_code:
            return line[:at]
        at = line.find(mark, at + 1)
    return line


def is_closer(text: str) -> bool:
    """Whether ``text``, without white space around it, begins by closing something."""
    return text[:1] in CLOSERS or text.startswith(("end", "fi", "done", "esac"))
