"""Definitions of what this file imports: a file is going to use the names in its imports.

An imported name that is not used yet is the likeliest of all: the import was written for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.imports import imports_of, resolve
from midfill.context.index import DefinitionRef, SourceFile
from midfill.context.sources.members import whole
from midfill.context.view import Excerpt, Found, Pick, View

UNUSED = 1.1  # an imported name that occurs nowhere else
NAMED = 0.15  # a name that is used somewhere; near the cursor it gets up to NEAR more
NEAR = 0.45
OF_MODULE = 0.2  # a public definition of a module that is imported as a whole
MAX_OF_MODULE = 40
MEMBER = 0.85  # of a module whose name is before the cursor with a dot
USE = 1.0  # lines in other files that use an unused name
MAX_USES = 3  # names for which such lines are shown
NAME = "imports"


def find(view: View, focus: Focus) -> Iterator[Found]:
    """Yield signatures of imported names, and of what imported modules define."""
    n_uses = 0
    for one in imports_of(focus.text, focus.path, focus.family):
        files = [file for file in resolve(view.index, one, focus.path) if file.key != focus.key]
        for name in one.names if files else ():
            score = UNUSED if is_unused(focus, name) else NAMED + NEAR * focus.near.get(name, 0.0)
            places = _places(view, focus, name, files)
            for place in places:
                yield from whole(place.file, place.at, score, NAME, focus)
            if score == UNUSED and places and n_uses < MAX_USES:
                n_uses += 1
                yield from _uses(view, focus, name, places[0].file)
        if not one.names:
            for file in files:
                yield from _of_module(focus, file, one.alias)


def is_unused(focus: Focus, name: str) -> bool:
    """Whether this file contains ``name`` once: where it imports it."""
    return focus.used[name] <= 1


def _uses(view: View, focus: Focus, name: str, home: SourceFile) -> Iterator[Excerpt]:
    """Yield lines of another file that use ``name``: a call shows best how it is called."""
    for key in sorted(view.index.users(name)):
        file = view.index.files[key]
        if file is home or key == focus.key or file.family != focus.family:
            continue
        for at, line in enumerate(file.lines):
            if (
                f"{name}(" in line
                and "import" not in line
                and f"def {name}" not in line
                and f"function {name}" not in line
            ):
                yield Excerpt(file, max(0, at - 1), at + 2, USE, NAME)
                return


def _places(view: View, focus: Focus, name: str, files: list[SourceFile]) -> list[DefinitionRef]:
    """Return where ``name`` is defined: in the module that it is imported from, or where that module has it from."""
    for file in files:
        found = [
            DefinitionRef(file, at) for at, one in enumerate(file.definitions) if one.name == name and not one.owner
        ]
        if found:
            return found[:2]
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
        score = OF_MODULE + 0.3 * near_alias + NEAR * near
        if used:
            score = max(score, MEMBER)
        yield Pick(file, at, score * (0.4 if definition.name.startswith("_") else 1.0), NAME)
