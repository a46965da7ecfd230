"""Why a document goes without automatic suggestions: the same words in every editor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from midfill import triggers
from midfill.lsp import convert, knob
from midfill.lsp.protocol import Params
from midfill.types import MidfillError, Refusal, Snapshot

if TYPE_CHECKING:
    from midfill.lsp.server import MidfillServer

NOT_OPEN = "the document is not open"
DISABLED = Refusal("disabled", "midfill is turned off (enabled)")
HEALS = "close the file and open it again"


def why(ls: MidfillServer, params: Params) -> Any:
    """midfill/why {textDocument?}: what keeps the document without suggestions, and what a switch needs to know.

    ``hint``: what the last request there met with, if it is the knob that hid its answer.
    """
    uri = convert.read_object(params, "textDocument").get("uri")
    document = ls.documents.get(uri) if isinstance(uri, str) else None
    known = uri if isinstance(uri, str) else None
    refusal = off(ls, known) if known is not None else _everywhere(ls)
    return {
        "off": "" if refusal is None else refusal.name,
        "why": "" if refusal is None else refusal.why,
        "language": "" if document is None else document.language,
        "languagesOff": list(ls.config.languages_off),
        "hint": knob.hint(ls, known),
    }


def off(ls: MidfillServer, uri: str) -> Refusal | None:
    """What keeps a document without automatic suggestions wherever the cursor is; None if nothing does."""
    if (refusal := _everywhere(ls)) is not None:
        return refusal
    if (refusal := unknown(ls, uri)) is not None:
        return refusal
    document = ls.documents.get(uri)
    assert document is not None
    path, name = ls.documents.shown_path(document), ls.documents.name_of(uri)
    empty = Snapshot(uri, 0, document.language, "", 0, path=path, name=name)
    return triggers.switched_off(empty, ls.config.languages_off, ls.config.globs_off)


def _everywhere(ls: MidfillServer) -> Refusal | None:
    return ls.snooze.refusal if ls.config.enabled else DISABLED


def unknown(ls: MidfillServer, uri: str) -> Refusal | None:
    """Why the text of a document is not known; None where it is."""
    document = ls.documents.get(uri)
    if document is None:
        return Refusal("unknown_document", NOT_OPEN)
    return Refusal("unknown_document", f"the text is not known: {document.doubt}") if document.stale else None


def doubts_changed(ls: MidfillServer) -> None:
    """Show which document's text is not known, the last one opened first, and what heals it."""
    doubted = ls.documents.doubted
    if not doubted:
        ls.board.lost(None)
        return
    name = ls.documents.name_of(doubted[-1].uri)
    error = MidfillError(f"no suggestions in {name}: {doubted[-1].doubt}", HEALS)
    ls.board.lost(error)
    ls.warnings.say("document", error)
