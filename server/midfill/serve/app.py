"""The engine as a web service: OpenAI's /v1/completions over token ids, streamed as server-sent events.

Other routes use the names that vLLM gave them (``/v1/load_lora_adapter``, ``/health``); our own are below
``/midfill``. Every route requires the bearer token. A request with an Origin header comes from a web page and is
refused.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill import __version__
from midfill.adapter_names import SUM_NAME
from midfill.engine.base import AdapterMissingError, BadRequestError, Delta, Engine, EngineError, GenerateRequest
from midfill.engine.wire import (
    ALIVE,
    BadRequest,
    EngineState,
    chunk_body,
    encoded,
    error_body,
    event,
    events_of,
    read_request,
)
from midfill.serve.reading import read_body, read_folders
from midfill.serve.rendering import Rendering
from midfill.tokenizer import CodeTokenizer
from midfill.types import EngineStatus, MidfillError, ModelInfo

HEARTBEAT_S = 1.0
SAME_SITE = frozenset({b"none", b"same-origin"})
ALLOWED_HOSTS = frozenset({"midfill", "localhost", "127.0.0.1", "[::1]"})


class Resident(Engine, Protocol):
    """What the service needs of an engine beyond generating."""

    @property
    def status(self) -> EngineStatus:
        """Whether it is starting, ready or failed."""
        ...

    @property
    def tokenizer(self) -> CodeTokenizer | None:
        """The model's tokenizer; None until it is ready."""
        ...

    @property
    def info(self) -> ModelInfo | None:
        """What is served now; None until it is ready."""
        ...

    def check(self, request: GenerateRequest) -> object:
        """Check that ``request`` can be answered now. Raises BadRequestError or another EngineError."""
        ...

    async def load_adapter(self, name: str, *folders: Path) -> dict[str, Any]:
        """Load the adapter in a folder, or the sum of those in several, as ``name``. Raises MidfillError."""
        ...

    async def check_adapter(self, *folders: Path) -> dict[str, Any]:
        """Check that it could be loaded, and keep nothing of it. Raises MidfillError."""
        ...

    async def unload_adapter(self, name: str) -> None:
        """Drop the adapter."""
        ...

    async def block(self, seconds: float) -> None:
        """Keep the worker from its work, for tests."""
        ...

    def adapters(self) -> list[dict[str, Any]]:
        """Return the resident adapters."""
        ...

    def figures(self) -> dict[str, Any]:
        """Return counters and the last requests."""
        ...


class WireResponse(JSONResponse):
    """JSON in the form of the wire."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return encoded(content)


class Guard:
    """Lets in only requests with the token, and checks it before reading anything else of the request."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._expected = app, f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        host = re.sub(r":\d+$", "", headers.get(b"host", b"").decode("latin-1"))
        refusal = None
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            refusal = WireResponse(error_body(MidfillError("missing or wrong bearer token")), 401)
        elif b"origin" in headers or host not in ALLOWED_HOSTS:
            refusal = WireResponse(error_body(MidfillError("requests from web pages are refused")), 403)
        elif headers.get(b"sec-fetch-site", b"none").strip().lower() not in SAME_SITE:
            refusal = WireResponse(error_body(MidfillError("requests from other sites are refused")), 403)
        elif scope["method"] == "POST" and not _is_json(headers.get(b"content-type", b"")):
            refusal = WireResponse(error_body(MidfillError("content type must be application/json")), 415)
        await (refusal or self._app)(scope, receive, send)


def _is_json(content_type: bytes) -> bool:
    return content_type.split(b";")[0].strip().lower() == b"application/json"


