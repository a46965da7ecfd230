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
    start: Mode  # where a text of it begins
    code: Mode  # in interpolations of its strings
    quotes: Mapping[str, Mode]  # its strings, by what ends them
    bare: Mode  # brackets alone
    is_loose: bool = False  # brackets are characters like others
    comment_ends: frozenset[str] = frozenset()  # of comments that go over several lines
    begins: Callable[[str], Mode] | None = None  # how a piece of a text begins, where that is not ``start``


@dataclass(frozen=True, slots=True)
class Frame:
    """What a string, a comment, code in a string or a piece of another language stands in."""

    mode: Mode  # that one's
    base: int  # open brackets there
    interpolates: bool = False  # the bracket that closes the one opened here leads back
    one_line: bool = False  # so does the line's end
    row: Row | None = None  # another language begins here,
    terminator: re.Pattern[str] | None = None  # and ends before this, whatever is open


@dataclass(frozen=True, slots=True)
class State:
    """What is open: brackets, innermost last, and at most one of a string and a comment."""

    brackets: tuple[str, ...] = ()
    n_unopened: int = 0  # closers that met nothing open
    mode: Mode | None = None  # None: where a text of the language begins
    within: tuple[Frame, ...] = ()
    pending: tuple[Mode, ...] = ()  # strings that begin with the next line
    tail: str = field(default="", compare=False)  # what was read last, to look back at

    @property
    def depth(self) -> int:
        """Open brackets, less the closers of brackets that were open before."""
        return len(self.brackets) - self.n_unopened

    @property
    def string(self) -> str:
        """What ends the string that is open; "" where none is."""
        return self.mode.end if self.mode is not None and self.mode.kind == "string" else ""

    @property
    def comment(self) -> str:
        """What ends the comment that is open, a line's end or a text; "" where none is."""
        return self.mode.end if self.mode is not None and self.mode.kind == "comment" else ""

    @property
    def is_code(self) -> bool:
        """Neither in a string nor in a comment."""
        return self.mode is None or self.mode.kind in ("code", "text")

    @property
    def is_text(self) -> bool:
        """Words for people that are no string: of a page, of an element."""
        return self.mode is not None and self.mode.kind == "text"

    @property
    def is_block(self) -> bool:
        """In a string that is text of many lines, such as a docstring."""
        return self.mode is not None and self.mode.is_block

    @property
    def language(self) -> str:
        """The language that a piece of the text is in; "" where it is that of the text."""
        if self.mode is not None and self.mode.language:
            return self.mode.language
        for frame in reversed(self.within):
            if frame.row is not None or frame.mode.language:
                return frame.row.id if frame.row is not None else frame.mode.language
        return ""


START = State()
