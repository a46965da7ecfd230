"""Calls in a text: their callees and the arguments that each has so far; and what a callee takes.

The text around a cursor is broken code, so it is read like ``lexical`` reads it: strings and comments are made blank,
then brackets and commas are counted. A call whose arguments cannot be told apart for sure is left out.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

from midfill.syntax.lexical import OPENERS, START, LexerState, pieces

MAX_HEAD = 20_000  # characters before the cursor that are read for open calls
MAX_TAIL = 1000  # characters after it that are read for the rest of a call
MAX_OPEN = 40  # brackets inside each other
MAX_LINE = 300  # characters of a line that are searched for a callee
# What follows the name of an argument that is given by name.
_MARKS = {"python": "=", "kotlin": "=", "csharp": ":", "swift": ":", "ruby": ":", "php": ":"}
# Languages that are read here. In these the number of arguments counts: more than the callee takes are an error.
READ = frozenset({*_MARKS, "go", "typescript", "typescriptreact"})
# In these a comma may also separate types: ``f<A, B>(x)``.
_HAS_TYPES = READ - {"python", "ruby", "php"}
# In these the head of a method looks like a call at the beginning of its line.
_DEFINE_BY_NAME = frozenset({"go", "typescript", "typescriptreact"})
# In these a constructor may take other arguments than a function of its name: ``new Date(1)`` and ``Date()``.
_CONSTRUCTED = frozenset({"typescript", "typescriptreact"})
CONSTRUCTS = "new "  # before its name, with one space
_KEYWORDS = """
    and as assert async await case catch class def del do elif else except exec fn for foreach from fun func function
    go if import in is lambda let match new not or return sizeof switch throw try typeof until unless using var when
    while with yield
"""
_NO_CALLEES = frozenset(_KEYWORDS.split())
_CALLEE = re.compile(r"(?<![\w.$@)\]\"'?!])([^\W\d]\w*(?:\.[^\W\d]\w*)*)\Z")
_DEFINES = re.compile(
    r"\b(?:def|class|func|fun|fn|function|interface|struct|record|new|object|init|async|static|public|private|protected"
    r"|get|set|override|abstract|readonly)\s+\Z"
)
_NEW = re.compile(r"\bnew\s+\Z")
_LAMBDA = re.compile(r"\blambda\b[^:]*\Z")
# ``f(key for key, value``: a comprehension's names
_TARGETS = re.compile(r"\bfor\s(?:(?!\bin\b)[\w\s.,*()\[\]])*\Z")
_SPREAD = re.compile(r"\s*(?:\*|\.\.\.|&)")
_WORD = re.compile(r"\s*(\w*)\s*\Z")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One thing that a callee takes."""

    name: str
    by_position: bool = True
    by_name: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    """What a callee takes. ``is_complete``: it takes nothing else, as far as its language allows that to be known."""

    callee: str  # as it is written before the parenthesis: ``self.store.find``
    parameters: tuple[Parameter, ...]
    any_position: bool = False  # any number of further arguments
    any_name: bool = False  # arguments of any name
    is_complete: bool = False
    source: str = ""  # which source returned it

    @property
    def n_positions(self) -> int:
        """How many arguments may be given by position."""
        return sum(one.by_position for one in self.parameters)

    @property
    def names(self) -> frozenset[str]:
        """The names by which arguments may be given."""
        return frozenset(one.name for one in self.parameters if one.by_name)


def of_overloads(overloads: Sequence[Sequence[Parameter]]) -> tuple[Parameter, ...]:
    """Return what a callee takes that takes each of these: as many arguments by position as the longest, and every
    name, but by name only, as it may be at another position in another overload."""
    longest = max(overloads, key=lambda taken: sum(one.by_position for one in taken), default=())
    if len(overloads) <= 1:
        return tuple(longest)
    names = dict.fromkeys(one.name for taken in overloads for one in taken if one.by_name)
    return (
        *(replace(one, by_name=False) for one in longest if one.by_position),
        *(Parameter(name, by_position=False) for name in names),
    )


@dataclass(frozen=True, slots=True)
class Certain:
    """What is known for sure around a cursor: all members, by receiver, and what callees take."""

    members: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    calls: Mapping[str, Signature] = field(default_factory=lambda: MappingProxyType({}))

    def __bool__(self) -> bool:
        return bool(self.members or self.calls)


