"""Finished middles, found again when the user types along them or goes back."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from midfill.types import Snapshot

# Looked up backwards over so many typed characters.
MAX_TYPED = 400
# So much text on each side of a cursor tells it apart from others: more than a prompt holds, and a bound on memory.
WINDOW = 20_000


@dataclass(frozen=True, slots=True)
class Middle:
    """What the model said, whole."""

    text: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a middle was asked for, and who answered."""

    answered_by: str
    cursor: int
    n_after: int
    before: str
    after: str


class MiddleCache:
    """Least recently used middles by (what answered, prefix, suffix)."""

    def __init__(self, size: int = 128) -> None:
        self._size = size
        self._entries: OrderedDict[_Place, Middle] = OrderedDict()

    def lookup(self, snapshot: Snapshot, answered_by: str) -> Middle | None:
        """The rest of a middle whose beginning was typed at the cursor since it was made; never an empty rest."""
        found: _Place | None = None
        for place, middle in self._entries.items():
            n_typed = snapshot.cursor - place.cursor
            if not 0 <= n_typed <= MAX_TYPED or n_typed >= len(middle.text):
                continue
            if found is not None and found.cursor > place.cursor:
                continue
            typed = snapshot.text[place.cursor : snapshot.cursor]
            if middle.text.startswith(typed) and place == _place(snapshot, answered_by, n_typed):
                found = place
        if found is None:
            return None
        self._entries.move_to_end(found)
        middle = self._entries[found]
        return Middle(middle.text[snapshot.cursor - found.cursor :], middle.finish_reason)

    def store(self, snapshot: Snapshot, answered_by: str, middle: Middle) -> None:
        """Keep ``middle`` for ``snapshot``."""
        place = _place(snapshot, answered_by, 0)
        self._entries[place] = middle
        self._entries.move_to_end(place)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)


def _place(snapshot: Snapshot, answered_by: str, n_typed: int) -> _Place:
    """The place ``n_typed`` characters before the cursor, as it was before they were typed."""
    text, cursor = snapshot.text, snapshot.cursor - n_typed
    before = text[max(0, cursor - WINDOW) : cursor]
    after = text[snapshot.cursor : snapshot.cursor + WINDOW]
    return _Place(answered_by, cursor, len(text) - snapshot.cursor, before, after)
