"""Document notifications: what the editor opens, changes and closes. Applied at once, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from midfill.lsp import context, convert, suggest, why
from midfill.lsp.protocol import InvalidParams, Params
from midfill.lsp.session import Session


def did_open(session: Session, params: Params) -> None:
    """textDocument/didOpen."""
    uri = _open(session, convert.read_object(params, "textDocument"))
    context.opened(session, uri)
    session.focus.opened(uri)


def did_change(session: Session, params: Params) -> None:
    """textDocument/didChange."""
    _change(session, convert.read_object(params, "textDocument"), params.get("contentChanges"))


def did_close(session: Session, params: Params) -> None:
    """textDocument/didClose."""
    _close(session, convert.read_uri(params))


def did_save(session: Session, params: Params) -> None:
    """textDocument/didSave: nothing to do, because the text is known."""


def notebook_did_open(session: Session, params: Params) -> None:
    """notebookDocument/didOpen."""
    notebook = convert.read_object(params, "notebookDocument")
    for item in _objects(params.get("cellTextDocuments")):
        _open(session, item)
    if isinstance(notebook.get("uri"), str):
        session.documents.notebooks.open(notebook["uri"], convert.read_cells(notebook.get("cells")))


def notebook_did_change(session: Session, params: Params) -> None:
    """notebookDocument/didChange: first the structure, then the texts."""
    uri = convert.read_object(params, "notebookDocument").get("uri")
    cells = convert.read_object(convert.read_object(params, "change"), "cells")
    if not isinstance(uri, str):
        raise InvalidParams
    _restructure(session, uri, convert.read_object(cells, "structure"))
    session.documents.notebooks.update(uri, convert.read_cells(cells.get("data")))
    for content in _objects(cells.get("textContent")):
        _change(session, convert.read_object(content, "document"), content.get("changes"))


def notebook_did_close(session: Session, params: Params) -> None:
    """notebookDocument/didClose."""
    uri = convert.read_object(params, "notebookDocument").get("uri")
    closed = {item.get("uri") for item in _objects(params.get("cellTextDocuments"))}
    if isinstance(uri, str):
        closed |= set(session.documents.notebooks.close(uri))
    for cell in closed:
        if isinstance(cell, str):
            _close(session, cell)


def _restructure(session: Session, uri: str, structure: Mapping[str, Any]) -> None:
    for item in _objects(structure.get("didOpen")):
        _open(session, item)
    array = convert.read_object(structure, "array")
    start, n_delete = array.get("start"), array.get("deleteCount")
    if isinstance(start, int) and isinstance(n_delete, int) and start >= 0 and n_delete >= 0:
        session.documents.notebooks.splice(uri, start, n_delete, convert.read_cells(array.get("cells")))
    for item in _objects(structure.get("didClose")):
        if isinstance(item.get("uri"), str):
            _close(session, item["uri"])


def _open(session: Session, item: Mapping[str, Any]) -> str:
    uri, language, version, text = (item.get(key) for key in ("uri", "languageId", "version", "text"))
    if not isinstance(uri, str) or not isinstance(text, str):
        raise InvalidParams
    session.drop_suggestions(uri)
    number = version if isinstance(version, int) and not isinstance(version, bool) else 0
    session.documents.open(uri, language if isinstance(language, str) else "", number, text)
    why.doubts_changed(session)
    return uri


def _change(session: Session, document: Mapping[str, Any], changes: Any) -> None:
    uri = document.get("uri")
    if not isinstance(uri, str):
        raise InvalidParams
    edits = convert.read_edits(changes)
    try:
        version = convert.read_version(document.get("version"))
    except InvalidParams:
        version, edits = None, None
    session.documents.change(uri, version, edits)
    why.doubts_changed(session)
    suggest.edited(session, uri)
    context.changed(session, uri, edits)
    session.focus.edited(uri)


def _close(session: Session, uri: str) -> None:
    session.drop_suggestions(uri)
    session.outcomes.closed(uri)
    session.documents.close(uri)
    why.doubts_changed(session)
    context.closed(session, uri)
    session.focus.closed(uri)


def _objects(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
