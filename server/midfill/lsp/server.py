"""The language server: the handler of each method."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

from midfill import __version__
from midfill.config import Config
from midfill.engine.base import EngineError
from midfill.lsp import (
    configure,
    debug,
    definitions,
    diagnostics,
    explain,
    focus,
    knob,
    models,
    names,
    outcomes,
    settings,
    suggest,
    sync,
    transport,
    why,
)
from midfill.lsp.connection import MakeLink
from midfill.lsp.positions import Encoding
from midfill.lsp.protocol import MidfillProtocol, Params
from midfill.lsp.session import Session

log = logging.getLogger(__name__)

TRIGGERS = [".", " ", "(", "[", "{", ":", "=", ","]

Handler = Callable[[Params], Any]


def serve_stdio(config: Config | None = None) -> int:
    """Serve the client on stdin and stdout until it leaves. Ends the process.

    If ``config`` is None, the user's file is read when the client initializes, and its mistakes are shown there.
    """
    return transport.serve_stdio(lambda: MidfillServer(config))


def serve_tcp(host: str, port: int, config: Config | None = None) -> int:
    """Serve clients on a loopback address, each with its own session. For debugging."""
    return transport.serve_tcp(lambda: MidfillServer(config), host, port)


class MidfillServer(LanguageServer):
    """pygls's server with one session."""

    protocol: MidfillProtocol
    commands = knob.COMMANDS

    def __init__(self, config: Config | None = None, make_link: MakeLink | None = None) -> None:
        super().__init__("midfill", __version__, protocol_cls=MidfillProtocol)
        self.notebook_sync = lsp.NotebookDocumentSyncOptions(
            notebook_selector=[lsp.NotebookDocumentFilterWithNotebook(notebook="*")]
        )
        self.session = Session(self.protocol, config, make_link)
        for method, handler, options in _features(self.session):
            self.feature(method, options)(handler)

    def initialize(self, params: Params) -> Encoding:
        """Read the params of initialize."""
        return self.session.initialize(params)

    def watch(self, on_process_id: Callable[[int], None]) -> None:
        """Call ``on_process_id`` with the client's process id, once the client sends it."""
        self.session.on_process_id = on_process_id

    def stopping(self) -> None:
        """`shutdown` came, or the client is gone."""
        self.session.stop()

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Log the error; never show a popup."""
        log.error("%s", type(error).__name__)


def current_status(session: Session, params: Params) -> Any:
    """midfill/status as a request."""
    session.warnings.wanted = False  # a client that asks shows the status itself
    return session.board.payload()


async def stats(session: Session) -> Any:
    """midfill/stats."""
    try:
        engine = await session.engine.link.stats() if session.engine.link is not None else {}
    except EngineError:
        engine = {}
    return {**session.latest.counts, "documents": len(session.documents), "engine": engine}


def did_change_folders(session: Session, params: Params) -> None:
    """workspace/didChangeWorkspaceFolders."""
    event = params.get("event")
    event = event if isinstance(event, dict) else {}
    removed = settings.read_folders(event.get("removed"))
    kept = tuple(folder for folder in session.documents.folders if folder not in removed)
    session.documents.folders = kept + settings.read_folders(event.get("added"))
    if session.config.enabled:
        session.folders_changed()


def _features(session: Session) -> list[tuple[str, Handler, Any]]:
    """Return every method outside the life cycle with its handler and its advertised options."""

    def of(handler: Callable[[Session, Params], Any]) -> Handler:
        return partial(handler, session)

    popups = lsp.CompletionOptions(trigger_characters=TRIGGERS, resolve_provider=False)
    return [
        (lsp.TEXT_DOCUMENT_DID_OPEN, of(sync.did_open), None),
        (lsp.TEXT_DOCUMENT_DID_CHANGE, of(sync.did_change), None),
        (lsp.TEXT_DOCUMENT_DID_CLOSE, of(sync.did_close), None),
        (lsp.TEXT_DOCUMENT_DID_SAVE, of(sync.did_save), lsp.SaveOptions(include_text=False)),
        ("textDocument/didFocus", partial(focus.did_focus, session.focus), None),
        (lsp.NOTEBOOK_DOCUMENT_DID_OPEN, of(sync.notebook_did_open), None),
        (lsp.NOTEBOOK_DOCUMENT_DID_CHANGE, of(sync.notebook_did_change), None),
        (lsp.NOTEBOOK_DOCUMENT_DID_CLOSE, of(sync.notebook_did_close), None),
        (lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, of(configure.did_change_configuration), None),
        (lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, of(did_change_folders), None),
        (lsp.INITIALIZED, of(configure.initialized), None),
        (lsp.TEXT_DOCUMENT_INLINE_COMPLETION, of(suggest.inline_completion), lsp.InlineCompletionOptions()),
        (lsp.TEXT_DOCUMENT_COMPLETION, of(suggest.popup_completion), popups),
        ("midfill/inlineCompletion", of(suggest.streaming_inline_completion), None),
        ("midfill/status", of(current_status), None),
        ("midfill/stats", lambda _params: stats(session), None),
        ("midfill/explain", partial(explain.explain, session.traces), None),
        ("midfill/why", of(why.why), None),
        ("midfill/names", partial(names.names, session.documents, session.project.knowledge), None),
        ("midfill/signatures", partial(names.signatures, session.documents, session.project.knowledge), None),
        ("midfill/definitions", partial(definitions.definitions, session.documents, session.project), None),
        ("midfill/diagnostics", partial(diagnostics.diagnostics, session.documents, session.project.diagnostics), None),
        ("midfill/places", partial(names.places, session.documents, session.project), None),
        ("midfill/models", lambda _params: models.models(session.config.model), None),
        (lsp.WORKSPACE_EXECUTE_COMMAND, of(knob.execute_command), None),
        ("midfill/dismissed", of(knob.dismissed), None),
        ("textDocument/didShowCompletion", partial(outcomes.did_show, session.outcomes), None),
        ("textDocument/didPartiallyAcceptCompletion", partial(outcomes.did_partly_accept, session.outcomes), None),
        *((method, handler, None) for method, handler in debug.handlers(session).items() if debug.enabled()),
    ]
