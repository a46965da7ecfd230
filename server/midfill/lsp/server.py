"""The language server: which method is answered by what."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer

from midfill import __version__, news
from midfill import config as configuration
from midfill.battery import BATTERY, Battery
from midfill.client.base import Completes, Link
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.context.workspace import Workspace
from midfill.engine.base import EngineError
from midfill.lsp import (
    configure,
    context,
    convert,
    debug,
    explain,
    focus,
    knob,
    models,
    names,
    notice,
    outcomes,
    settings,
    suggest,
    sync,
    transport,
    why,
)
from midfill.lsp.documents import Documents
from midfill.lsp.positions import Encoding
from midfill.lsp.protocol import MidfillProtocol, Params
from midfill.lsp.settings import Client, Settings
from midfill.lsp.status import StageProgress, StatusBoard, Warnings
from midfill.types import EngineStatus, MidfillError

log = logging.getLogger(__name__)

TRIGGERS = [".", " ", "(", "[", "{", ":", "=", ","]
INFO = 3  # lsp.MessageType
OFF = EngineStatus("off", "midfill is turned off", "set enabled = true")
FAILED_S = 5.0  # that an automatic request waits for an engine that has failed


MakeLink = Callable[[Config, Callable[[EngineStatus], None], Sequence[ContextSource]], Link]


def serve_stdio(config: Config | None = None) -> int:
    """Serve the client on stdin and stdout until it leaves. Ends the process.

    ``config`` None: the user's file is read when the client initializes, and a mistake in it is shown there.
    """
    return transport.serve_stdio(lambda: MidfillServer(config))


def serve_tcp(host: str, port: int, config: Config | None = None) -> int:
    """Serve clients on a loopback address, each with a session of its own. For debugging."""
    return transport.serve_tcp(lambda: MidfillServer(config), host, port)


class MidfillServer(LanguageServer):
    """One session: its documents, its configuration and its link to the engine."""

    protocol: MidfillProtocol

    def __init__(self, config: Config | None = None, make_link: MakeLink | None = None) -> None:
        super().__init__("midfill", __version__, protocol_cls=MidfillProtocol)
        self.documents = Documents()
        self.project = Workspace()
        self.latest = suggest.Latest()
        self.focus = focus.Focus(self)
        self.traces = explain.Traces()
        self.outcomes = outcomes.Outcomes(self)
        self.commands = (convert.ACCEPTED, knob.SNOOZE, knob.SET_EAGERNESS)
        self.battery: Battery = BATTERY
        self.board = StatusBoard(self.protocol.notify, lambda: knob.facts(self))
        self.snooze = knob.Snooze(self.board.changed)
        self.warnings = Warnings(self.protocol.notify)
        self.client = Client()
        self.settings = Settings(config or configuration.DEFAULT, self.client)
        self.pulling: Future[Any] | None = None  # the settings, if the client was asked for them
        self.config = config or configuration.DEFAULT
        self.link: Link | None = None
        self.on_process_id: Callable[[int], None] = lambda _pid: None
        self.notebook_sync = lsp.NotebookDocumentSyncOptions(
            notebook_selector=[lsp.NotebookDocumentFilterWithNotebook(notebook="*")]
        )
        self.debug_threads = asyncio.Semaphore(debug.MAX_THREADS)
        self._base = config
        self._make_link = make_link
        self._linked = asyncio.Event()
        self._given_up = False  # no engine is started until the user wants it
        self._has_failed = False
        self._news = asyncio.Event()  # set, and replaced, whenever the engine's status is another
        self._known: Completes | None = None
        self._n_links = 0
        self._background: set[asyncio.Task[None]] = set()
        for method, handler, options in _features():
            self.feature(method, options)(handler)

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def initialize(self, params: Params) -> Encoding:
        """Read what the client says; the engine is looked for once it has its answer."""
        self.client = settings.read_client(params)
        self.documents.encoding = self.client.encoding
        self.documents.folders = self.client.folders
        self.settings = Settings(self._base, self.client)
        self.config, self.warnings.wanted = self.settings.config, not self.client.shows_status
        transport.set_log_level(self.config.log_level)
        self.on_process_id(self.client.process_id)
        asyncio.get_running_loop().call_soon(self._begin)
        return self.client.encoding

    def _begin(self) -> None:
        if self.client.work_done:
            self.board.show_progress(StageProgress(self.protocol.notify, self.protocol.send_request))
        self.board.trouble(self.settings.trouble)
        self.project.set_off(self.config.context_off)
        self.project.knowledge.set_off(self.config.knowledge_off)
        if self.config.enabled:
            context.folders_changed(self)
        self.connect()

    def connect(self) -> None:
        """Follow an engine with the present configuration; leave the one before."""
        self._n_links += 1
        old, self.link = self.link, None
        self._linked.clear()
        if old is not None:
            self._spawn(old.aclose())
        if self.config.enabled:
            self._spawn(self._connect(self._n_links))
        else:
            self.board.engine(OFF)
            self._heard(OFF)

    async def _connect(self, number: int) -> None:
        def on_status(status: EngineStatus) -> None:
            if number == self._n_links:
                self.board.engine(status)
                self._heard(status)
                if status.state == "error" and self.completer is None:
                    self.warnings.say("engine", MidfillError(status.message, status.remedy))

        try:
            make_link = self._make_link
            if make_link is None:
                make_link = await asyncio.to_thread(_load_make_link)
            link = make_link(self.config, on_status, (self.project,))
        except Exception as error:
            log.error("no link to the engine: %s", error if isinstance(error, MidfillError) else type(error).__name__)
            log.debug("no link to the engine", exc_info=error)
            known = error if isinstance(error, MidfillError) else MidfillError("no engine", "run `midfill doctor`")
            on_status(EngineStatus("error", known.message, known.remedy))
            if number == self._n_links:
                self._heard(OFF)  # nothing tries again
            return
        if number == self._n_links:
            self.link = link
            link.start()
            self._linked.set()
            said = await asyncio.to_thread(notice.untold, self.config, self.client.folders)
            for line in filter(None, (said, *await asyncio.to_thread(news.take))):
                self.protocol.notify("window/showMessage", {"type": INFO, "message": f"midfill: {line}"})

    def stopping(self) -> None:
        """`shutdown` came, or the client went."""
        self.snooze.stop()
        self._n_links += 1
        self.pulling = None
        self.project.stop()
        self.focus.stop()
        self.board.stop()
        self.latest.clear()
        self._spawn(asyncio.to_thread(self.outcomes.stop().close))
        link, self.link = self.link, None
        if link is not None:
            self._spawn(link.aclose())

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- the engine ----------------------------------------------------------------------------------------------------

    @property
    def completer(self) -> Completes | None:
        """Ready to answer, or None."""
        return self.link.completer if self.link is not None else None

    async def wait_ready(self, timeout_s: float) -> Completes | None:
        """The completer, as soon as there is one."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._linked.wait()
                return await self.link.wait_ready(timeout_s) if self.link is not None else None
        except TimeoutError:
            return None

    async def started(self, timeout_s: float) -> None:
        """Wait until there is a completer, the engine is given up, or ``timeout_s`` seconds have passed.

        One that has failed is started again in a moment, unless what is wrong stays so, as a setting does.
        """
        end = asyncio.get_running_loop().time() + timeout_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s) as limit:
                while self.completer is None and not self._given_up:
                    now = asyncio.get_running_loop().time()
                    limit.reschedule(min(end, now + FAILED_S) if self._has_failed else end)
                    await self._news.wait()

    def _heard(self, status: EngineStatus) -> None:
        """Wake up who waits; where the cursor rests, an engine that has just come reads."""
        # An engine of our own that fails is started again at once; one elsewhere comes when it comes.
        self._has_failed = status.state == "error"
        self._given_up = status.state == "off" or (self._has_failed and bool(self.config.engine))
        self._news.set()
        self._news = asyncio.Event()
        known, self._known = self._known, self.completer
        if self._known is not None and self._known is not known:
            self.focus.read()

    def engine_failed(self, error: EngineError) -> None:
        """A request failed in the engine: the link looks after it, and the status shows it."""
        log.warning("the engine failed: %s", error)
        if self.link is not None:
            self.link.report(error)

    def drop_suggestions(self, uri: str) -> None:
        """End what runs for a document."""
        self.latest.drop("inline", uri)
        self.latest.drop("popup", uri)

    def report_server_error(self, error: Exception, source: Any) -> None:
        """Never a popup."""
        log.error("%s", type(error).__name__)


