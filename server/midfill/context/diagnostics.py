"""What the editor's other language servers report near the cursor: the line and what is wrong with it.

A complaint belongs to the text of its line, so it holds while that line is near its old position, or is being
rewritten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from midfill.context.secrets import has_secret
from midfill.syntax import languages
from midfill.types import Snapshot, Snippet

SOURCE = "diagnostics"
MAX_DOCUMENTS = 50
MAX_KEPT = 100  # of a document
MAX_SHOWN = 3
MAX_MESSAGE, MAX_CODE = 160, 100  # characters that are shown
NEAR_ROWS = 60  # from the cursor
MOVED_ROWS = 30  # a line may have moved this far since
SCORE = 1.0


@dataclass(frozen=True, slots=True)
class Complaint:
    """``code`` is the line's text as it was at ``row`` (from 0)."""

    row: int
    code: str
    message: str
    is_error: bool


class Diagnostics:
    """The latest complaints of each document."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, tuple[Complaint, ...]] = OrderedDict()

    def told(self, uri: str, complaints: Sequence[Complaint]) -> None:
        """Take all complaints that a document has now."""
        self._told[uri] = tuple(complaints[:MAX_KEPT])
        self._told.move_to_end(uri)
        while len(self._told) > MAX_DOCUMENTS:
            self._told.popitem(last=False)

    def forget(self, uri: str) -> None:
        """Forget a document that was closed."""
        self._told.pop(uri, None)

    def snippet(self, snapshot: Snapshot) -> Snippet | None:
        """Return the complaints that hold near the cursor, errors first, the nearest last; None if there are none."""
        told = self._told.get(snapshot.uri)
        if not told:
            return None
        row = snapshot.text.count("\n", 0, snapshot.cursor)
        lines = snapshot.text.split("\n")
        near = [one for one in told if abs(one.row - row) <= NEAR_ROWS and _holds(one, row, lines)]
        near.sort(key=lambda one: (not one.is_error, abs(one.row - row)))
        shown = [_shown(one, snapshot.language) for one in near[:MAX_SHOWN]]
        text = "\n".join(dict.fromkeys(line for line in reversed(shown) if line))
        if not text or has_secret(text, snapshot.path):
            return None
        return Snippet(snapshot.path, text, SOURCE, SCORE)


def _holds(one: Complaint, row: int, lines: Sequence[str]) -> bool:
    """Whether the line is still there, or is being rewritten."""
    if abs(one.row - row) <= 1:
        return True
    return one.code in lines[max(0, one.row - MOVED_ROWS) : one.row + MOVED_ROWS]


def _shown(one: Complaint, language: str) -> str:
    """Return ``total.nett # error: no member "nett"``; "" if the language has no comments."""
    kind = "error" if one.is_error else "warning"
    message = " ".join(one.message.split())[:MAX_MESSAGE]
    said = languages.comment(language, f"{kind}: {message}").rstrip("\n")
    return f"{one.code.strip()[:MAX_CODE]}  {said}" if said else ""
