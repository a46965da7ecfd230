"""Definitions of the documents that are open or were visited recently."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.view import Pick, View

MAX_DOCUMENTS = 6
LATEST = 0.3
FADE = 0.8
MAX_DEFINITIONS = 30
NAME = "open"


def find(view: View, focus: Focus) -> Iterator[Pick]:
    """Yield signatures of the latest documents, those used near the cursor first."""
    score, n_left = LATEST, MAX_DOCUMENTS
    for key in view.visited:
        file = view.index.files.get(key)
        if file is None or key == focus.key or file.family != focus.family:
            continue
        places = [at for at, one in enumerate(file.definitions) if not one.owner and one.kind != "impl"]
        for at in places[:MAX_DEFINITIONS]:
            yield Pick(file, at, score + 0.3 * focus.near.get(file.definitions[at].name, 0.0), NAME)
        score, n_left = score * FADE, n_left - 1
        if n_left == 0:
            return
