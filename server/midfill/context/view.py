"""What the sources look at, and what they find there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from midfill.context.focus import Focus
from midfill.context.index import Index, SourceFile


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines that were changed a moment ago."""

    key: str  # of the file
    start: int  # first line, from 0
    end: int  # behind the last


@dataclass(frozen=True, slots=True)
class View:
    """The workspace at one moment."""

    index: Index
    visited: tuple[str, ...] = ()  # keys of documents, the latest first
    edits: tuple[Edit, ...] = ()  # the latest first


@dataclass(frozen=True, slots=True)
class Pick:
    """One definition, to be shown by its signature."""

    file: SourceFile
    at: int
    score: float  # how likely it is needed: 1 is nearly certain
    source: str


@dataclass(frozen=True, slots=True)
class Window:
    """Some lines, to be shown as they are."""

    file: SourceFile
    start: int
    end: int
    score: float
    source: str

    @property
    def text(self) -> str:
        """The lines."""
        return "\n".join(self.file.lines[self.start : self.end]).rstrip()


Found = Pick | Window
Source = Callable[[View, Focus], Iterator[Found]]