def _load_make_link() -> MakeLink:
    """The engine's client, imported when the client has its first answer already."""
    make_link: MakeLink = importlib.import_module("midfill.client.link").make_link
    return make_link


def current_status(ls: MidfillServer, params: Params) -> Any:
    """midfill/status as a request."""
    ls.warnings.wanted = False  # a client that asks shows it
    return ls.board.payload()


def stats(ls: MidfillServer, params: Params) -> Any:
    """midfill/stats."""
    return _stats(ls)


async def _stats(ls: MidfillServer) -> Any:
    try:
        engine = await ls.link.stats() if ls.link is not None else {}
    except EngineError:
        engine = {}
    return {**ls.latest.counts, "documents": len(ls.documents), "engine": engine}


def did_change_folders(ls: MidfillServer, params: Params) -> None:
    """workspace/didChangeWorkspaceFolders."""
    event = params.get("event")
    event = event if isinstance(event, dict) else {}
    removed = settings.read_folders(event.get("removed"))
    kept = tuple(folder for folder in ls.documents.folders if folder not in removed)
    ls.documents.folders = kept + settings.read_folders(event.get("added"))
    if ls.config.enabled:
        context.folders_changed(ls)


def _features() -> list[tuple[str, Callable[[Any, Params], Any], Any]]:
    """Every method beside the life cycle, its handler, and what is advertised with it."""
    return [
        (lsp.TEXT_DOCUMENT_DID_OPEN, sync.did_open, None),
        (lsp.TEXT_DOCUMENT_DID_CHANGE, sync.did_change, None),
        (lsp.TEXT_DOCUMENT_DID_CLOSE, sync.did_close, None),
        (lsp.TEXT_DOCUMENT_DID_SAVE, sync.did_save, lsp.SaveOptions(include_text=False)),
        ("textDocument/didFocus", focus.did_focus, None),
        (lsp.NOTEBOOK_DOCUMENT_DID_OPEN, sync.notebook_did_open, None),
        (lsp.NOTEBOOK_DOCUMENT_DID_CHANGE, sync.notebook_did_change, None),
        (lsp.NOTEBOOK_DOCUMENT_DID_CLOSE, sync.notebook_did_close, None),
        (lsp.WORKSPACE_DID_CHANGE_CONFIGURATION, configure.did_change_configuration, None),
        (lsp.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS, did_change_folders, None),
        (lsp.INITIALIZED, configure.initialized, None),
        (lsp.TEXT_DOCUMENT_INLINE_COMPLETION, suggest.inline_completion, lsp.InlineCompletionOptions()),
        (
            lsp.TEXT_DOCUMENT_COMPLETION,
            suggest.popup_completion,
            lsp.CompletionOptions(trigger_characters=TRIGGERS, resolve_provider=False),
        ),
        ("midfill/inlineCompletion", suggest.streaming_inline_completion, None),
        ("midfill/status", current_status, None),
        ("midfill/stats", stats, None),
        ("midfill/explain", explain.explain, None),
        ("midfill/why", why.why, None),
        ("midfill/names", names.names, None),
        ("midfill/models", models.models, None),
        (lsp.WORKSPACE_EXECUTE_COMMAND, outcomes.execute_command, None),
        ("midfill/dismissed", knob.dismissed, None),
        ("textDocument/didShowCompletion", outcomes.did_show, None),
        ("textDocument/didPartiallyAcceptCompletion", outcomes.did_partly_accept, None),
        *((method, handler, None) for method, handler in debug.HANDLERS.items() if debug.enabled()),
    ]
