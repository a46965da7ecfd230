"""Definitions behind the imports of this file: what it names, it is going to use."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.imports import Import, imports_of, resolve
from midfill.context.index import Place, SourceFile
from midfill.context.sources.members import whole
from midfill.context.view import Pick, View

NAMED = 0.55  # a name that is imported; one that is also near the cursor gets up to NEAR more
NEAR = 0.45
OF_MODULE = 0.25  # a public definition of a module that is imported whole
MAX_OF_MODULE = 40
NAME = "imports"


def find(view: View, focus: Focus) -> Iterator[Pick]:
    """Signatures of the names that are imported, and of what imported modules define."""
    for one in imports_of(focus.text, focus.path, focus.family):
        files = [file for file in resolve(view.index, one, focus.path) if file.key != focus.key]
        if not files and not one.names:
            continue
        if one.names:
            yield from _named(view, focus, one, files)
        else:
            for file in files:
                yield from _of_module(focus, file, one.alias)


def _named(view: View, focus: Focus, one: Import, files: list[SourceFile]) -> Iterator[Pick]:
    for name in one.names:
        score = NAMED + NEAR * focus.near.get(name, 0.0)
        for place in _places(view, focus, name, files):
            yield from whole(place.file, place.at, score, NAME, focus)


def _places(view: View, focus: Focus, name: str, files: list[SourceFile]) -> list[Place]:
    """Where ``name`` is defined: in the module that it is imported from, or where that has it from."""
    for file in files:
        found = [Place(file, at) for at, one in enumerate(file.definitions) if one.name == name and not one.owner]
        if found:
            return found[:2]
    if not files:
        return []
    outer = files[0].folder
    places = [
        place for place in view.index.defining(name)
        if not place.definition.owner and place.file.key != focus.key and place.file.family == focus.family
    ]  # fmt: skip
    inside = [place for place in places if not outer or place.file.path.startswith(outer + "/")]
    return (inside or places)[:1]


def _of_module(focus: Focus, file: SourceFile, alias: str) -> Iterator[Pick]:
    used = focus.receiver == alias and bool(alias)
    n_left = MAX_OF_MODULE
    near_alias = focus.near.get(alias, 0.0)
    for at, definition in enumerate(file.definitions):
        if definition.owner or definition.kind == "impl" or n_left <= 0:
            continue
        n_left -= 1
        near = focus.near.get(definition.name, 0.0)
        score = OF_MODULE * (0.4 if definition.name.startswith("_") else 1.0) + 0.3 * near_alias + NEAR * near
        yield Pick(file, at, max(score, 0.8) if used else score, NAME)
