"""What begins something depending on the text before it, or ends with a text that it names itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from midfill.syntax.lexical.modes import (
    Action,
    Mode,
    Rule,
    enter,
    interpolate,
    leave,
    leave_at_line_end,
    mode,
    passed,
    verbatim,
)
from midfill.syntax.lexical.reader import Lexer

# Longest regular expression, and how far back a word is searched.
MAX_REGEX, MAX_WORD = 500, 20

_REGEX = re.compile(
    r"/(?![*/])(?:(?:[^\\/\[\n]|\\[^\n]|\[(?:[^\]\\\n]|\\[^\n])*+\])++(?:(/[A-Za-z]*)|\\?\Z|\[[^\]\n]*+\Z)?|\[[^\]\n]*+\Z)"
)
_WORD_BEFORE = re.compile(r"[\w$]+\Z")
_EXPECTS_VALUE = frozenset(
    [
        "return",
        "typeof",
        "case",
        "in",
        "of",
        "delete",
        "void",
        "throw",
        "new",
        "else",
        "do",
        "await",
        "yield",
        "instanceof",
        "and",
        "or",
        "not",
        "if",
        "unless",
        "when",
        "while",
        "until",
        "then",
        "elsif",
        "split",
        "grep",
        "map",
        "push",
        "unshift",
        "join",
        "default",
        "x",
        "lt",
        "gt",
        "le",
        "ge",
        "eq",
        "ne",
        "cmp",
        "puts",
        "match",
    ]
)
_REGEX_MODE = mode(
    "string",
    (
        passed(r"\\[^\n]"),
        passed(r"\[(?:[^\]\\\n]|\\[^\n])*+\]"),
        Rule(r"/[A-Za-z]*", leave),
        Rule(r"\n", leave_at_line_end),
    ),
    "/",
)


def expects_value(reader: Lexer, at: int, *, by_space: bool = False) -> bool:
    """Whether a value follows the text before ``at``, not an operator. ``by_space``: a word with white space after it,
    and none after the character at ``at``, is a call with a value."""
    end = reader.before(at)
    if end == 0:
        return True
    text = reader.text
    last = text[end - 1]
    if last.isalnum() or last in "_$":
        word = _WORD_BEFORE.search(text, max(0, end - MAX_WORD), end)
        said = word.group() if word is not None else ""
        if said in _EXPECTS_VALUE and text[end - len(said) - 1 : end - len(said)] not in (".", "@", "$"):
            return True
        return by_space and end < at and not said.isdigit() and text[at + 1 : at + 2] not in (" ", "=", "\n", "")
    if last == "}":
        return "\n" in text[end:at]
    if last in ")]\"'`<":  # the last quote before the end of a tag
        return False
    return text[end - 2 : end] not in ("++", "--")


def slash(reader: Lexer, match: re.Match[str]) -> int:
    """Read a regular expression, or a division."""
    return _slash(reader, match.end() - 1, by_space=False)


def slash_of_a_call(reader: Lexer, match: re.Match[str]) -> int:
    """Do the same in languages whose calls need no parentheses."""
    return _slash(reader, match.end() - 1, by_space=True)


def _slash(reader: Lexer, at: int, *, by_space: bool) -> int:
    if not expects_value(reader, at, by_space=by_space):
        return at + 2 if reader.text[at + 1 : at + 2] == "/" else at + 1
    found = _REGEX.match(reader.text, at, min(reader.limit, at + MAX_REGEX))
    if found is None:
        return at + 1
    if found.group(1) is not None:
        reader.passed("string", at, found.end())
        return found.end()
    if found.end() == reader.limit:  # it is still being written
        reader.enter(_REGEX_MODE, at)
        return found.end()
    return at + 1


@functools.lru_cache(maxsize=256)
def heredoc(tag: str, code: str, *, indented: bool, dashed: bool = False) -> Mode:
    """Return a text that ends with a line that says ``tag``; ``code`` begins code in it, "" if nothing does."""
    white = r"[ \t]*" if indented else r"\t*" if dashed else ""
    rules = [Rule(rf"\n{white}{re.escape(tag)}(?![\w-])", leave)]
    if code:
        rules = [*rules, passed(r"\\[^\n]"), *(Rule(pattern, interpolate) for pattern in code.split(" "))]
    return mode("string", rules, tag, is_block=True, by_line=True)


def heredoc_rule(pattern: str, code: str = "", *, indented: bool = False, first: str = "<") -> Rule:
    """Return the rule for a heredoc's beginning: ``pattern`` has a group ``tag``, ``quote`` if its quotes mean that it
    contains no code, and ``dash`` if its end may be indented."""

    def begin(reader: Lexer, match: re.Match[str]) -> int:
        groups = match.groupdict()
        raw = (groups.get("quote") or "") == "'"
        any_indent = indented or "~" in (groups.get("dash") or "")
        dashed = "-" in (groups.get("dash") or "")
        reader.wait(heredoc(groups["tag"], "" if raw else code, indented=any_indent, dashed=dashed))
        reader.passed("string", match.start(match.lastindex or 0), match.end())
        return match.end()

    return Rule(pattern, begin, first)


def line_end(reader: Lexer, match: re.Match[str]) -> int:
    """End a line of code: an announced text begins, or code in a string of one line ends."""
    at = match.end() - 1
    mode_before, n_frames = reader.mode, len(reader.frames)
    reader.line_end(at)
    return at if (reader.mode is not mode_before or len(reader.frames) != n_frames) else at + 1


@functools.lru_cache(maxsize=256)
def _verbatim(end: str, *, is_block: bool) -> Mode:
    return verbatim(end, is_block=is_block)


def until(end: Callable[[re.Match[str]], str], *, is_block: bool = False) -> Action:
    """Return the beginning of a string in which nothing has a meaning, up to the end that ``end`` returns."""

    def begin(reader: Lexer, match: re.Match[str]) -> int:
        reader.enter(_verbatim(end(match), is_block=is_block), match.start(match.lastindex or 0))
        return match.end()

    return begin


@functools.lru_cache(maxsize=64)
def comment_until(end: str) -> Mode:
    """Return a comment that ends with ``end``."""
    return mode("comment", (Rule(re.escape(end), leave),), end)


PAIRS = {"(": ")", "[": "]", "{": "}", "<": ">"}


@functools.lru_cache(maxsize=512)
def delimited(start: str, end: str, code: str, *, parts: int = 1) -> Mode:
    """Return a string between two delimiters that nest; with ``parts``, another part follows."""
    last = leave if parts == 1 else _second_part
    rules = [passed(r"\\."), Rule(re.escape(end), last)]
    if start != end:
        rules.append(Rule(re.escape(start), _nest))
    if code:
        rules.append(Rule(code, interpolate))
    return mode("string", rules, end)


def _nest(reader: Lexer, match: re.Match[str]) -> int:
    end = reader.mode.end
    start = match.string[match.end() - 1]
    reader.enter(delimited(start, end, ""), match.end() - 1)
    return match.end()


_NEXT_PART = re.compile(r"\s*(?P<d>[^\w\s])")


def _second_part(reader: Lexer, match: re.Match[str]) -> int:
    """End the first part of a substitution: if its delimiters are brackets, another pair follows."""
    end = reader.mode.end
    at = match.end()
    reader.leave(at)
    if end in PAIRS.values():
        following = _NEXT_PART.match(reader.text, at, reader.limit)
        if following is None:
            return at
        start, at = following.group("d"), following.end()
        end = PAIRS.get(start, start)
    else:
        start = end
    reader.enter(delimited(start, end, ""), at)
    return at


def quote_like(code: str, *, raw: str = "") -> Action:
    """Return the beginning of a string that names its kind (group ``kind``) and its delimiter (group ``d``); the kinds
    in ``raw`` contain no code, and ``s``, ``tr`` and ``y`` have two parts."""

    def begin(reader: Lexer, match: re.Match[str]) -> int:
        start, kind = match.group("d").strip(), match.group("kind")
        end = PAIRS.get(start, start)
        parts = 2 if kind in ("s", "tr", "y") else 1
        reader.enter(delimited(start, end, "" if kind in raw.split() else code, parts=parts), match.start("kind"))
        return match.end()

    return begin


_CASE_PATTERN = re.compile(r"[ \t]*\(?[^()#\n;&]*\Z")
_BODY_FOLLOWS = re.compile(r"[^\n]*;;|[ \t]*(?:#[^\n]*)?\n[ \t]*\S")


def shell_paren(reader: Lexer, match: re.Match[str]) -> int:
    """Read a closing parenthesis: it belongs to a pattern of ``case`` if none is open and the line begins with the
    pattern."""
    at, text, brackets = match.end() - 1, reader.text, reader.brackets
    base = reader.frames[-1].base if reader.frames else 0
    is_open = len(brackets) > base and brackets[-1] == "("
    if not is_open:
        start = max(text.rfind("\n", 0, at) + 1, at - 200)
        line = text[start:at]
        known = start > 0 or line[:1] in (" ", "\t") or "|" in line or line[:1] in ("-", "*")
        if _CASE_PATTERN.fullmatch(line) and (known or _BODY_FOLLOWS.match(text, at + 1)):
            return at + 1
    reader.close(")", at + 1)
    return at + 1


def value_quote(inner: Mode) -> Action:
    """Return the action for a quote of YAML: it begins a string only where a value begins; elsewhere it is an ordinary
    character."""
    begin = enter(inner)

    def quote(reader: Lexer, match: re.Match[str]) -> int:
        return begin(reader, match) if value_begins(reader, match.end() - 1) else match.end()

    return quote


_TAGGED = re.compile(r"[:-][ \t]+[!&][\w!/.-]*\Z")  # before a value with its type or its anchor
MAX_TAG = 60


def value_begins(reader: Lexer, at: int) -> bool:
    """Whether a value of YAML begins at ``at``."""
    text, end = reader.text, at
    while end > 0 and text[end - 1] in " \t":
        end -= 1
    last = text[end - 1] if end > 0 else "\n"
    if last == "\n" or last in "[{,":
        return last in "\n[{" or bool(reader.brackets)
    if last in ":-?":
        return end < at or (last == ":" and bool(reader.brackets))
    return _TAGGED.search(text, max(0, end - MAX_TAG), end) is not None
