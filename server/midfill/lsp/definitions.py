"""midfill/definitions: where a name near the cursor, or its class, is defined, as the editor's other language servers
say. No file is read because of it."""

from __future__ import annotations

from typing import Any

from midfill.context.definitions import MAX_HOVER, MAX_TARGETS, Target
from midfill.context.workspace import Workspace
from midfill.lsp import convert
from midfill.lsp.documents import Documents
from midfill.lsp.names import current
from midfill.lsp.protocol import InvalidParams, Params
from midfill.lsp.uris import folder_path


def definitions(documents: Documents, project: Workspace, params: Params) -> Any:
    """Keep what is said of a name; drop it if it was said of another version of the document."""
    document, told, hover = current(documents, params), params.get("targets"), params.get("hover")
    if document is None or not isinstance(told, list):
        return
    snapshot = documents.snapshot(document.uri, *convert.read_position(params.get("position")))
    if snapshot is not None:
        targets = [one for item in told[:MAX_TARGETS] if (one := _target(item)) is not None]
        project.resolved(snapshot, targets, hover[:MAX_HOVER] if isinstance(hover, str) else "")


def _target(item: Any) -> Target | None:
    """Return a place in a file; None for anything else."""
    if not isinstance(item, dict) or not isinstance(uri := item.get("uri"), str):
        return None
    path = folder_path(uri)
    try:
        row = convert.read_span(item.get("range")).start_line
    except InvalidParams:
        return None
    return Target(str(path), row) if path is not None and path.is_absolute() else None
