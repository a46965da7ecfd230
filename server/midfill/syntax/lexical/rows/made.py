"""How a row is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from midfill.syntax.lexical.actions import line_end
from midfill.syntax.lexical.modes import BRACKETS, Kind, Mode, Rule, first_of, mode
from midfill.syntax.lexical.state import Row

BARE = mode("code", BRACKETS)


def row(id: str, *rules: Rule | Iterable[Rule], start: Mode | None = None, brackets: bool = True) -> Row:
    """Return the row of a language whose code is read by ``rules``; ``start``: a text in it does not begin as code."""
    flat = [rule for given in rules for rule in ((given,) if isinstance(given, Rule) else given)]
    code = code_mode("code", flat, brackets=brackets)
    return Row(id, start or code, code, quotes(flat), BARE, comment_ends=comment_ends(flat))


def quotes(rules: Iterable[Rule]) -> dict[str, Mode]:
    """Return the strings that ``rules`` begin, by their ends."""
    return {mode.end: mode for mode in _opened(reversed(tuple(rules)), "string")}


def comment_ends(rules: Iterable[Rule]) -> frozenset[str]:
    """Return what ends the comments that ``rules`` begin."""
    return frozenset(mode.end for mode in _opened(rules, "comment"))


def _opened(rules: Iterable[Rule], kind: Kind) -> Iterator[Mode]:
    return (rule.opens for rule in rules if rule.opens is not None and rule.opens.kind == kind)


def code_mode(kind: Kind, rules: Iterable[Rule], *, brackets: bool = True) -> Mode:
    """Return the mode of code, in which a line's end may have a meaning. Frequent rules are tried first."""
    rules = tuple(rules)
    own = [rule for rule in rules if brackets and any(char in "()[]{}" for char in first_of(rule))]
    others = [rule for rule in rules if rule not in own]
    return mode(kind, (*own, *(BRACKETS if brackets else ()), *others), line_end=line_end)
