"""Modes: what may change the state in one kind of text, such as the code of a language or one of its strings.

A mode is a table of rules, compiled into one pattern that skips characters without a meaning and stops at those that
may have one. The first rule that matches counts.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from midfill.syntax.lexical.reader import Lexer

Kind = Literal["code", "text", "string", "comment"]
# What a rule does; it returns the position where reading continues.
Action = Callable[["Lexer", "re.Match[str]"], int]


@dataclass(frozen=True, slots=True)
class Rule:
    """What to look for. ``first`` are the characters that it may begin with; ``action`` None: it is skipped.

    A pattern may look behind, but matches at least one character.
    """

    pattern: str
    action: Action | None = None
    first: str = ""
    opens: Mode | None = None  # the string or the comment that it begins


@dataclass(eq=False)
class Mode:
    """One kind of text. A mode never changes once it is made; rarely needed parts are compiled late."""

    kind: Kind
    rules: tuple[Rule, ...]
    end: str = ""  # the text that ends it
    is_block: bool = False  # a string that is prose of many lines, such as a docstring
    by_line: bool = False  # its end depends on the beginning of a line
    language: str = ""  # of a text in another language than its file
    line_end: Action | None = None  # for code: what a line's end does, if it has a meaning there
    plain: Mode | None = None  # for code in which it has one: the same mode without that meaning

    @functools.cached_property
    def compiled(self) -> tuple[Callable[..., re.Match[str] | None], tuple[Action | None, ...]]:
        """What finds the next position that counts, and what is done there, by the number of the group that matched."""
        return _compiled(self.rules)

    @functools.cached_property
    def lined(self) -> Mode | None:
        """For code: the same mode, in which a line's end has a meaning."""
        if self.line_end is None:
            return None
        return Mode(self.kind, (Rule(r"\n", self.line_end), *self.rules), self.end, plain=self)


def mode(
    kind: Kind, rules: Iterable[Rule], end: str = "", *, is_block: bool = False, by_line: bool = False,
    line_end: Action | None = None, language: str = "",
) -> Mode:  # fmt: skip
    """Return a mode with ``rules``."""
    return Mode(kind, tuple(rules), end, is_block, by_line, language, line_end)


def _compiled(rules: tuple[Rule, ...]) -> tuple[Callable[..., re.Match[str] | None], tuple[Action | None, ...]]:
    if not rules:
        return re.compile(r"(?!)").match, (None,)
    actions: list[Action | None] = [None]
    for rule in rules:
        actions += [rule.action, *([None] * rule.pattern.count("(?P<"))]
    first = "".join(re.escape(char) for char in sorted({char for rule in rules for char in first_of(rule)}))
    choices = "|".join(f"({rule.pattern})" for rule in rules)
    return re.compile(rf"[^{first}]*+(?:{choices}|[{first}])", re.DOTALL).match, tuple(actions)


# What may come before the first character of a pattern: lookbehinds, and the beginning of a named group.
_LOOK = r"\(\?<[=!](?:[^()\[\\]|\\.|\[(?:[^\]\\]|\\.)*\]|\((?:[^()\[\\]|\\.|\[(?:[^\]\\]|\\.)*\])*\))*\)"
_LOOKS = re.compile(rf"(?:{_LOOK}|\(\?:{_LOOK}(?:\|{_LOOK})*\)|\(\?P<\w+>)*")


def first_of(rule: Rule) -> str:
    """Return the characters that ``rule`` may begin with."""
    if rule.first:
        return rule.first
    looks = _LOOKS.match(rule.pattern)
    pattern = rule.pattern[looks.end() if looks is not None else 0 :]
    if pattern.startswith("[") and (chosen := re.match(r"\[((?:[^\]\\^-]|\\\W)+)\]", pattern)) is not None:
        return re.sub(r"\\(.)", r"\1", chosen.group(1))
    if (escaped := re.match(r"\\(\W|n)", pattern)) is not None:
        return "\n" if escaped.group(1) == "n" else escaped.group(1)
    assert pattern[0] not in "[(\\.^$?*", rule.pattern
    return pattern[0]


def opened(reader: Lexer, match: re.Match[str]) -> int:
    """Read an opening bracket."""
    reader.brackets.append(match.string[match.end() - 1])
    return match.end()


def closed(reader: Lexer, match: re.Match[str]) -> int:
    """Read a closing bracket."""
    reader.close(match.string[match.end() - 1], match.end())
    return match.end()


def literal(reader: Lexer, match: re.Match[str]) -> int:
    """Read a complete string, character or regular expression."""
    reader.passed("string", match.start(match.lastindex or 0), match.end())
    return match.end()


def leave(reader: Lexer, match: re.Match[str]) -> int:
    """End a string or a comment."""
    reader.leave(match.end())
    return match.end()


def leave_at_line_end(reader: Lexer, match: re.Match[str]) -> int:
    """End what a line's end closes; the line's end itself is left to the surrounding mode."""
    reader.broke_off = True
    reader.leave(match.end() - 1)
    return match.end() - 1


