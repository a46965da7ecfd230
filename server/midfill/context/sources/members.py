"""A definition with its members: shared by the sources that find classes."""

from __future__ import annotations

from collections.abc import Iterator

from midfill.context.focus import Focus
from midfill.context.index import SourceFile
from midfill.context.view import Pick

MAX_MEMBERS = 60
CONSTRUCTOR, PUBLIC, FIELD, SPECIAL, PRIVATE = 0.6, 0.45, 0.4, 0.2, 0.15


def whole(file: SourceFile, at: int, score: float, source: str, focus: Focus, *, share: float = 0.0) -> Iterator[Pick]:
    """Yield the definition, and its members with smaller scores: first those whose names are near the cursor.

    ``share``: the least share of the score that a public member gets; near 1 if one of them is about to be written.
    """
    definition = file.definitions[at]
    yield Pick(file, at, score, source)
    if definition.kind not in ("class", "record"):
        return
    n_left = MAX_MEMBERS
    for n, member in enumerate(file.definitions):
        if member.owner != definition.name or n == at or n_left <= 0:
            continue
        n_left -= 1
        yield Pick(file, n, score * max(_share(member.name, member.kind, focus), _floor(member.name, share)), source)


def _floor(name: str, share: float) -> float:
    return share * 0.3 if name.startswith("_") else share


def _share(name: str, kind: str, focus: Focus) -> float:
    """Return what a member is worth compared with its class."""
    near = focus.near.get(name, 0.0)
    if name.startswith("__") or name == "constructor":
        share = CONSTRUCTOR if name in ("__init__", "constructor") else SPECIAL
    elif name.startswith("_"):
        share = PRIVATE
    else:
        share = FIELD if kind == "field" else PUBLIC
    return max(share, near)
