"""Finished middles, found again when the user types along them or goes back."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from midfill.types import Snapshot

# Looked up backwards over so many typed characters.
MAX_TYPED = 400


@dataclass(frozen=True, slots=True)
class Middle:
    """What the model said, whole."""

    text: str
    finish_reason: str


class MiddleCache:
    """Least recently used middles by (what answered, context, suffix, prefix)."""

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[str, str, str], Middle] = OrderedDict()

    def lookup(self, snapshot: Snapshot, answered_by: str) -> Middle | None:
        """The rest of a middle whose beginning was typed at the cursor since it was made; never an empty rest."""
        suffix, prefix = snapshot.suffix, snapshot.prefix
        for n_typed in range(min(MAX_TYPED, len(prefix)) + 1):
            key = (answered_by, suffix, prefix[: len(prefix) - n_typed])
            middle = self._entries.get(key)
            if middle is None:
                continue
            typed = prefix[len(prefix) - n_typed :]
            if middle.text.startswith(typed) and len(middle.text) > len(typed):
                self._entries.move_to_end(key)
                return Middle(middle.text[len(typed) :], middle.finish_reason)
        return None

    def store(self, snapshot: Snapshot, answered_by: str, middle: Middle) -> None:
        """Keep ``middle`` for ``snapshot``."""
        self._entries[answered_by, snapshot.suffix, snapshot.prefix] = middle
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)
