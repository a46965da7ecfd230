"""What is open at a cursor: the reading of the text before it, unless its lines show that the reading went wrong.

A user who typed one quote too many, or uses a construct that no table knows, must not lose suggestions up to the end of
the file. A string of many lines is believed only if those lines look like prose.
"""

from __future__ import annotations

import re
from dataclasses import replace

from midfill.syntax.lexical.reader import Lexer
from midfill.syntax.lexical.rows import markup, row
from midfill.syntax.lexical.state import START, LexerState, Row

# A string of more lines than this is doubted, at most this many times.
LONG, MAX_DOUBTS = 20, 4
# This many lines have to look like code, and this share of those at the indentation of the opening line.
MIN_CODE, CODE_SHARE = 3, 0.5

_WORDS = """
    async begin case catch class const def defmodule defp do elif else elsif end enum esac except export extern fi final
    fn for foreach from fun func function if impl import include interface internal let local match mod module my
    namespace open our override package private protected pub public raise require require_relative return self static
    struct sub switch throw trait try type union unless until use using val var virtual void where while with
"""
_CODE = re.compile(
    rf"""[ \t]*(?:
        [}}\])]+[;,)]*\s*\Z | end\b\s*\Z
        | (?:{"|".join(_WORDS.split())})\b
          (?!\s+(?:the|a|an|is|are|to|of|in|you|it|this|that|they|we)\b)[^.?!]*[^.?!,\s]\s*\Z
        | [$@]?[A-Za-z_][\w.$:>\[\]-]*\s*(?:[-+*/|&.:]?=(?!=)|\().*
        | \#\s*(?:include|define|ifdef|ifndef|endif|pragma)\b
        | [^\s].*[;{{]\s*\Z
    )""",
    re.VERBOSE,
)
# A line that is not inside parentheses.
_DEFINITION = re.compile(
    r"^(?:(?:async )?def \w|class \w|(?:pub(?:\([a-z]+\))? |export |async )*"
    r"(?:fn|func|fun|function|struct|enum|trait|interface) \w|impl\b|import \w|from [\w.]+ import\b|package \w|"
    r"namespace \w|module \w|\#include\b)",
    re.MULTILINE,
)


def state_at(prefix: str, suffix: str, language: str, *, is_start: bool = True) -> LexerState:
    """Return the state at the end of ``prefix``, followed by ``suffix``. ``is_start``: the text begins with ``prefix``;
    otherwise ``prefix`` is a window, which may begin in the middle of anything."""
    known = row(language)
    begin, state = _beginning(prefix, suffix, known, is_start=is_start)
    for _ in range(MAX_DOUBTS):
        reader = _read(prefix[begin:], known, state)
        start = _doubtful(reader, suffix)
        if start is None:
            return reader.state()
        until = _read(prefix[begin : begin + start - reader.n_tail], known, state)
        line_end = prefix.find("\n", begin + start - reader.n_tail)
        begin, state = line_end if line_end >= 0 else len(prefix), replace(until.state(), pending=())
    return _read(prefix[begin:], known, state).state()


def _beginning(prefix: str, suffix: str, known: Row, *, is_start: bool) -> tuple[int, LexerState]:
    """Return where reading begins, and in which state."""
    if is_start:
        return 0, LexerState(mode=known.start)
    for start, end in (("/*", "*/"), ("<!--", "-->"), ("{-", "-}")):
        closing, opening = prefix.find(end), prefix.find(start)
        if closing >= 0 and (opening < 0 or closing < opening) and end in known.comment_ends:
            return closing + len(end), START
    if known.id in markup.ROWS and (inner := markup.element_around(prefix, suffix)):
        reader = Lexer("", known, LexerState(mode=known.start))
        reader.enter_language(row(inner), markup.end_of("script" if inner == "javascript" else "style"), 0)
        return 0, reader.state()
    return 0, START


def _read(text: str, known: Row, state: LexerState) -> Lexer:
    """Read ``text``, but leave no parenthesis open at its last definition."""
    reader = Lexer(text, known, state, marked=True)
    at = 0 if known.is_loose else max((found.start() for found in _DEFINITION.finditer(text)), default=0)
    if at > 0:
        reader.read(until=at)
        if reader.mode.kind == "code" and not (reader.frames and reader.frames[-1].interpolates):
            while reader.brackets and reader.brackets[-1] != "{":
                reader.brackets.pop()
    reader.read()
    return reader


def _doubtful(reader: Lexer, suffix: str) -> int | None:
    """Return where the first wrongly read string begins, or the outermost string or comment that is open for too
    long."""
    for start, end in reader.spans or ():
        if _is_flipped(reader.text, start, end):
            return start
    modes = [*(frame.mode for frame in reader.frames), reader.mode][1:]
    for frame, mode, start in zip(reader.frames, modes, reader.opened_at, strict=True):
        if mode.kind not in ("string", "comment") or start < 0 or frame.row is not None:
            continue
        lines = reader.text[start:].split("\n")
        if (
            len(lines) > LONG
            and not _closes(mode.end, suffix, by_line=mode.by_line)
            and _is_code(reader.text, start, lines)
        ):
            return start
    return None


def _closes(end: str, suffix: str, *, by_line: bool) -> bool:
    """Whether ``suffix`` shows by itself that it begins inside something that ``end`` ends."""
    if by_line:
        return re.search(rf"^[ \t]*{re.escape(end.strip())}\b", suffix, re.MULTILINE) is not None
    if end in _STARTS:
        closing, opening = suffix.find(end), suffix.find(_STARTS[end])
        return closing >= 0 and (opening < 0 or closing < opening)
    return len(end) == 3 and suffix.count(end) % 2 == 1


_FLIPPED = re.compile(r"[ \t(\[{=,:]['\"]\w")


def _is_flipped(text: str, start: int, end: int) -> bool:
    """Whether the text from one quote to the next is in fact what is between two strings: it spans lines, and a word is
    right after it but not before, or its lines are code."""
    if start < 0 or text.find("\n", start, end) < 0:
        return False
    if _FLIPPED.match(text, end - 2) is not None:
        return True
    lines = text[start:end].split("\n")
    return len(lines) > MIN_CODE and _is_code(text, start, lines, share=1.0)


_STARTS = {"*/": "/*", "-->": "<!--", "-}": "{-", "*)": "(*", "|#": "#|", "=#": "#=", "#>": "<#"}


def _is_code(text: str, start: int, lines: list[str], share: float = CODE_SHARE) -> bool:
    """Whether ``lines``, whose first opened something at ``start``, look like code rather than prose."""
    line = text[text.rfind("\n", 0, start) + 1 : start + 1]
    outer = len(line) - len(line.lstrip(" \t"))
    outside = [one for one in lines[1:-1] if one.strip() and len(one) - len(one.lstrip(" \t")) <= outer]
    n_code = sum(1 for one in outside if _CODE.match(one) is not None)
    return n_code >= MIN_CODE and n_code >= share * len(outside)
