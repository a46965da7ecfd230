"""What the sources read, and what they find there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from midfill.context.definitions import Resolved
from midfill.context.focus import Focus
from midfill.context.index import Index, SourceFile

NO_PROJECT = "*"  # of a document that was never saved
SAID = "said:"  # begins the key of what is no file: another language server said it of a document


@dataclass(frozen=True, slots=True)
class Edit:
    """Lines that were changed recently."""

    key: str  # of the file
    start: int  # first line, from 0
    end: int  # after the last


@dataclass(frozen=True, slots=True)
class View:
    """The workspace at one moment."""

    index: Index
    visited: tuple[str, ...] = ()  # keys of documents, the latest first
    edits: tuple[Edit, ...] = ()  # the latest first
    projects: Mapping[str, str] = field(default_factory=dict)  # by key, of files outside of the workspace's folders
    resolved: tuple[Resolved, ...] = ()  # what other language servers say names near the cursor are

    def may_show(self, key: str, focus: Focus) -> bool:
        """Whether the prompts of ``focus`` may contain parts of a file: it is of the same project, or of none."""
        if key.startswith(SAID):
            return True
        project = self.projects.get(key, "")
        return project == NO_PROJECT or project == self.projects.get(focus.key, "").removeprefix(NO_PROJECT)


@dataclass(frozen=True, slots=True)
class Pick:
    """One definition, shown by its signature."""

    file: SourceFile
    at: int
    score: float  # how likely it is needed: 1 is nearly certain
    source: str


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some lines, shown unchanged."""

    file: SourceFile
    start: int
    end: int
    score: float
    source: str

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.file.lines[self.start : self.end]).rstrip()


Found = Pick | Excerpt
Source = Callable[[View, Focus], Iterator[Found]]
