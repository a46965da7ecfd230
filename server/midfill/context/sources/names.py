"""Definitions of the names around the cursor, imported or not, and of the classes that its variables have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from midfill.context.definition import Definition
from midfill.context.focus import Focus
from midfill.context.imports import common
from midfill.context.index import WORD, DefinitionRef
from midfill.context.sources.members import whole
from midfill.context.view import Pick, View

MAX_PLACES = 4  # a name that is defined more often says little
NEAR = 0.5
MIN_MEMBER = 5  # letters: members with short names have many namesakes
MEMBER_NEAR = 0.5
TYPE = 1.25  # the class whose member is being written: more than an import that waits for its use
MEMBERS = 0.92  # of the class whose member is being written
INHERITED = 0.9
MAX_BASES = 2  # levels
MAX_NAMED_BASES = 4
NAME = "names"


def find(view: View, focus: Focus) -> Iterator[Pick]:
    """Yield signatures of what is called near the cursor, and of what can be called on the names there."""
    own = view.index.files.get(focus.key)
    here = {definition.name for definition in own.definitions} if own is not None else set()
    for name, weight in focus.types.items():
        if name not in here:
            yield from _class(view, focus, name, TYPE * weight, MEMBERS if weight == 1.0 else 0.0)
        elif weight == 1.0 and own is not None:  # what it inherits may be in other files
            yield from _bases(view, focus, own.definitions, name, TYPE)
    for name, weight in focus.near.items():
        if name in here or len(name) < 4:
            continue
        places = _places(view, focus, name)
        for place in places:
            score = NEAR * weight / len(places)
            if place.definition.owner:
                if len(name) >= MIN_MEMBER:
                    yield Pick(place.file, place.at, score * MEMBER_NEAR, NAME)
            else:
                yield from whole(place.file, place.at, score, NAME, focus)


def _class(view: View, focus: Focus, name: str, score: float, share: float, n_up: int = MAX_BASES) -> Iterator[Pick]:
    """Yield a class with its members, and with a smaller score what it inherits."""
    for place in _places(view, focus, name, of_class=True):
        yield from whole(place.file, place.at, score, NAME, focus, share=share)
        if n_up:
            yield from _bases(view, focus, [place.definition], name, score * INHERITED, n_up - 1)


def _bases(
    view: View, focus: Focus, definitions: Sequence[Definition], name: str, score: float, n_up: int = MAX_BASES - 1
) -> Iterator[Pick]:
    for definition in definitions:
        if definition.name == name and definition.kind in ("class", "record"):
            bases = [word for word in WORD.findall(definition.signature.split("\n", 1)[0]) if word[0].isupper()]
            for base in bases[:MAX_NAMED_BASES]:
                if base != name:
                    yield from _class(view, focus, base, score, MEMBERS, n_up)


def _places(view: View, focus: Focus, name: str, *, of_class: bool = False) -> list[DefinitionRef]:
    """Return the definitions of ``name`` in other files, the nearest first; [] if there are too many."""
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
