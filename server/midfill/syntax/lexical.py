"""Brackets, strings and comments, read character by character: what is open at a place.

A text with a cursor in it is broken code, and it is broken just there, where a parser's guess about it is worth least.
This reading never fails, needs no grammar, and goes on from where it stood, so a middle can be followed while it grows.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

OPENERS = {"(": ")", "[": "]", "{": "}"}
CLOSERS = frozenset(OPENERS.values())

_HASH = frozenset({"python", "ruby", "shellscript", "yaml", "toml", "makefile", "dockerfile", "perl", "r", "elixir"})
_DASHES = frozenset({"lua", "sql", "haskell"})
# An apostrophe is no quote in prose, and in these it begins a character or something else.
_CHARACTER = frozenset({"c", "cpp", "java", "csharp", "rust", "go", "kotlin"})
_BACKTICK = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact", "go"})
_PROSE = frozenset({"markdown", "plaintext", "latex", "restructuredtext", "html", "xml", ""})


@dataclass(frozen=True, slots=True)
class State:
    """What is open: brackets, innermost last, and at most one of a string (its end) and a comment (its end)."""

    brackets: tuple[str, ...] = ()
    string: str = ""  # what ends it
    comment: str = ""  # "\n" or what ends it
    n_unopened: int = 0  # closers that met nothing open

    @property
    def depth(self) -> int:
        """Open brackets, less the closers of brackets that were open before."""
        return len(self.brackets) - self.n_unopened

    @property
    def is_code(self) -> bool:
        """Neither in a string nor in a comment."""
        return not self.string and not self.comment


START = State()


@dataclass(frozen=True, slots=True)
class _Language:
    tokens: re.Pattern[str]  # in code: what may change the state
    many_lines: frozenset[str]  # quotes of strings that go over several lines


@functools.cache
def _language(language: str) -> _Language:
    comments = ["#"] if language in _HASH else ["--"] if language in _DASHES else ["//", r"/\*"]
    quotes, many = ['"'], {'"""', "'''", "`"}
    if language == "php":
        comments.append("#")
    if language == "python":
        quotes = ['"""', "'''", '"', "'"]
    elif language in _PROSE:
        comments, quotes = ["<!--"], []
    elif language in _CHARACTER:
        comments.append(r"'(?:\\.[^'\n]*|[^'\\\n])'")
        quotes = ['"""', '"'] if language in ("java", "kotlin", "csharp") else ['"']
    else:
        quotes.append("'")
    if language in _BACKTICK:
        quotes.append("`")
    if language in ("rust", "ruby", "php", "shellscript"):
        many |= {'"', "'"}
    return _Language(re.compile("|".join([*comments, *quotes, r"[()\[\]{}]"])), frozenset(many))


_ENDS = {"#": "\n", "--": "\n", "//": "\n", "/*": "*/", "<!--": "-->"}


def scan(text: str, language: str, state: State = START) -> State:
    """The state after ``text``, which begins in ``state``."""
    return _read(text, language, state)[0]


def unopened_at(text: str, language: str, state: State = START) -> int | None:
    """Where in ``text`` the first closer stands that closes nothing opened in it."""
    return _read(text, language, replace(state, brackets=()), to_unopened=True)[1]


def unopened(text: str, language: str) -> str:
    """The closers in ``text`` that close nothing opened in it, in their order."""
    found, start = "", 0
    while (at := unopened_at(text[start:], language)) is not None:
        found += text[start + at]
        start += at + 1
    return found


def string_end(text: str, language: str, quote: str) -> int | None:
    """Where ``text``, which begins in a string that ``quote`` ends, leaves the string; None: nowhere."""
    at, closed = _end_of_string(text, 0, quote, many_lines=quote in _language(language).many_lines)
    return at if closed else None


def code_only(text: str, language: str) -> str:
    """``text`` with what is in strings and comments taken out; its lines stay where they are."""
    parts: list[str] = []
    _read(text, language, START, parts=parts)
    return "".join(parts)


def _read(
    text: str, language: str, state: State, *, to_unopened: bool = False, parts: list[str] | None = None
) -> tuple[State, int | None]:
    at, known = 0, _language(language)
    brackets, n_unopened = list(state.brackets), state.n_unopened
    string, comment = state.string, state.comment
    while at < len(text):
        start = at
        if comment:
            end = text.find(comment, at)
            at, comment = (end + len(comment), "") if end >= 0 else (len(text), comment)
        elif string:
            at, closed = _end_of_string(text, at, string, many_lines=string in known.many_lines)
            string = "" if closed else string
        else:
            match = known.tokens.search(text, at)
            found, at = (match.group(), match.end()) if match is not None else ("", len(text))
            if parts is not None:
                parts.append(text[start : at if found in "()[]{}" else at - len(found)])
            if found in OPENERS:
                brackets.append(found)
            elif found in CLOSERS:
                if not _close(brackets, found):
                    n_unopened += 1
                    if to_unopened:
                        return state, at - 1
            elif found in _ENDS:
                comment = _ENDS[found]
            elif not (found.startswith("'") and len(found) > 1 and found != "'''"):  # a whole character
                string = found
            continue
        if parts is not None:
            parts.append("\n" * text.count("\n", start, at))
    return State(tuple(brackets), string, comment, n_unopened), None


def _close(brackets: list[str], closer: str) -> bool:
    """Close the innermost bracket of that kind, if one is open; those in it were never closed."""
    for i in range(len(brackets) - 1, -1, -1):
        if OPENERS[brackets[i]] == closer:
            del brackets[i:]
            return True
    return False


_IN_STRING = {quote: re.compile(rf"\\.|{quote}|\n", re.DOTALL) for quote in ('"', "'", "`", '"""', "'''")}


def _end_of_string(text: str, at: int, quote: str, *, many_lines: bool) -> tuple[int, bool]:
    """(after the string's end or the text's, whether it ended). A line's end ends a string of one line."""
    for match in _IN_STRING[quote].finditer(text, at):
        found = match.group()
        if found == quote or (found == "\n" and not many_lines):
            return match.end(), True
    return len(text), False
