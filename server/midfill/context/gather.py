"""What a prompt contains besides the current file: from memory only, in a stable order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from midfill.context.knowledge.names import NOTHING, Known
from midfill.types import Snapshot, Snippet


class ContextSource(Protocol):
    """Knows pieces of other files. It is asked at every keystroke, so it answers from memory, at once."""

    budget: int  # tokens for all of its snippets; set by the caller

    def snippets(self, snapshot: Snapshot) -> Iterable[Snippet]:
        """Return the snippets for ``snapshot`` in the order of the prompt: earlier ones first, the most useful last."""
        ...


def gather(sources: Sequence[ContextSource], snapshot: Snapshot) -> list[Snippet]:
    """Return the snippets of all sources, each text once, in the sources' order; nothing that the file itself has."""
    seen: set[str] = set()
    found = []
    for source in sources:
        for snippet in source.snippets(snapshot):
            if snippet.text not in seen and snippet.text not in snapshot.text:
                seen.add(snippet.text)
                found.append(snippet)
    return found


@runtime_checkable
class KnowsNames(Protocol):
    """A source that also knows the names that may follow at a cursor. Answers from memory, at once."""

    def known(self, snapshot: Snapshot) -> Known:
        """Return what is known by now."""
        ...


def known_at(sources: Sequence[ContextSource], snapshot: Snapshot) -> Known:
    """Return what the first source that knows names knows at ``snapshot``."""
    return next((source.known(snapshot) for source in sources if isinstance(source, KnowsNames)), NOTHING)


@runtime_checkable
class FollowsGrowth(Protocol):
    """A source that finds out, in the background, what a growing middle needs."""

    def grows(self, snapshot: Snapshot, middle: str) -> None:
        """Take the middle so far. Does not wait."""
        ...


def follow(sources: Sequence[ContextSource], snapshot: Snapshot, middle: str) -> None:
    """Pass a growing middle to every source that follows it."""
    for source in sources if "." in middle or "(" in middle else ():
        if isinstance(source, FollowsGrowth):
            source.grows(snapshot, middle)
