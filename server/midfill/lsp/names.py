"""midfill/names and midfill/signatures: what the editor's other language servers know of the names after a dot, and of
what a callee takes. Nothing waits for them.

midfill/places: where they should be asked.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from midfill.context.knowledge.names import KEYWORD, MAX_KEYWORDS, MAX_NAMES, name_of
from midfill.context.knowledge.store import Knowledge
from midfill.context.workspace import Workspace
from midfill.lsp import convert
from midfill.lsp.documents import Document, Documents
from midfill.lsp.positions import to_character
from midfill.lsp.protocol import Params
from midfill.types import Snapshot


def names(documents: Documents, knowledge: Knowledge, params: Params) -> Any:
    """Keep a list for the place it was made for; drop it if it was made for another version of the document."""
    document, told = current(documents, params), params.get("names")
    if document is None or not isinstance(told, list):
        return
    if sum(isinstance(one, dict) and one.get("kind") == KEYWORD for one in told[:MAX_NAMES]) > MAX_KEYWORDS:
        return
    found = [name for one in told[:MAX_NAMES] if (name := name_of(one))]
    snapshot = documents.snapshot(document.uri, *convert.read_position(params.get("position")))
    if snapshot is not None:
        is_complete = params.get("complete") is True and len(told) <= MAX_NAMES
        knowledge.told(snapshot, list(dict.fromkeys(found)), is_complete=is_complete)


def signatures(documents: Documents, knowledge: Knowledge, params: Params) -> Any:
    """Keep what the innermost call at a place takes; drop it if it was said for another version of the document."""
    document, told = current(documents, params), params.get("signatures")
    if document is None or not isinstance(told, list):
        return
    snapshot = documents.snapshot(document.uri, *convert.read_position(params.get("position")))
    if snapshot is not None:
        knowledge.told_call(snapshot, told)


def places(documents: Documents, project: Workspace, params: Params) -> Any:
    """midfill/places: where the client should ask its other language servers now, the cursor first if after a dot, in
    which call, and what which names are. Nowhere for another version of the text, or if midfill does not need the
    answers."""
    line, character = convert.read_position(params.get("position"))
    document = current(documents, params)
    snapshot = documents.snapshot(document.uri, line, character) if document is not None else None
    if document is None or snapshot is None:
        return {"places": [], "call": None, "names": []}
    position = partial(_position, document, snapshot, document.locate(line, character)[0])
    found, call = project.knowledge.wanted(snapshot), project.knowledge.wanted_call(snapshot)
    unresolved = [(position(one.at), one.of_type) for one in project.unresolved(snapshot)]
    return {
        "places": [one for at in found if (one := position(at)) is not None],
        "call": position(call) if call is not None else None,
        "names": [{"position": at, "type": of_type} for at, of_type in unresolved if at is not None],
    }


def current(documents: Documents, params: Params) -> Document | None:
    """Return the document, if it is open in the version that the client means."""
    document = documents.get(convert.read_uri(params))
    version = convert.read_object(params, "textDocument").get("version")
    return document if document is not None and not document.stale and document.version == version else None


def _position(document: Document, snapshot: Snapshot, row: int, at: int) -> dict[str, int] | None:
    """Return a place of the snapshot in the document; None if it is in another cell of the notebook."""
    low, high = sorted((at, snapshot.cursor))
    n_lines = snapshot.text.count("\n", low, high)
    row += n_lines if at > snapshot.cursor else -n_lines
    head = snapshot.text[:at].rpartition("\n")[2]
    if not 0 <= row < len(document.lines) or not document.lines[row].startswith(head):
        return None
    return {"line": row, "character": to_character(head, document.encoding)}
