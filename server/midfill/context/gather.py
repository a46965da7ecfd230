"""What besides the current file goes into a prompt: from memory only, in a stable order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

from midfill.context.knowledge.names import NOTHING, Known
from midfill.types import Snapshot, Snippet


class ContextSource(Protocol):
    """Knows pieces of other files. Asked on every keystroke: answers from memory, at once."""

    budget: int  # tokens that its snippets may have together; set by who asks

    def snippets(self, snapshot: Snapshot) -> Iterable[Snippet]:
        """The pieces for ``snapshot`` in the order of the prompt: what was there before first, the most useful last."""
        ...


def gather(sources: Sequence[ContextSource], snapshot: Snapshot) -> list[Snippet]:
    """The snippets of all sources, each text once, in the sources' order; nothing that the file itself has."""
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
    """A source that also knows what may be named at a cursor. Answers from memory, at once."""

    def known(self, snapshot: Snapshot) -> Known:
        """What is known by now."""
        ...


def known_at(sources: Sequence[ContextSource], snapshot: Snapshot) -> Known:
    """What the first source that knows names knows at ``snapshot``."""
    return next((source.known(snapshot) for source in sources if isinstance(source, KnowsNames)), NOTHING)


@runtime_checkable
class FollowsGrowth(Protocol):
    """A source that finds out, in the background, what a middle needs that is being written."""

    def grows(self, snapshot: Snapshot, middle: str) -> None:
        """A middle stands so far. Does not wait."""
        ...


def follow(sources: Sequence[ContextSource], snapshot: Snapshot, middle: str) -> None:
    """Tell every source that follows how a middle grows."""
    for source in sources if "." in middle else ():
        if isinstance(source, FollowsGrowth):
            source.grows(snapshot, middle)
