"""Lines that were changed recently in other files: the user often does the same here."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.view import Excerpt, View

MARGIN = 2  # lines around an edit
MAX_LINES = 16
LATEST = 0.7
FADE = 0.75  # for each earlier one
NAME = "edits"


def find(view: View, focus: Focus) -> Iterator[Excerpt]:
    """Yield the latest edits in other files, with the lines around them."""
    score = LATEST
    for edit in view.edits:
        file = view.index.files.get(edit.key)
        if file is None or edit.key == focus.key:
            continue
        start = max(0, edit.start - MARGIN)
        yield Excerpt(file, start, min(edit.end + MARGIN, start + MAX_LINES, len(file.lines)), score, NAME)
        score *= FADE
