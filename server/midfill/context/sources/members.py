"""A definition with what belongs to it: shared by the sources that find classes."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.view import Pick

MAX_MEMBERS = 60
PUBLIC, SPECIAL, PRIVATE, FIELD = 0.6, 0.4, 0.15, 0.45


def whole(file: SourceFile, at: int, score: float, source: str, focus: Focus) -> Iterator[Pick]:
    """The definition, and its members with smaller scores: those whose names are near the cursor before the others."""
    definition = file.definitions[at]
    yield Pick(file, at, score, source)
    if definition.kind not in ("class", "record"):
        return
    n_left = MAX_MEMBERS
    for n, member in enumerate(file.definitions):
        if member.owner != definition.name or n == at or n_left <= 0:
            continue
        n_left -= 1
        yield Pick(file, n, score * _share(member.name, member.kind, focus), source)


def _share(name: str, kind: str, focus: Focus) -> float:
    """What a member is worth beside its class."""
    near = focus.near.get(name, 0.0)
    if name.startswith("__") or name == "constructor":
        share = PUBLIC if name in ("__init__", "constructor") else SPECIAL * 0.5
    elif name.startswith("_"):
        share = PRIVATE
    else:
        share = FIELD if kind == "field" else PUBLIC
    return max(share, near)
