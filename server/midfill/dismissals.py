"""What the user dismissed, and where: midfill does not show it there again until the line changes.

A place is a line by its number from the top and from the bottom, so that edits elsewhere do not move it, and the text
on that line to the left and right of the cursor. Typing along a dismissed text keeps it dismissed; any other change of
the line forgets it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from midfill.reuse import rests
from midfill.types import Refusal, Snapshot

MAX_DOCUMENTS, MAX_PLACES = 64, 20
# Editors insert these by themselves; they do not count as a change of the line.
CLOSERS = frozenset(")]}>\"'`")
DISMISSED = Refusal(
    "dismissed", "you dismissed this suggestion here; it comes back when you trigger it manually or change the line"
)


@dataclass(frozen=True, slots=True)
class Dismissed:
    """The dismissed texts between ``head`` and ``tail`` of a line, and how much of them was typed."""

    head: str
    tail: str
    texts: tuple[str, ...]
    n_above: int  # lines
    n_below: int
    typed: str = ""

    @property
    def n_lines(self) -> int:
        """Number of lines from the place's line to the one that is being typed in."""
        return self.typed.count("\n") + 1

    def after(self, lines: Sequence[str]) -> Dismissed | None:
        """Return the same place in a document that now has ``lines``; None if its line has changed."""
        delta = len(lines) - (self.n_above + self.n_lines + self.n_below)
        here = self.along(lines[self.n_above : len(lines) - self.n_below])
        if here is not None or not delta:
            return here
        shifted = (replace(self, n_below=self.n_below + delta), replace(self, n_above=self.n_above + delta))
        for moved in shifted:  # lines were added or removed below, or above
            if min(moved.n_above, moved.n_below) < 0:
                continue
            there = moved.along(lines[moved.n_above : len(lines) - moved.n_below])
            if there is not None and there.typed == self.typed:
                return there
        return None

    def along(self, lines: Sequence[str]) -> Dismissed | None:
        """Return the same place after typing that ``lines``, its own lines, show; None if they say something else."""
        text = "\n".join(lines)
        if len(text) < len(self.head) + len(self.tail) or not (text.startswith(self.head) and text.endswith(self.tail)):
            return None
        middle = text[len(self.head) : len(text) - len(self.tail)]
        typed = max((_shared(wanted, middle) for wanted in self.texts), key=len, default="")
        return replace(self, typed=typed) if CLOSERS.issuperset(middle[len(typed) :]) else None

    def is_at(self, snapshot: Snapshot) -> str | None:
        """Return how much of the texts was typed up to ``snapshot``'s cursor; None at another place."""
        before = snapshot.prefix.split("\n")
        if len(before) <= self.n_above:
            return None
        line = "\n".join(before[self.n_above :])
        typed = line.removeprefix(self.head)
        is_here = line.startswith(self.head) and any(text.startswith(typed) for text in self.texts)
        return typed if is_here and snapshot.line_after.endswith(self.tail) else None

    def hides(self, typed: str, text: str) -> bool:
        """Whether ``text``, after ``typed``, was dismissed: the same text, the start of it, or one that begins with
        it."""
        left = (rest.rstrip() for rest in rests(self.texts, typed))
        return any(rest and (text.startswith(rest) or rest.startswith(text.rstrip())) for rest in left)


class Dismissals:
    """The dismissed texts of each document."""

    def __init__(self) -> None:
        self._by_uri: dict[str, list[Dismissed]] = {}

    def add(self, snapshot: Snapshot, texts: Sequence[str]) -> None:
        """The user dismissed ``texts`` at ``snapshot``'s cursor."""
        wanted = tuple(dict.fromkeys(text for text in texts if text.strip()))
        if not wanted:
            return
        self.forget(snapshot)
        n_above, n_below = snapshot.text.count("\n", 0, snapshot.cursor), snapshot.text.count("\n", snapshot.cursor)
        dismissed = Dismissed(snapshot.line_before, snapshot.line_after, wanted, n_above, n_below)
        places = self._by_uri.pop(snapshot.uri, [])
        self._by_uri[snapshot.uri] = [*places, dismissed][
            -MAX_PLACES:
        ]  # the document with the latest dismissal is last
        if len(self._by_uri) > MAX_DOCUMENTS:
            del self._by_uri[next(iter(self._by_uri))]

    def forget(self, snapshot: Snapshot) -> None:
        """The user asked manually: what was dismissed here may be shown again."""
        left = [each for each in self._by_uri.get(snapshot.uri, []) if each.is_at(snapshot) is None]
        self._keep(snapshot.uri, left)

    def edited(self, uri: str, text_of: Callable[[], str | None]) -> None:
        """A document changed. ``text_of`` returns its text, or None if it is unavailable (then everything stays); it
        is called only if needed."""
        places = self._by_uri.get(uri)
        text = text_of() if places else None
        if places and text is not None:
            lines = text.split("\n")
            self._keep(uri, [after for each in places if (after := each.after(lines)) is not None])

    def hides(self, snapshot: Snapshot, text: str) -> bool:
        """Whether ``text`` at ``snapshot``'s cursor was dismissed there."""
        for each in self._by_uri.get(snapshot.uri, ()) if text.strip() else ():
            typed = each.is_at(snapshot)
            if typed is not None and each.hides(typed, text):
                return True
        return False

    def _keep(self, uri: str, places: list[Dismissed]) -> None:
        if places:
            self._by_uri[uri] = places
        else:
            self._by_uri.pop(uri, None)


def _shared(one: str, other: str) -> str:
    """Return the common start of both texts."""
    n = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:n]