@dataclass(slots=True)
class Clients:
    """Counts the connected clients, to know when to exit."""

    n_watching: int = 0
    n_requests: int = 0
    last_seen: float = 0.0

    def touch(self) -> None:
        """A client is here."""
        self.last_seen = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since the last client left."""
        return 0.0 if self.n_watching or self.n_requests else time.monotonic() - self.last_seen


class EngineApi:
    """The routes of one engine."""

    def __init__(self, engine: Resident, token: str, leave: Callable[[], None]) -> None:
        self.engine = engine
        self.clients = Clients(last_seen=time.monotonic())
        self._leave = leave
        self._token = token
        self._rendering = Rendering()
        self.draining = False

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        route = self._route
        return Guard(
            Starlette(
                routes=[
                    route("/health", self.health, "GET"),
                    route("/v1/models", self.models, "GET"),
                    route("/v1/completions", self.completions, "POST"),
                    route("/midfill/render", self.render, "POST"),
                    route("/v1/load_lora_adapter", self.load_adapter, "POST"),
                    route("/v1/unload_lora_adapter", self.unload_adapter, "POST"),
                    route("/midfill/check_adapter", self.check_adapter, "POST"),
                    route("/midfill/status", self.status, "GET"),
                    route("/midfill/events", self.events, "GET"),
                    route("/midfill/stats", self.stats, "GET"),
                    route("/midfill/shutdown", self.shutdown, "POST"),
                    *(
                        [route("/midfill/debug/block", self.block, "POST")]
                        if os.environ.get("MIDFILL_DEBUG_METHODS") == "1"
                        else []
                    ),
                ]
            ),
            self._token,
        )

    def _route(self, path: str, handler: Callable[[Request], Awaitable[Response]], method: str) -> Route:
        async def guarded(request: Request) -> Response:
            self.clients.touch()
            try:
                return await handler(request)
            except BadRequest as error:
                closing = {"Connection": "close"} if error.status != 400 else None  # the body may still be coming
                return WireResponse(error_body(MidfillError(str(error))), error.status, closing)
            except BadRequestError as error:
                return WireResponse(error_body(error), 400)
            except AdapterMissingError as error:
                return WireResponse(error_body(error), 404)
            except EngineError as error:
                return WireResponse(error_body(error), 503)
            except MidfillError as error:
                return WireResponse(error_body(error), 400)
            except ClientDisconnect:
                return Response(status_code=499)

        return Route(path, guarded, methods=[method])

    async def health(self, _: Request) -> Response:
        """Answer 200 when the engine can answer, else 503."""
        return Response(status_code=200 if self.engine.info is not None else 503)

    async def status(self, _: Request) -> Response:
        """Answer status, model and adapters as JSON."""
        return WireResponse(self._snapshot())

    def _snapshot(self) -> dict[str, Any]:
        engine = self.engine
        return asdict(
            EngineState(__version__, os.getpid(), self.draining, engine.status, engine.info, engine.adapters())
        )

    async def events(self, request: Request) -> Response:
        """Send the status whenever it changes, and a comment each second: a connected client keeps the engine here."""

        async def lines() -> AsyncIterator[str]:
            self.clients.n_watching += 1
            last: dict[str, Any] = {}
            beat = 0.0
            try:
                while not self.draining:
                    if (now := self._snapshot()) != last:
                        last = now
                        yield event(now)
                    elif time.monotonic() - beat >= HEARTBEAT_S:
                        beat = time.monotonic()
                        yield ALIVE
                    await asyncio.sleep(0.1)
                    if await request.is_disconnected():
                        return
                yield event(self._snapshot())
            finally:
                self.clients.n_watching -= 1
                self.clients.touch()

        return StreamingResponse(lines(), media_type="text/event-stream")

    async def models(self, _: Request) -> Response:
        """Answer the base model and the adapters, as OpenAI lists models."""
        info = self.engine.info
        names = ([info.name] if info else []) + [adapter["name"] for adapter in self.engine.adapters()]
        data = [{"id": name, "object": "model", "owned_by": "midfill"} for name in names]
        return WireResponse({"object": "list", "data": data})

    async def stats(self, _: Request) -> Response:
        """Answer counters and the last requests."""
        return WireResponse({**self.engine.figures(), "pid": os.getpid(), "clients": self.clients.n_watching})

    async def load_adapter(self, request: Request) -> Response:
        """``{lora_name, lora_path}``: check the adapter and load it; of a sum, ``lora_path`` is a list."""
        body = await read_body(request)
        name = body.get("lora_name")
        if not isinstance(name, str) or not re.fullmatch(SUM_NAME, name):
            raise BadRequest("lora_name must be a plain name")
        return WireResponse(await self.engine.load_adapter(name, *read_folders(body)))

    async def check_adapter(self, request: Request) -> Response:
        """``{lora_path}``: check that it could be loaded."""
        return WireResponse(await self.engine.check_adapter(*read_folders(await read_body(request))))

    async def unload_adapter(self, request: Request) -> Response:
        """``{lora_name}``."""
        body = await read_body(request)
        await self.engine.unload_adapter(str(body.get("lora_name")))
        return WireResponse({})

    async def render(self, request: Request) -> Response:
        """Answer a prompt, for windows that have no tokenizer of their own."""
        body = await read_body(request)
        return WireResponse(await self._rendering.answer(self.engine.tokenizer, self.engine.info, body))

    async def shutdown(self, _: Request) -> Response:
        """Finish running requests, take no new ones, exit."""
        self.draining = True
        self._leave()
        return WireResponse({})

    async def block(self, request: Request) -> Response:
        """Keep the worker busy; only with MIDFILL_DEBUG_METHODS=1."""
        body = await read_body(request)
        await self.engine.block(min(float(body.get("seconds", 0)), 60.0))
        return WireResponse({})

    async def completions(self, request: Request) -> Response:
        """OpenAI's completions; ``prompt`` must be a list of token ids, one choice."""
        if self.draining:
            raise EngineError("the engine is shutting down", "ask again")
        body = await read_body(request)
        wanted = read_request(body, self.engine.info.name if self.engine.info else None)
        self.engine.check(wanted)  # with its own status, which is impossible once an answer has begun
        if body.get("stream"):
            return StreamingResponse(events_of(self._counted(wanted), wanted), media_type="text/event-stream")
        return await self.collected(request, self._counted(wanted), wanted)

    async def collected(self, request: Request, answer: AsyncIterator[Delta], wanted: GenerateRequest) -> Response:
        """Return all of ``answer`` in one piece. Raises ClientDisconnect as soon as the client is gone."""
        if wanted.n > 1:
            raise BadRequest("several candidates are streamed: set stream")
        async with aclosing(answer) as deltas:  # type: ignore[type-var]
            waiting = asyncio.ensure_future(_collect(deltas))
            try:
                while not waiting.done():
                    await asyncio.wait([waiting], timeout=0.1)
                    if await request.is_disconnected():
                        raise ClientDisconnect
                last = waiting.result()
            finally:
                waiting.cancel()
                await asyncio.wait([waiting])
        return WireResponse(chunk_body(wanted, last))

    async def _counted(self, wanted: GenerateRequest) -> AsyncIterator[Delta]:
        self.clients.n_requests += 1
        try:
            async with aclosing(self.engine.stream(wanted)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    yield delta
        finally:
            self.clients.n_requests -= 1
            self.clients.touch()


async def _collect(deltas: AsyncIterator[Delta]) -> Delta:
    """Join all of them."""
    text, last = "", Delta("")
    logprobs: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()
    async for last in deltas:
        offsets += tuple(len(text) + at for at in last.offsets)
        text += last.text
        logprobs += last.logprobs
    return replace(last, text=text, logprobs=logprobs, offsets=offsets)
