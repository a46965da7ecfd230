"""Files of the same folder, and the file that a test tests (or the test of a file)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.sources.members import whole
from midfill.context.view import Pick, View

SIBLING = 0.15
PACKAGE = 0.3  # if a folder is one name space (Go, Java): its definitions need no import
COUNTERPART = 0.45
MAX_FILES = 20
MAX_DEFINITIONS = 30
NAME = "siblings"


def find(view: View, focus: Focus) -> Iterator[Pick]:
    """Yield signatures of the neighbours' definitions."""
    one_space = focus.language in ("go", "java", "kotlin")
    for file in view.index.in_folder(focus.folder)[:MAX_FILES]:
        if file.key != focus.key and file.family == focus.family:
            yield from _top(file, PACKAGE if one_space else SIBLING, focus)
    for file in _counterparts(view, focus):
        yield from _top(file, COUNTERPART, focus)


def _top(file: SourceFile, score: float, focus: Focus) -> Iterator[Pick]:
    places = [at for at, one in enumerate(file.definitions) if not one.owner and one.kind != "impl"]
    for at in places[:MAX_DEFINITIONS]:
        near = focus.near.get(file.definitions[at].name, 0.0)
        if score >= COUNTERPART:
            yield from whole(file, at, score + 0.4 * near, NAME, focus)
        else:
            yield Pick(file, at, score + 0.4 * near, NAME)


def _counterparts(view: View, focus: Focus) -> list[SourceFile]:
    name = focus.path.rpartition("/")[2]
    stem, dot, end = name.partition(".")
    bare = re.sub(r"^test_|_test$|_spec$|Tests?$", "", stem)
    bare_end = re.sub(r"^(?:test|spec)\.", "", end)
    if bare != stem or bare_end != end:
        wanted = [bare + dot + bare_end]
    else:
        wanted = [f"test_{name}", f"{stem}_test{dot}{end}", f"{stem}.test{dot}{end}", f"{stem}Test{dot}{end}"]
    files = [file for one in wanted for file in view.index.ending(one)]
    return [file for file in files if file.key != focus.key][:2]
