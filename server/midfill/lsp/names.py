"""midfill/names: what the editor's other language servers know of the names after a dot. Nothing waits for them.

midfill/places: where they should be asked.
"""

from __future__ import annotations

from typing import Any

from midfill.context.knowledge.names import KEYWORD, MAX_KEYWORDS, MAX_NAMES, name_of
from midfill.context.knowledge.store import Knowledge
from midfill.lsp import convert
from midfill.lsp.documents import Document, Documents
from midfill.lsp.positions import to_character
from midfill.lsp.protocol import Params
from midfill.types import Snapshot


def names(documents: Documents, knowledge: Knowledge, params: Params) -> Any:
    """Keep a list for the place it was made for; drop it if it was made for another version of the document."""
    document = documents.get(convert.read_uri(params))
    version = convert.read_object(params, "textDocument").get("version")
    told = params.get("names")
    if document is None or document.stale or document.version != version or not isinstance(told, list):
        return
    if sum(isinstance(one, dict) and one.get("kind") == KEYWORD for one in told[:MAX_NAMES]) > MAX_KEYWORDS:
        return
    found = [name for one in told[:MAX_NAMES] if (name := name_of(one))]
    snapshot = documents.snapshot(document.uri, *convert.read_position(params.get("position")))
    if snapshot is not None:
        is_complete = params.get("complete") is True and len(told) <= MAX_NAMES
        knowledge.told(snapshot, list(dict.fromkeys(found)), is_complete=is_complete)


def places(documents: Documents, knowledge: Knowledge, params: Params) -> Any:
    """midfill/places: where the client should ask its other language servers now, the cursor first if after a dot.
    No places for another version of the text, or if midfill does not need the names."""
    line, character = convert.read_position(params.get("position"))
    document = documents.get(convert.read_uri(params))
    version = convert.read_object(params, "textDocument").get("version")
    if document is None or document.stale or document.version != version:
        return {"places": []}
    snapshot = documents.snapshot(document.uri, line, character)
    found = knowledge.wanted(snapshot) if snapshot is not None else ()
    cursor = document.locate(line, character)[0]
    return {"places": [one for at in found if (one := _position(document, snapshot, cursor, at)) is not None]}


def _position(document: Document, snapshot: Snapshot | None, row: int, at: int) -> dict[str, int] | None:
    """Return a place of the snapshot in the document; None if it is in another cell of the notebook."""
    assert snapshot is not None
    low, high = sorted((at, snapshot.cursor))
    n_lines = snapshot.text.count("\n", low, high)
    row += n_lines if at > snapshot.cursor else -n_lines
    head = snapshot.text[:at].rpartition("\n")[2]
    if not 0 <= row < len(document.lines) or not document.lines[row].startswith(head):
        return None
    return {"line": row, "character": to_character(head, document.encoding)}
