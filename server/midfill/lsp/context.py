"""Tells the workspace what the editor does: its folders, its open documents, and where the user types.

Nothing here waits or reads a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from midfill.context.keeper import OpenDocument as Shown
from midfill.context.workspace import MAX_TEXT
from midfill.lsp.documents import ContentChange, Document, unix
from midfill.lsp.session import Session
from midfill.lsp.uris import folder_path


def opened(session: Session, uri: str) -> None:
    """The client opened a document."""
    if (document := _known(session, uri)) is not None:
        session.project.opened(_shown(session, document, unix(document.text)))


def changed(session: Session, uri: str, edits: Sequence[ContentChange] | None) -> None:
    """The client changed a document."""
    if (document := _known(session, uri)) is not None:
        text = unix(document.text)
        session.project.changed(_shown(session, document, text), _cursor(document, text, edits or ()))


def closed(session: Session, uri: str) -> None:
    """The client closed a document."""
    session.project.closed(uri)


def _known(session: Session, uri: str) -> Document | None:
    """Return a document whose text is known and useful. The cells of a notebook see each other in any case."""
    document = session.documents.get(uri)
    if document is None or document.stale or document.n_chars > MAX_TEXT:
        return None
    return None if session.documents.notebooks.notebook_of(uri) else document


def _shown(session: Session, document: Document, text: str) -> Shown:
    where = folder_path(document.uri)
    path = session.documents.shown_path(document)
    return Shown(document.uri, where, path, document.language, text.removeprefix("\ufeff"))


def _cursor(document: Document, text: str, edits: Iterable[ContentChange]) -> int | None:
    """Return where the last edit ended, in code points of ``text``; None if the user did not type it."""
    edit = next((edit for edit in reversed(list(edits)) if edit.span is not None), None)
    if edit is None or edit.span is None:
        return None
    lines = re.split(r"\r\n|\r|\n", edit.text)
    row, index = document.locate(edit.span.start_line, edit.span.start_character)
    index = index + len(lines[-1]) if len(lines) == 1 else len(lines[-1])
    row = min(row + len(lines) - 1, len(document.lines) - 1)
    start = len(unix("".join(document.lines[:row])))
    return min(start + min(index, len(document.lines[row])) - text.startswith("\ufeff"), len(text))
