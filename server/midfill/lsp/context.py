"""Tells the workspace what the editor does: its folders, its open documents, and where somebody types.

Nothing here waits or reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from midfill.context.keeper import Document as Shown
from midfill.context.workspace import MAX_TEXT
from midfill.lsp.documents import Document, Edit, unix
from midfill.lsp.uris import folder_path

if TYPE_CHECKING:
    from midfill.lsp.server import MidfillServer


def folders_changed(ls: MidfillServer) -> None:
    """The workspace's folders are now those of ``ls.documents``."""
    paths = (folder_path(uri) for uri in ls.documents.folders)
    ls.project.set_folders([path for path in paths if path is not None and path.is_absolute()])


def opened(ls: MidfillServer, uri: str) -> None:
    """A document was opened."""
    if (document := _known(ls, uri)) is not None:
        ls.project.opened(_shown(ls, document, unix(document.text)))


def changed(ls: MidfillServer, uri: str, edits: Sequence[Edit] | None) -> None:
    """A document was changed."""
    if (document := _known(ls, uri)) is not None:
        text = unix(document.text)
        ls.project.changed(_shown(ls, document, text), _cursor(document, text, edits or ()))


def closed(ls: MidfillServer, uri: str) -> None:
    """A document was closed."""
    ls.project.closed(uri)


def _known(ls: MidfillServer, uri: str) -> Document | None:
    """A document whose text is known and of use; the cells of a notebook see each other in any case."""
    document = ls.documents.get(uri)
    if document is None or document.stale or document.n_chars > MAX_TEXT:
        return None
    return None if ls.documents.notebooks.notebook_of(uri) else document


def _shown(ls: MidfillServer, document: Document, text: str) -> Shown:
    where = folder_path(document.uri)
    path = ls.documents.shown_path(document)
    return Shown(document.uri, where, path, document.language, text.removeprefix("\ufeff"))


def _cursor(document: Document, text: str, edits: Iterable[Edit]) -> int | None:
    """Where the last edit ended, as code points of ``text``; None where it was not one of somebody typing."""
    edit = next((edit for edit in reversed(list(edits)) if edit.span is not None), None)
    if edit is None or edit.span is None:
        return None
    lines = re.split(r"\r\n|\r|\n", edit.text)
    row, index = document.locate(edit.span.start_line, edit.span.start_character)
    index = index + len(lines[-1]) if len(lines) == 1 else len(lines[-1])
    row = min(row + len(lines) - 1, len(document.lines) - 1)
    start = len(unix("".join(document.lines[:row])))
    return min(start + min(index, len(document.lines[row])) - text.startswith("\ufeff"), len(text))
