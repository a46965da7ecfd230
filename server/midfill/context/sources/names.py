"""Definitions of the names around the cursor, imported or not, and the classes that its variables have."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.imports import common
from midfill.context.index import Place
from midfill.context.sources.members import whole
from midfill.context.view import Pick, View

MAX_PLACES = 4  # a name that is defined more often says little
NEAR = 0.7
TYPE = 0.9
NAME = "names"


def find(view: View, focus: Focus) -> Iterator[Pick]:
    """Signatures of what is called near the cursor, and of what can be called on the names there."""
    own = view.index.files.get(focus.key)
    here = {definition.name for definition in own.definitions} if own is not None else set()
    for name, weight in focus.types.items():
        if name not in here:
            for place in _places(view, focus, name, of_class=True):
                yield from whole(place.file, place.at, TYPE * weight, NAME, focus)
    for name, weight in focus.near.items():
        if name in here or len(name) < 4:
            continue
        places = _places(view, focus, name)
        for place in places:
            score = NEAR * weight / len(places)
            if place.definition.owner:
                yield Pick(place.file, place.at, score * 0.7, NAME)
            else:
                yield from whole(place.file, place.at, score, NAME, focus)


def _places(view: View, focus: Focus, name: str, *, of_class: bool = False) -> list[Place]:
    """The definitions of ``name`` in other files, the nearest first; none where there are too many."""
    if not view.index.is_defined(name):
        return []
    places = [
        place for place in view.index.defining(name)
        if place.file.key != focus.key and place.file.family == focus.family
        and (not of_class or place.definition.kind in ("class", "record"))
    ]  # fmt: skip
    if len(places) > MAX_PLACES:
        return []
    return sorted(places, key=lambda place: -common(place.file.path, focus.path))
