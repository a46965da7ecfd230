"""Brackets, strings and comments, read character by character: what is open at a place.

A text with a cursor in it is broken code, and it is broken right there, where a parser's guess is worth least. This
reading never fails, needs no grammar, and continues from where it stopped, so a middle can be followed while it grows.
Each language is read by a table of its own (``rows``); the scripts and styles of a page, the pages of PHP and the code
in fences of Markdown are read by the tables of their languages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from midfill.syntax.lexical.actions import heredoc
from midfill.syntax.lexical.modes import Kind, verbatim
from midfill.syntax.lexical.reader import Lexer, without_brackets
from midfill.syntax.lexical.recovery import state_at
from midfill.syntax.lexical.rows import row
from midfill.syntax.lexical.state import CLOSERS, OPENERS, START, Frame, LexerState

__all__ = [
    "CLOSERS", "OPENERS", "START", "LexerState", "code_only", "pieces", "scan", "state_at", "string_end", "unopened",
    "unopened_at", "without_brackets",
]  # fmt: skip


def scan(text: str, language: str, state: LexerState = START) -> LexerState:
    """Return the state after ``text``, which begins in ``state``."""
    reader = Lexer(text, row(language), state)
    reader.read()
    return reader.state()


def unopened_at(text: str, language: str, state: LexerState = START) -> int | None:
    """Return the position of the first closer in ``text`` that closes nothing opened in it."""
    known = row(language)
    return Lexer(text, known, without_brackets(state), bare=known.is_loose).read(to_unopened=True)


def unopened(text: str, language: str) -> str:
    """Return the closers in ``text`` that close nothing opened in it, in their order."""
    known = row(language)
    reader = Lexer(text, known, START, bare=known.is_loose)
    reader.read()
    return "".join(text[at] for at in reader.unopened)


def string_end(text: str, language: str, quote: str) -> int | None:
    """Return where ``text``, which begins in a string that ``quote`` ends, leaves the string; None: nowhere."""
    known = row(language)
    mode = known.quotes.get(quote) or (heredoc(quote, "", indented=True) if quote.isidentifier() else verbatim(quote))
    reader = Lexer(text, known, LexerState(mode=mode, within=(Frame(known.code, 0),)))
    end = reader.read(min_frames=1)
    return end + 1 if end is not None and reader.broke_off else end


def pieces(text: str, language: str, state: LexerState = START) -> Iterator[tuple[int, int, Kind]]:
    """Yield the parts of ``text``: where code, prose, strings and comments begin and end."""
    reader = Lexer(text, row(language), state, marked=True)
    first = reader.mode.kind
    reader.read()
    start, kind = 0, first
    for at, following in reader.marks or ():
        at = min(max(at - reader.n_tail, start), len(text))
        if at > start:
            yield start, at, kind
            start = at
        kind = following
    if start < len(text):
        yield start, len(text), kind


_PREFIX = re.compile(r"(?<![\w.])(?:[A-Za-z]|[rRbBfFtTu][rRbBfFtT8])\Z")  # of a string, as in r"..."


def code_only(text: str, language: str) -> str:
    """Return ``text`` without the contents of strings and comments; its lines keep their numbers."""
    kept: list[str] = []
    for start, end, kind in pieces(text, language):
        if kind in ("code", "text"):
            kept.append(text[start:end])
            continue
        if kept and text[start] in "\"'":
            kept[-1] = _PREFIX.sub("", kept[-1])
        kept.append("\n" * text.count("\n", start, end) or " ")
    return "".join(kept)