@dataclass(frozen=True, slots=True)
class Open:
    """An open bracket, and what is inside so far. ``callee``: "" if it is no call, or none that can be read."""

    opener: str
    callee: str = ""
    given: tuple[str, ...] = ()  # whole arguments, with blank strings
    begun: str = ""  # the beginning of the next one

    @property
    def n_inside(self) -> int:
        """The number of characters after the bracket."""
        return sum(len(text) + 1 for text in self.given) + len(self.begun)


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a text. ``cut``: where the text would have to end to be without it."""

    call: Open  # before it
    text: str
    cut: int
    is_whole: bool


def blank(text: str, language: str, state: LexerState = START) -> str:
    """Return ``text``, which begins in ``state``, with quotes for the content of strings and spaces for comments; every
    other character stays at its place."""
    kept: list[str] = []
    for start, end, kind in pieces(text, language, state):
        piece = text[start:end]
        if kind == "code":
            kept.append(piece)
        else:
            kept.append(re.sub(r"[^\n]", " " if kind == "comment" else '"', piece))
    return "".join(kept)


@functools.lru_cache(maxsize=8)
def opened(prefix: str, language: str, brackets: tuple[str, ...] | None = None) -> tuple[Open, ...]:
    """Return what is open at the end of ``prefix``, innermost last; () if it cannot be told, or if it is not
    ``brackets``."""
    if language not in READ:
        return ()
    _, stack = _read(blank(prefix[-MAX_HEAD:], language), (), "", language)
    found = tuple(one.opener for one in stack)
    return stack if brackets is None or found == brackets[-len(found) :] else ()


def arguments(
    text: str, language: str, state: LexerState = START, before: tuple[Open, ...] = (), head: str = ""
) -> list[Argument]:
    """Return the arguments in ``text``, which begins in ``state`` with ``before`` open and ``head`` on its first line,
    in the order of their ends; last those that are not whole, innermost first."""
    return _read(blank(text, language, state), before, head, language)[0] if language in READ else []


def _read(text: str, before: tuple[Open, ...], head: str, language: str) -> tuple[list[Argument], tuple[Open, ...]]:
    """Return the arguments of ``text``, and what is open at its end."""
    found: list[Argument] = []
    stack = list(before)
    starts = [0] * len(stack)  # of the current argument of each
    cuts = [0] * len(stack)  # before the comma in front of it
    for match in re.finditer(r"[()\[\]{},]", text):
        at, char = match.start(), match[0]
        if char in OPENERS:
            begun = stack[-1].begun if stack and not starts[-1] else head if not stack else ""
            callee = _callee(text[starts[-1] if starts else 0 : at], begun, language) if char == "(" else ""
            stack.append(Open(char, callee))
            starts.append(at + 1)
            cuts.append(at + 1)
            if len(stack) > MAX_OPEN:
                return [], ()
            continue
        if not stack:
            continue
        one = stack[-1]
        argument = one.begun + text[starts[-1] : at]
        if char == "," and language == "python" and _has_names_at_end(argument):
            continue
        if char == ",":
            if one.callee:
                found.append(Argument(one, argument, cuts[-1], True))
            stack[-1] = replace(one, given=(*one.given, argument), begun="")
            starts[-1], cuts[-1] = at + 1, at
        elif OPENERS[one.opener] != char:
            stack, starts, cuts = [], [], []  # the text is read wrong somewhere
        else:
            if one.callee:
                found.append(Argument(one, argument, cuts[-1], True))
            for each in (stack, starts, cuts):
                each.pop()
    stack = [replace(one, begun=one.begun + text[start:]) for one, start in zip(stack, starts, strict=True)]
    found += [
        Argument(replace(one, begun=""), one.begun, cut, False)
        for one, cut in zip(reversed(stack), reversed(cuts), strict=True) if one.callee
    ]  # fmt: skip
    return found, tuple(stack)


def _has_names_at_end(argument: str) -> bool:
    """Whether a comma behind the beginning of an argument separates the names of a lambda or a comprehension."""
    return bool(_LAMBDA.search(argument[:MAX_LINE]) or _TARGETS.search(argument[-MAX_LINE:]))


def _callee(text: str, begun: str, language: str) -> str:
    """Return the dotted name at the end of ``text``, before which is ``begun``, if a parenthesis after it is a call:
    with CONSTRUCTS before it for a constructor."""
    line = (text if "\n" in text else begun + text).rpartition("\n")[2][-MAX_LINE:]
    found = _CALLEE.search(line)
    if found is None or found[1] in _NO_CALLEES:
        return ""
    if language in _CONSTRUCTED and _NEW.search(line[: found.start()]):
        return f"{CONSTRUCTS}{found[1]}"
    if _DEFINES.search(line[: found.start()]):
        return ""
    is_first = not line[: found.start()].strip() and "." not in found[1]
    if language in _DEFINE_BY_NAME and (is_first or line.lstrip().startswith("func")):
        return ""  # may be a method that is defined here
    return found[1]


@dataclass(frozen=True, slots=True)
class Given:
    """What a call has so far: ``names`` that were given by name, and how many were given by position. ``later``: names
    that are given after the cursor."""

    n_positions: int = 0
    names: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    is_spread: bool = False  # some of them are a list or a map of arguments
    is_sure: bool = True  # whether the arguments can be told apart


@functools.lru_cache(maxsize=256)
def given(call: Open, language: str) -> Given:
    """Return what the whole arguments of ``call`` are."""
    n, names, is_spread, is_sure = 0, set[str](), False, True
    for text in call.given:
        kind, name = kind_of(text, language)
        is_sure &= _is_sure(text, language)
        if kind == "named":
            names.add(name)
        elif kind == "spread":
            is_spread = True
        elif text.strip():
            n += 1
    return Given(n, frozenset(names), frozenset(), is_spread, is_sure)


def given_after(suffix: str, language: str) -> frozenset[str]:
    """Return the names of arguments in ``suffix``, which begins inside the parentheses of a call."""
    text = blank(suffix[:MAX_TAIL], language)
    inside, _ = _read(f"_({text}", (), "", language)
    return frozenset(
        name for one in inside if one.call.callee == "_" and (name := kind_of(one.text, language)[1])
        and kind_of(one.text, language)[0] == "named"
    )  # fmt: skip


Kind = Literal["", "spread", "named", "word", "other"]


def kind_of(text: str, language: str) -> tuple[Kind, str]:
    """Return what an argument is, and its name: "word" may yet become "named"."""
    mark = _MARKS.get(language, "")
    if not text.strip():
        return "", ""
    if _SPREAD.match(text) or text.rstrip().endswith("..."):
        return "spread", ""
    if mark and (named := _named(mark).match(text)) is not None:
        return "named", named[1]
    if (word := _WORD.match(text if not mark else text.rstrip().removesuffix(mark))) is not None:
        return "word", word[1]
    return "other", ""


@functools.cache
def _named(mark: str) -> re.Pattern[str]:
    """What begins an argument by name. The character after the mark must be there: it may be another mark."""
    after = r"(?![=~>])" if mark == "=" else r"(?!:)"
    space = r"\s*" if mark == "=" else ""
    return re.compile(rf"\s*([^\W\d]\w*){space}{mark}{after}(?=[\s\S])")


def _is_sure(text: str, language: str) -> bool:
    """Whether an argument is one for sure: its commas separate no types."""
    return not (language in _HAS_TYPES and re.search(r"[<>]", text))


def is_unfit(argument: Argument, signature: Signature, language: str) -> bool:
    """Whether the callee surely does not take ``argument``."""
    before, (kind, name) = given(argument.call, language), kind_of(argument.text, language)
    if not signature.is_complete or kind in ("", "spread") or not before.is_sure:
        return False
    if kind == "named":
        return not _takes(name, signature, before)
    by_position = [one for one in signature.parameters if one.by_position]
    n_taken = before.n_positions + sum(one.name in before.names for one in by_position)
    is_full = not signature.any_position and n_taken >= len(by_position)
    if language == "python":
        is_full |= bool(before.names)  # nothing follows by position
    if not is_full:
        return False
    if kind == "word" and not argument.is_whole and language in _MARKS:
        return not (signature.any_name or any(one.startswith(name) for one in missing(signature, before)))
    return _is_sure(argument.text, language)


def _takes(name: str, signature: Signature, before: Given) -> bool:
    if name in before.names:
        return False
    at = next((n for n, one in enumerate(signature.parameters) if one.name == name and one.by_name), None)
    if at is None:
        return signature.any_name
    one = signature.parameters[at]
    return not (one.by_position and at < before.n_positions)


def missing(signature: Signature, before: Given) -> tuple[str, ...]:
    """Return the names by which further arguments may be given, in the order of the parameters."""
    return tuple(
        one.name for n, one in enumerate(signature.parameters)
        if one.by_name and one.name not in before.names | before.later
        and not (one.by_position and n < before.n_positions)
    )  # fmt: skip


def has_names(language: str) -> bool:
    """Whether arguments may be given by name."""
    return language in _MARKS
