"""Lines that were changed in other files a moment ago: what is being done there is often being done here."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.view import View, Window

MARGIN = 2  # lines around an edit
MAX_LINES = 16
LATEST = 0.7
FADE = 0.75  # of each one before
NAME = "edits"


def find(view: View, focus: Focus) -> Iterator[Window]:
    """The latest edits elsewhere, with the lines around them."""
    score = LATEST
    for edit in view.edits:
        file = view.index.files.get(edit.key)
        if file is None or edit.key == focus.key:
            continue
        start = max(0, edit.start - MARGIN)
        yield Window(file, start, min(edit.end + MARGIN, start + MAX_LINES, len(file.lines)), score, NAME)
        score *= FADE
