"""Which cells a notebook has, and in which order. Cell URIs are opaque: only the client's messages say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell; its text is a document of its own."""

    uri: str
    code: bool


class Notebooks:
    """The open notebooks."""

    def __init__(self) -> None:
        self._cells: dict[str, list[Cell]] = {}
        self._home: dict[str, str] = {}  # from a cell to its notebook

    def open(self, uri: str, cells: Sequence[Cell]) -> None:
        """notebookDocument/didOpen."""
        self.close(uri)
        self._cells[uri] = list(cells)
        self._home |= {cell.uri: uri for cell in cells}

    def close(self, uri: str) -> list[str]:
        """notebookDocument/didClose; its cells go with it."""
        cells = [cell.uri for cell in self._cells.pop(uri, ())]
        for cell in cells:
            self._home.pop(cell, None)
        return cells

    def splice(self, uri: str, start: int, n_delete: int, cells: Sequence[Cell]) -> None:
        """The client added, removed or moved cells."""
        if uri not in self._cells:
            return
        order = self._cells[uri]
        for cell in order[start : start + n_delete]:
            self._home.pop(cell.uri, None)
        order[start : start + n_delete] = cells
        self._home |= {cell.uri: uri for cell in order}

    def update(self, uri: str, cells: Sequence[Cell]) -> None:
        """The client changed the kind of cells."""
        kinds = {cell.uri: cell.code for cell in cells}
        if uri in self._cells:
            self._cells[uri] = [replace(cell, code=kinds.get(cell.uri, cell.code)) for cell in self._cells[uri]]

    def notebook_of(self, cell: str) -> str | None:
        """Return the notebook that a cell belongs to."""
        return self._home.get(cell)

    def neighbours(self, uri: str) -> tuple[list[str], list[str]]:
        """Return the code cells before and after a cell, in order."""
        order = self._cells.get(self._home.get(uri, ""), [])
        at = next((n for n, cell in enumerate(order) if cell.uri == uri), None)
        if at is None or not order[at].code:
            return [], []
        return [cell.uri for cell in order[:at] if cell.code], [cell.uri for cell in order[at + 1 :] if cell.code]
