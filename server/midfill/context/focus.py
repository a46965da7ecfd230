"""What the user is working on: the place of the cursor, and the words around it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from midfill.context.index import MIN_WORD, WORD
from midfill.context.kinds import family

LINES_BEFORE, LINES_AFTER = 40, 16
FADE = 8  # lines after which a word counts half
MAX_LINES_UP = 400  # how far up a scope's first line is searched
SCOPE_WEIGHT = 0.6
MAX_ACCESS = 80
MAX_CHARS = 200_000  # of a text that is searched for words and types
# The prompt contains at least this much of the file; its content need not be repeated.
SHOWN_BEFORE, SHOWN_AFTER = 1600, 500


@dataclass(frozen=True, eq=False)
class Focus:
    """A cursor in a text. ``cursor`` counts code points of ``text``."""

    key: str
    path: str
    language: str
    text: str
    cursor: int

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return self.path.rpartition("/")[0]

    @property
    def family(self) -> str:
        """The family of the language: languages that see each other's definitions share one."""
        return family(self.language)

    @cached_property
    def line(self) -> int:
        """The cursor's line, from 0."""
        return self.text.count("\n", 0, self.cursor)

    @cached_property
    def before(self) -> list[str]:
        """The lines up to the cursor, the nearest first; the first is the text before it on its line."""
        return self.text[max(0, self.cursor - 20_000) : self.cursor].split("\n")[::-1]

    @cached_property
    def after(self) -> list[str]:
        """The lines from the cursor on; the first is the rest of its line."""
        return self.text[self.cursor : self.cursor + 8_000].split("\n")

    @cached_property
    def shown(self) -> str:
        """The text that is in the prompt in any case."""
        return self.text[max(0, self.cursor - SHOWN_BEFORE) : self.cursor + SHOWN_AFTER]

    @cached_property
    def near(self) -> dict[str, float]:
        """The words around the cursor, each with a weight up to 1: how near it is."""
        found: dict[str, float] = {}
        for lines in (self.before[:LINES_BEFORE], self.after[:LINES_AFTER]):
            for distance, line in enumerate(lines):
                _note(found, line, 1 / (1 + distance / FADE))
        for line in self.scopes:
            _note(found, line, SCOPE_WEIGHT)
        return found

    @cached_property
    def used(self) -> Counter[str]:
        """How often this file contains each word."""
        return Counter(match[0] for match in WORD.finditer(self.text[:MAX_CHARS]))

    @cached_property
    def scopes(self) -> list[str]:
        """The lines that open the scopes around the cursor, from the inside out, found by their indentation."""
        found: list[str] = []
        indent = _indent(self.before[0])
        for line in self.before[1:MAX_LINES_UP]:
            if (
                line.strip()
                and not line.lstrip().startswith(("#", "//", "*", ")", "}", "]"))
                and _indent(line) < indent
            ):
                indent = _indent(line)
                found.append(line)
            if indent == 0:
                break
        return found

    @cached_property
    def receiver(self) -> str:
        """The name whose member is being written: ``client`` in ``self.client.se``; "" if there is none."""
        return receiver_in(self.before[0][-200:])

    @cached_property
    def access(self) -> str:
        """The text before the member that is being written, including the dot: ``self.client.``; "" if there is
        none."""
        match = _ACCESS.search(self.before[0][-MAX_ACCESS:])
        return match[1] if match else ""

    @cached_property
    def types(self) -> dict[str, float]:
        """Names of classes that the variables around the cursor seem to have, with weights up to 1.

        They are found in how this file writes them: annotations, declarations, and calls of what looks like a class.
        """
        found: dict[str, float] = {}
        for name, kind in self._typed:
            weight = 1.0 if name == self.receiver else 0.5 * self.near.get(name, 0.0)
            if weight:
                found[kind] = max(found.get(kind, 0.0), weight)
        if self.receiver and not found.get(self.receiver):  # variables are often named after their class
            found.setdefault("".join(part.capitalize() for part in self.receiver.strip("_").split("_")), 1.0)
            found.setdefault(self.receiver, 1.0)  # or are a class
        if self.receiver in ("self", "this", "super", "cls"):
            for line in self.scopes:
                if re.match(r"\s*(?:\w+\s+)*class\b", line):
                    found |= {word: 1.0 for word in WORD.findall(line)[2:] if word[0].isupper()}
        return found

    @cached_property
    def _typed(self) -> set[tuple[str, str]]:
        """Return (variable, class) for every place of this file that shows both."""
        text = self.text[:MAX_CHARS]
        found = {(match[1], match[2]) for match in _ANNOTATED.finditer(text)}
        found |= {(match[1], match[2]) for match in _MADE.finditer(text)}
        if self.family in ("java", "c", "csharp"):
            found |= {(match[2], match[1]) for match in _DECLARED.finditer(text)}
        return found


_RECEIVER = re.compile(r"([^\W\d]\w*)(?:\(\))?(?:\.|::|->)\w*\Z")
_ACCESS = re.compile(r"((?:[^\W\d]\w*(?:\(\))?(?:\?\.|\.|::|->))+)\w*\Z")
# name: Type, name: Optional["Type"], name: &mut Type
_ANNOTATED = re.compile(r"\b([^\W\d]\w*)\??:[ \t]*(?:[\w.]+\[|&|\*|mut |dyn |['\"])*(?:\w+\.)*([A-Z]\w*)")
# name = Type(..., name = new Type, name := &Type{, name = module.Type(, name = Type::new(
_MADE = re.compile(r"\b([^\W\d]\w*)[ \t]*:?=[ \t]*(?:await |new |&)*(?:\w+\.)*([A-Z]\w*)(?:[({<]|::|\.\w+\()")
# Type name, Type<...> name, Type *name
_DECLARED = re.compile(r"\b([A-Z]\w*)(?:<[\w, <>?]{0,60}>)?[ \t*&]+([^\W\d]\w*)[ \t]*[=;,)]")


def receiver_in(before: str) -> str:
    """Return the name whose member is being written at the end of ``before``; "" if there is none."""
    match = _RECEIVER.search(before)
    return match[1] if match else ""


def _note(found: dict[str, float], line: str, weight: float) -> None:
    for word in WORD.findall(line[:400]):
        if len(word) >= MIN_WORD and found.get(word, 0.0) < weight:
            found[word] = weight


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())
