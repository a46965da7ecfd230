"""Why a document gets no automatic suggestions: the same words in every editor."""

from __future__ import annotations

from typing import Any

from midfill import triggers
from midfill.lsp import convert
from midfill.lsp.protocol import Params
from midfill.lsp.session import Session
from midfill.syntax import languages
from midfill.types import MidfillError, Refusal, Snapshot

NOT_OPEN = "the document is not open"
DISABLED = Refusal("disabled", "midfill is turned off (enabled)")
HEALS = "close the file and open it again"


def why(session: Session, params: Params) -> Any:
    """midfill/why {textDocument?}: why the document gets no suggestions, and what a switch needs to know.

    ``hint``: why the last request there was answered with nothing, if eagerness hid its answer.
    """
    uri = convert.read_object(params, "textDocument").get("uri")
    document = session.documents.get(uri) if isinstance(uri, str) else None
    known = uri if isinstance(uri, str) else None
    refusal = off(session, known) if known is not None else _everywhere(session)
    return {
        "off": "" if refusal is None else refusal.name,
        "why": "" if refusal is None else refusal.why,
        "language": "" if document is None else document.language,
        "name": "" if document is None else languages.display_name(document.language),
        "disabledLanguages": list(session.config.disabled_languages),
        "hint": "" if (trace := session.traces.find(None, known)) is None else trace.hidden,
    }


def off(session: Session, uri: str) -> Refusal | None:
    """Return why a document gets no automatic suggestions, wherever the cursor is; None if it gets them."""
    if (refusal := _everywhere(session)) is not None:
        return refusal
    if (refusal := unknown(session, uri)) is not None:
        return refusal
    document = session.documents.get(uri)
    assert document is not None
    path, name = session.documents.shown_path(document), session.documents.name_of(uri)
    empty = Snapshot(uri, 0, document.language, "", 0, path=path, name=name)
    return triggers.switched_off(empty, session.config.disabled_languages, session.config.disabled_files)


def _everywhere(session: Session) -> Refusal | None:
    return session.snooze.refusal if session.config.enabled else DISABLED


def unknown(session: Session, uri: str) -> Refusal | None:
    """Return why the text of a document is unknown; None if it is known."""
    document = session.documents.get(uri)
    if document is None:
        return Refusal("unknown_document", NOT_OPEN)
    return (
        Refusal("unknown_document", f"the text of the document is unknown: {document.doubt}")
        if document.stale
        else None
    )


def doubts_changed(session: Session) -> None:
    """Show which document's text is unknown, the last one opened first, and how to fix it."""
    doubted = session.documents.doubted
    if not doubted:
        session.board.lost(None)
        return
    name = session.documents.name_of(doubted[-1].uri)
    error = MidfillError(f"no suggestions in {name}: {doubted[-1].doubt}", HEALS)
    session.board.lost(error)
    session.warnings.say("document", error)
