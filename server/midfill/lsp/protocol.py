"""pygls's protocol with its own entry point: every request is answered exactly once, whatever it holds.

A request handler is a plain function. It runs at once, in the order of arrival, so it sees the documents as they were
when the client sent the request. Longer work is returned as a coroutine, which runs as a task.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

from lsprotocol import types as lsp
from pygls.capabilities import ServerCapabilitiesBuilder
from pygls.protocol import LanguageServerProtocol

from midfill.lsp.framing import Bad, Event
from midfill.lsp.positions import Encoding

log = logging.getLogger(__name__)

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
NOT_INITIALIZED = -32002
CANCELLED = -32800

BAD = {
    "header": (PARSE_ERROR, "malformed header"),
    "size": (INVALID_REQUEST, "message too large"),
    "json": (PARSE_ERROR, "malformed message"),
    "cut": (PARSE_ERROR, "incomplete message"),
}

Id = int | str
Params = Mapping[str, Any]


class RequestError(Exception):
    """An error answer. Its message is a constant: it reveals nothing of the request, and no path."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class InvalidParams(RequestError):  # noqa: N818 - LSP's name for it
    """The params do not fit the method."""

    def __init__(self) -> None:
        super().__init__(INVALID_PARAMS, "invalid params")


class Sender(Protocol):
    """Takes the frames to send."""

    def send(self, frame: bytes, *, droppable: bool = False) -> None: ...  # noqa: D102


class ServerLifecycle(Protocol):
    """The server that the protocol belongs to."""

    commands: Sequence[str]
    notebook_sync: lsp.NotebookDocumentSyncOptions

    def initialize(self, params: Params) -> Encoding: ...  # noqa: D102
    def stopping(self) -> None: ...  # noqa: D102


class Pending:
    """A request that waits for its answer. The first answer counts; later ones are ignored."""

    __slots__ = ("_answer", "cancelled", "id", "open", "task")

    def __init__(self, msg_id: Id, answer: Callable[[Pending, Any, RequestError | None], None]) -> None:
        self.id = msg_id
        self.open = True
        self.cancelled = False  # cancelled by the client
        self.task: asyncio.Task[None] | None = None
        self._answer = answer

    def resolve(self, result: Any) -> None:
        """Answer with a result."""
        if self.open:
            self.open = False
            self._answer(self, result, None)

    def fail(self, error: RequestError) -> None:
        """Answer with an error."""
        if self.open:
            self.open = False
            self._answer(self, None, error)

    def stop(self) -> None:
        """Cancel the work on it: in a moment, so that it has begun and can clean up.

        The first step of a newer request also comes before the end of the older one, and may take over its generation.
        """
        if self.task is not None:
            asyncio.get_running_loop().call_soon(self.task.cancel)


