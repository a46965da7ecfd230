"""midfill/diagnostics: what the editor's other language servers complain of, kept for the text of the lines."""

from __future__ import annotations

from typing import Any

from midfill.context.diagnostics import MAX_KEPT, Complaint, Diagnostics
from midfill.lsp import convert
from midfill.lsp.documents import Document, Documents
from midfill.lsp.positions import content
from midfill.lsp.protocol import InvalidParams, Params

ERROR, WARNING = 1, 2  # DiagnosticSeverity; hints are left out
MAX_MESSAGE = 1000  # characters that are read


def diagnostics(documents: Documents, kept: Diagnostics, params: Params) -> Any:
    """Keep what is told of a document; a list for another version of it is dropped."""
    document = documents.get(convert.read_uri(params))
    version = convert.read_object(params, "textDocument").get("version")
    told = params.get("diagnostics")
    if document is None or document.stale or document.version != version or not isinstance(told, list):
        return
    found = [one for item in told[: 2 * MAX_KEPT] if (one := _complaint(document, item)) is not None]
    kept.told(document.uri, found)


def _complaint(document: Document, item: Any) -> Complaint | None:
    """None for what is no error or warning at a line of the document."""
    if not isinstance(item, dict) or not isinstance(message := item.get("message"), str):
        return None
    severity, span = item.get("severity", ERROR), item.get("range")
    try:
        row = convert.read_position(span.get("start") if isinstance(span, dict) else None)[0]
    except InvalidParams:
        return None
    if severity not in (ERROR, WARNING) or isinstance(severity, bool) or row >= len(document.lines):
        return None
    return Complaint(row, content(document.lines[row]), message[:MAX_MESSAGE], severity == ERROR)
