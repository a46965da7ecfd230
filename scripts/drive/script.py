"""What is typed: finished files with marks that say which parts are written in the session, and how.

``⟦3 … ⟧`` is a region: text that is missing at first, and is typed third in the project. In it:

- ``‸``: a place where the user stops and looks; a useful suggestion is taken as a whole,
- ``‸‹word›``, ``‸‹line›``: it is taken by words, by lines; ``‸‹escape›``: a wrong one is dismissed,
- ``‹typo:TEXT›``: TEXT is typed by mistake and deleted,
- ``‹undo:TEXT›``: TEXT is typed, then undone.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

PROJECTS = Path(__file__).parent / "projects"
LANGUAGES = {"kiln": "Python", "ferry": "Go", "pantry": "TSX"}
_REGION = re.compile(r"⟦(\d+)(.*?)⟧", re.DOTALL)
_MARK = re.compile(r"‸(?:‹(word|line|escape)›)?|‹(typo|undo):([^›]*)›")


@dataclass(frozen=True, slots=True)
class Mark:
    """What happens before the character ``at`` of a region is typed."""

    at: int
    kind: str  # look, typo, undo
    how: str  # look: whole, word, line, escape; else the text


@dataclass(frozen=True, slots=True)
class Region:
    """A piece of a file that is typed."""

    number: int
    text: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class File:
    """A file: text that is already there, and regions."""

    name: str
    pieces: tuple[str | Region, ...]

    @property
    def regions(self) -> list[Region]:
        """The regions in the order of the file."""
        return [piece for piece in self.pieces if isinstance(piece, Region)]

    def text(self, done: Collection[int]) -> str:
        """Return the file once the regions with these numbers are written."""
        return "".join(_written(piece, done) for piece in self.pieces)

    def around(self, region: Region, done: Collection[int]) -> tuple[str, str]:
        """Return the text before a region and after it."""
        place = self.pieces.index(region)
        before, after = self.pieces[:place], self.pieces[place + 1 :]
        return "".join(_written(p, done) for p in before), "".join(_written(p, done) for p in after)


@dataclass(frozen=True, slots=True)
class Project:
    """A small project."""

    name: str
    files: tuple[File, ...] = field(default=())

    @property
    def language(self) -> str:
        """The project's name in a report."""
        return LANGUAGES.get(self.name, self.name)

    def tasks(self) -> list[tuple[File, Region]]:
        """Return every region with its file, in the order of the session."""
        found = [(file, region) for file in self.files for region in file.regions]
        return sorted(found, key=lambda task: task[1].number)


def read(name: str) -> Project:
    """Read a project of this folder."""
    texts = sorted((PROJECTS / name).glob("*.txt"))
    return Project(name, tuple(File(path.stem, parse(path.read_text(encoding="utf-8"))) for path in texts))


def parse(text: str) -> tuple[str | Region, ...]:
    """Return the pieces of a marked file."""
    pieces: list[str | Region] = []
    end = 0
    for found in _REGION.finditer(text):
        pieces += [text[end : found.start()], _region(int(found[1]), found[2])]
        end = found.end()
    return (*pieces, text[end:])


def _region(number: int, marked: str) -> Region:
    text, end = "", 0
    marks = []
    for found in _MARK.finditer(marked):
        text += marked[end : found.start()]
        end = found.end()
        kind, how = (found[2], found[3]) if found[2] else ("look", found[1] or "whole")
        marks.append(Mark(len(text), kind, how))
    return Region(number, text + marked[end:], tuple(marks))


def _written(piece: str | Region, done: Collection[int]) -> str:
    if isinstance(piece, str):
        return piece
    return piece.text if piece.number in done else ""
