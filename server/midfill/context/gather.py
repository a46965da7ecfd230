"""What besides the current file goes into a prompt: from memory only, in a stable order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

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