def enter(inner: Mode) -> Action:
    """Return the beginning of a string or a comment."""

    def begin(reader: Lexer, match: re.Match[str]) -> int:
        reader.enter(inner, match.start(match.lastindex or 0))
        return match.end()

    return begin


def interpolate(reader: Lexer, match: re.Match[str]) -> int:
    """Begin code in a string, up to the closing bracket."""
    reader.interpolate(match.string[match.end() - 1], match.end(), one_line=False)
    return match.end()


def interpolate_in_line(reader: Lexer, match: re.Match[str]) -> int:
    """Begin code in a string of one line: it ends with the line, too."""
    reader.interpolate(match.string[match.end() - 1], match.end(), one_line=True)
    return match.end()


BRACKETS = (Rule(r"[(\[{]", opened, "([{"), Rule(r"[)\]}]", closed, ")]}"))
OPENED, CLOSED = opened, closed  # the reader handles these two itself


def passed(pattern: str, first: str = "") -> Rule:
    """Return a rule that skips what looks meaningful but is not."""
    return Rule(pattern, None, first)


def whole(pattern: str, first: str = "") -> Rule:
    """Return a rule for a complete string or character."""
    return Rule(pattern, literal, first)


@functools.cache
def line_comment(mark: str, first: str = "", stop: str = "") -> Rule:
    """Return a rule for a comment that ends with its line, or before ``stop``."""
    body = rf"(?:(?!{stop})[^\n])*" if stop else r"[^\n]*"
    rules = [Rule(r"\n", leave_at_line_end)]
    if stop:
        rules.append(Rule(stop, _leave_before))
    inner = mode("comment", rules, "\n")

    def comment(reader: Lexer, match: re.Match[str]) -> int:
        if match.end() < reader.limit:
            reader.passed("comment", match.start(match.lastindex or 0), match.end())
        else:
            reader.enter(inner, match.start(match.lastindex or 0))
        return match.end()

    return Rule(mark + body, comment, first)


def _leave_before(reader: Lexer, match: re.Match[str]) -> int:
    start = match.start(match.lastindex or 0)
    reader.leave(start)
    return start


@functools.cache
def block_comment(start: str, end: str, *, nested: bool = False, first: str = "") -> Rule:
    """Return a rule for a comment that may span several lines; ``start`` is a pattern, ``end`` a text."""
    rules = [Rule(re.escape(end), leave)]
    if nested:

        def again(reader: Lexer, match: re.Match[str]) -> int:
            reader.enter(reader.mode, match.start(match.lastindex or 0))
            return match.end()

        rules.append(Rule(start, again, first))
    inner = mode("comment", rules, end)
    return Rule(start, enter(inner), first, inner)


@functools.cache
def string(
    quote: str, *, escape: str = r"\\.", many: bool = False, code: str = "", skip: str = "", block: bool = False,
    before: str = "", whole_if: str = "", start: str = "",
) -> tuple[Rule, ...]:  # fmt: skip
    """Return the rules of a string that begins and ends with ``quote``, a text.

    ``escape`` and ``skip`` are patterns that are skipped in it, ``code`` begins code in it, ``many``: it may span
    several lines, ``before``: a lookbehind for what makes it such a string, ``start``: a pattern, if it does not begin
    with its quote.
    """
    end = re.escape(quote)
    rules = [passed(pattern) for pattern in (skip, escape) if pattern]
    if code:
        rules.append(Rule(code, interpolate if many else interpolate_in_line))
    rules.append(Rule(end + whole_if, leave))
    if not many:
        rules.append(Rule(r"\n", leave_at_line_end))
    inner = mode("string", rules, quote, is_block=block)
    begins: tuple[Rule, ...] = (Rule(before + (start or end), enter(inner), (start or quote)[0], inner),)
    if many and quote in ("'", '"'):  # after a word it more likely ends another string: a wrong state recovers here
        in_line = mode("string", (*rules, Rule(r"\n", leave_at_line_end)), quote)
        begins = (Rule(rf"(?:(?<=\w\w)|(?<=[!?%)])){end}", enter(in_line), quote), *begins)
    if len(quote) > 1 or start:
        return begins
    # Most strings contain neither an escape nor a line's end, and are read at once.
    plain = rf"[^\\\n{end}{''.join(sorted(set(re.findall(r'[#$`{%]', code + escape + skip))))}]*+"
    again = rf"(?!{end})" if quote * 2 == skip else ""
    return (Rule(before + end + plain + end + again, literal, quote), *begins)


def verbatim(end: str, *, is_block: bool = False) -> Mode:
    """Return a string in which only its end has a meaning."""
    return mode("string", (Rule(re.escape(end), leave),), end, is_block=is_block, by_line=end.startswith("\n"))


@functools.cache
def characters(escaped: str = r"\\[^\n][^'\n]{0,10}") -> tuple[Rule, ...]:
    """Return rules for characters between apostrophes; any other apostrophe has no meaning."""
    return (whole(rf"'(?:{escaped}|[^'\\\n])'"), passed("'"))
