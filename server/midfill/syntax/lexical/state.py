"""What is open at a place of a text, and what of that must be known to read on from there."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from midfill.syntax.lexical.modes import Mode

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """How the text of one language is read."""

    id: str
    start: Mode  # where a text in it begins
    code: Mode  # in interpolations of its strings
    quotes: Mapping[str, Mode]  # its strings, by what ends them
    bare: Mode  # only brackets
    is_loose: bool = False  # brackets are ordinary characters
    comment_ends: frozenset[str] = frozenset()  # of comments that may span several lines
    begins: Callable[[str], Mode] | None = None  # how a piece of a text begins, if not in ``start``


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds a string, a comment, code in a string or a piece of another language."""

    mode: Mode  # the surrounding one
    base: int  # number of brackets open there
    interpolates: bool = False  # the bracket that closes the one opened here leads back
    one_line: bool = False  # so does the line's end
    row: Row | None = None  # another language begins here,
    terminator: re.Pattern[str] | None = None  # and ends before this, whatever is open


@dataclass(frozen=True, slots=True)
class LexerState:
    """What is open: brackets, innermost last, and at most one of a string and a comment."""

    brackets: tuple[str, ...] = ()
    n_unopened: int = 0  # closers of brackets that were not open
    mode: Mode | None = None  # None: where a text of the language begins
    within: tuple[Frame, ...] = ()
    pending: tuple[Mode, ...] = ()  # strings that begin with the next line
    tail: str = field(default="", compare=False)  # what was read last, for lookbehinds

    @property
    def depth(self) -> int:
        """Number of open brackets, minus the closers of brackets that were open before."""
        return len(self.brackets) - self.n_unopened

    @property
    def string(self) -> str:
        """What ends the open string; "" if none is open."""
        return self.mode.end if self.mode is not None and self.mode.kind == "string" else ""

    @property
    def comment(self) -> str:
        """What ends the open comment, a line's end or a text; "" if none is open."""
        return self.mode.end if self.mode is not None and self.mode.kind == "comment" else ""

    @property
    def is_code(self) -> bool:
        """Whether the place is neither in a string nor in a comment."""
        return self.mode is None or self.mode.kind in ("code", "text")

    @property
    def is_text(self) -> bool:
        """Whether the place is in prose outside of strings: of a page, of an element."""
        return self.mode is not None and self.mode.kind == "text"

    @property
    def is_block(self) -> bool:
        """Whether the place is in a string that is prose of many lines, such as a docstring."""
        return self.mode is not None and self.mode.is_block

    @property
    def language(self) -> str:
        """The language of a piece of the text; "" if it is that of the text."""
        if self.mode is not None and self.mode.language:
            return self.mode.language
        for frame in reversed(self.within):
            if frame.row is not None or frame.mode.language:
                return frame.row.id if frame.row is not None else frame.mode.language
        return ""


START = LexerState()
