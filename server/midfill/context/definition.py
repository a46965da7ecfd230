"""What one file defines: a value that the parsing process passes to the process that chooses snippets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from midfill.context.kinds import Kind


@dataclass(frozen=True, slots=True)
class Definition:
    """One name that a file defines."""

    name: str
    kind: Kind
    signature: str  # without the indentation of its place; may have several lines
    line: int  # from 0
    end_line: int
    parent: int = -1  # index of the class that contains it; -1: none
    owner: str = ""  # the class it is a member of, even if it is outside of it (Go, Rust, C++)
    doc: str = ""  # first line of its docstring
    depth: int = 0


_TYPES = (str, str, str, int, int, int, str, str, int)


def to_json(definitions: Iterable[Definition]) -> list[list[Any]]:
    """Return the values of each definition, in the order of its fields."""
    return [list(astuple(one)) for one in definitions]


def from_json(rows: Any) -> tuple[Definition, ...]:
    """Return what ``to_json`` wrote. Raises ValueError for anything else; a parent always comes before its members."""
    if not isinstance(rows, list):
        raise ValueError("no list of definitions")
    return tuple(_definition(row, at) for at, row in enumerate(rows))


def _definition(row: Sequence[Any], at: int) -> Definition:
    if not isinstance(row, list) or tuple(map(type, row)) != _TYPES:
        raise ValueError("no definition")
    found = Definition(*row)
    if not -1 <= found.parent < at or found.line < 0:
        raise ValueError("a definition in no order")
    return found