class MidfillProtocol(LanguageServerProtocol):
    """One session with one client."""

    def __init__(self, server: Any, converter: Any) -> None:
        super().__init__(server, converter)
        self._host: ServerLifecycle = server
        self.sender: Sender | None = None
        self.on_exit: Callable[[int], None] = lambda _code: None
        self.pending: dict[Id, Pending] = {}
        self.current: Pending | None = None  # the request whose handler runs now
        self._tasks: set[asyncio.Task[None]] = set()
        self._initialized = False
        self._n_asked = 0

    def _register_builtin_features(self) -> None:
        """Register nothing: documents and life cycle are our own."""

    @property
    def exit_code(self) -> int:
        """The exit code of the process."""
        return 0 if self._shutdown else 1

    # -- in ------------------------------------------------------------------------------------------------------------

    def handle_event(self, event: Event) -> None:
        """Take what the transport has read."""
        if isinstance(event, Bad):
            self._answer_id(None, error=RequestError(*BAD[event.kind]))
        else:
            self.handle_message(event.value)

    def handle_message(self, message: Any) -> None:
        """Take one JSON value. Never raises."""
        try:
            self._dispatch(message)
        except BaseException as error:  # noqa: BLE001 - a handler must not end the session
            log.error("a message failed: %s", type(error).__name__)

    def _dispatch(self, message: Any) -> None:
        if not isinstance(message, dict):
            return self._answer_id(None, error=RequestError(INVALID_REQUEST, "not a request object"))
        msg_id = _usable_id(message.get("id"))
        if message.get("jsonrpc") != "2.0" or not (
            isinstance(message.get("method"), str) or ("method" not in message and "id" in message)
        ):
            return self._answer_id(msg_id, error=RequestError(INVALID_REQUEST, "invalid request"))
        if "method" not in message:
            return self._take_response(msg_id, message)
        params = message.get("params")
        if "id" not in message:
            return self._notified(message["method"], params if isinstance(params, dict) else {})
        if msg_id is None:
            return self._answer_id(None, error=RequestError(INVALID_REQUEST, "invalid id"))
        return self._requested(msg_id, message["method"], params if isinstance(params, dict) else {})

    def _requested(self, msg_id: Id, method: str, params: Params) -> None:
        if msg_id in self.pending:
            return self._answer_id(msg_id, error=RequestError(INVALID_REQUEST, "id is in use"))
        pending = self.pending[msg_id] = Pending(msg_id, self._answered)
        try:
            self.current = pending
            result = self._handler_of(method)(params)
        except RequestError as error:
            pending.fail(error)
        except BaseException as error:  # noqa: BLE001 - SystemExit too: the client would wait for ever
            self._failed(pending, method, error)
        else:
            if inspect.iscoroutine(result):
                self._start(pending, method, result)
            else:
                pending.resolve(result)
        finally:
            self.current = None
        return None

    def _handler_of(self, method: str) -> Callable[[Params], Any]:
        if method == "initialize":
            if self._initialized:
                raise RequestError(INVALID_REQUEST, "already initialized")
            return self._initialize
        if not self._initialized:
            raise RequestError(NOT_INITIALIZED, "not initialized")
        if self._shutdown:
            raise RequestError(INVALID_REQUEST, "shut down")
        if method == "shutdown":
            return self._shut_down
        handler: Callable[[Params], Any] | None = self.fm.features.get(method)
        if handler is None:
            raise RequestError(METHOD_NOT_FOUND, "method not found")
        return handler

    def _start(self, pending: Pending, method: str, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(self._work(pending, method, work))
        pending.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: work.close())
        task.add_done_callback(lambda _task: pending.fail(RequestError(CANCELLED, "cancelled")))

    async def _work(self, pending: Pending, method: str, work: Coroutine[Any, Any, Any]) -> None:
        try:
            pending.resolve(await work)
        except RequestError as error:
            pending.fail(error)
        except asyncio.CancelledError:
            pending.fail(RequestError(CANCELLED, "cancelled"))
        except BaseException as error:  # noqa: BLE001 - SystemExit would end the loop
            self._failed(pending, method, error)

    def _failed(self, pending: Pending, method: str, error: BaseException) -> None:
        log.error("%s failed: %s", _printable(method), type(error).__name__)
        log.debug("%s failed", _printable(method), exc_info=error)
        pending.fail(RequestError(INTERNAL_ERROR, "internal error"))

    def _notified(self, method: str, params: Params) -> None:
        if method == "exit":
            return self.on_exit(self.exit_code)
        if not self._initialized or self._shutdown:
            return None
        if method == "$/cancelRequest":
            return self._cancel(_usable_id(params.get("id")))
        if (handler := self.fm.features.get(method)) is not None:
            try:
                result = handler(params)
                if inspect.iscoroutine(result):  # a request method without an id: nothing waits for an answer
                    result.close()
            except BaseException as error:
                log.error("%s failed: %s", _printable(method), type(error).__name__)
                log.debug("%s failed", _printable(method), exc_info=error)
        return None

    def _cancel(self, msg_id: Id | None) -> None:
        if msg_id is not None and (pending := self.pending.get(msg_id)) is not None:
            pending.cancelled = True
            pending.fail(RequestError(CANCELLED, "cancelled"))  # answer now, however long the work takes to notice
            pending.stop()

    def _take_response(self, msg_id: Id | None, message: Mapping[str, Any]) -> None:
        future = self._request_futures.pop(msg_id, None) if msg_id is not None else None
        if future is None or future.done():
            return
        if "error" in message:
            future.set_exception(RequestError(INTERNAL_ERROR, "the client refused"))
        else:
            future.set_result(message.get("result"))

    # -- life cycle ----------------------------------------------------------------------------------------------------

    def _initialize(self, params: Params) -> lsp.InitializeResult:
        server = self._host
        encoding = server.initialize(params)
        self.client_capabilities = lsp.ClientCapabilities()  # read from the raw params, which may hold anything
        capabilities: lsp.ServerCapabilities = ServerCapabilitiesBuilder(  # type: ignore[no-untyped-call]
            self.client_capabilities,
            set(self.fm.features),
            self.fm.feature_options,
            [],
            lsp.TextDocumentSyncKind.Incremental,
            None,
            encoding,
        ).build()
        if isinstance(capabilities.text_document_sync, lsp.TextDocumentSyncOptions):
            capabilities.text_document_sync.open_close = True
        capabilities.notebook_document_sync = server.notebook_sync
        capabilities.execute_command_provider = lsp.ExecuteCommandOptions(commands=list(server.commands))
        capabilities.experimental = {
            "midfill": {"inlineCompletion": True, "status": True, "explain": True, "names": True}
        }
        self.server_capabilities = capabilities
        self._initialized = True
        return lsp.InitializeResult(capabilities=capabilities, server_info=self.server_info)

    def _shut_down(self, _params: Params) -> None:
        self._shutdown = True
        for pending in list(self.pending.values()):
            if pending is not self.current:
                pending.fail(RequestError(CANCELLED, "cancelled"))
                pending.stop()
        self._host.stopping()

    def abandon(self) -> None:
        """The client is gone: stop its work."""
        self._shutdown = True
        self.sender = None
        for task in list(self._tasks):
            task.cancel()
        self.pending.clear()

    # -- out -----------------------------------------------------------------------------------------------------------

    def _answered(self, pending: Pending, result: Any, error: RequestError | None) -> None:
        if self.pending.get(pending.id) is pending:
            del self.pending[pending.id]
        self._answer_id(pending.id, result, error)

    def _answer_id(self, msg_id: Id | None, result: Any = None, error: RequestError | None = None) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": msg_id}
        if error is None:
            try:
                message["result"] = self.plain(result)
                return self._send_data(message)
            except Exception as reason:  # noqa: BLE001 - an answer there must be
                log.error("a result could not be serialised: %s", type(reason).__name__)
                message.pop("result", None)
                error = RequestError(INTERNAL_ERROR, "internal error")
        message["error"] = {"code": error.code, "message": error.message}
        return self._send_data(message)

    def notify(self, method: str, params: Any | None = None, *, droppable: bool = False) -> None:
        """Send a notification. ``droppable``: a later message says the same, so it may be dropped if the client is
        slow."""
        message = {"jsonrpc": "2.0", "method": method, "params": self.plain(params)}
        self._send_data(message, droppable=droppable)

    def send_request(
        self,
        method: str,
        params: Any | None = None,
        callback: Callable[[Any], None] | None = None,
        msg_id: Id | None = None,
    ) -> Future[Any]:
        """Send a request to the client. The future may never be done, because clients may not answer."""
        self._n_asked += 1
        msg_id = f"midfill-{self._n_asked}" if msg_id is None else msg_id
        future = self._request_futures[msg_id] = Future()
        if callback is not None:
            future.add_done_callback(lambda done: callback(done.result()))
        self._send_data({"jsonrpc": "2.0", "id": msg_id, "method": method, "params": self.plain(params)})
        return future

    def forget_request(self, asked: Future[Any]) -> None:
        """Forget a request to the client whose answer is no longer needed."""
        for msg_id in [msg_id for msg_id, future in self._request_futures.items() if future is asked]:
            del self._request_futures[msg_id]

    def _send_data(self, data: Any, *, droppable: bool = False) -> None:
        if self.sender is None:
            return
        body = json.dumps(self.plain(data)).encode("ascii")  # also escapes lone surrogates
        frame = b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        self.sender.send(frame, droppable=droppable)

    def plain(self, value: Any) -> Any:
        """Return LSP's own types as JSON values, in camelCase."""
        return self._converter.unstructure(value) if hasattr(value, "__attrs_attrs__") else value


def _usable_id(value: Any) -> Id | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _printable(method: str) -> str:
    return method[:60].encode("ascii", "backslashreplace").decode().replace("\n", "\\n")
