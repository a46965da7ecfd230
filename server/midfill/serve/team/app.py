"""The routes for a team: every request has a known sender, who has a share and cannot exceed it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from midfill import registry
from midfill.engine.adapter_setting import folders_of
from midfill.engine.base import AdapterMissingError, Delta, EngineError, GenerateRequest
from midfill.engine.wire import error_body, events_of, read_request
from midfill.serve.app import SAME_SITE, EngineApi, Resident, WireResponse
from midfill.serve.reading import read_body
from midfill.serve.team.limits import RateLimiter, TooMany
from midfill.serve.team.metrics import Metrics
from midfill.serve.team.text import TextPrompts
from midfill.serve.team.tokens import Tokens
from midfill.types import MidfillError

LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
OPEN_ROUTES = frozenset({"/health"})  # balancers ask it without a token; it reveals nothing else
ANYBODY = "local"  # the sender where no tokens are needed


@dataclass(frozen=True, slots=True)
class Terms:
    """``is_open``: on the loopback, without tokens. ``takes_text``: text prompts with sentinels, on the loopback."""

    is_open: bool
    takes_text: bool
    adapter: str = "auto"  # for clients that cannot name an adapter


class TeamGuard:
    """Finds out the sender before anything else of the request is read; refuses web pages."""

    def __init__(self, app: ASGIApp, tokens: Tokens, terms: Terms) -> None:
        self._app, self._tokens, self._terms = app, tokens, terms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass the request on with its sender."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        refusal = None
        user = ANYBODY if scope["path"] in OPEN_ROUTES else self._user(headers)
        if user is None:
            error = MidfillError("missing or wrong token", "ask for one: midfill token add")
            refusal = WireResponse(error_body(error), 401, {"WWW-Authenticate": "Bearer"})
        elif b"origin" in headers or headers.get(b"sec-fetch-site", b"none").strip().lower() not in SAME_SITE:
            refusal = WireResponse(error_body(MidfillError("requests from web pages are refused")), 403)
        elif self._terms.is_open and _host(headers) not in LOCAL:
            refusal = WireResponse(error_body(MidfillError("requests under other names are refused")), 403)
        elif scope["method"] == "POST" and b"json" not in headers.get(b"content-type", b""):
            refusal = WireResponse(error_body(MidfillError("content type must be application/json")), 415)
        scope["midfill.user"] = user
        await (refusal or self._app)(scope, receive, send)

    def _user(self, headers: dict[bytes, bytes]) -> str | None:
        scheme, _, token = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        if scheme.lower() == "bearer" and token and (name := self._tokens.name_of(token.strip())) is not None:
            return name
        return ANYBODY if self._terms.is_open else None


def _host(headers: dict[bytes, bytes]) -> str:
    return re.sub(r":\d+$", "", headers.get(b"host", b"").decode("latin-1"))


class TeamService(EngineApi):
    """Completions, models, health and figures. No route changes anything or reveals other people's requests."""

    def __init__(
        self, engine: Resident, tokens: Tokens, terms: Terms, limits: RateLimiter | None = None,
        leave: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        super().__init__(engine, "", leave)
        self._tokens, self._terms, self._limits = tokens, terms, limits or RateLimiter()
        self.metrics = Metrics()
        self._text: TextPrompts | None = None

    def app(self) -> ASGIApp:
        """Return the ASGI application."""
        route = self._route
        routes = [
            route("/health", self.health, "GET"),
            route("/v1/models", self.models, "GET"),
            route("/v1/completions", self.completions, "POST"),
            route("/metrics", self.figures, "GET"),
            route("/midfill/status", self.status, "GET"),
        ]
        if self._terms.takes_text:
            routes.append(route("/infill", self.infill, "POST"))
        return TeamGuard(Starlette(routes=routes), self._tokens, self._terms)

    async def health(self, request: Request) -> Response:
        """Answer 200 while new requests are taken."""
        return Response(status_code=503) if self.draining else await super().health(request)

    async def models(self, request: Request) -> Response:
        """Answer the base model, and the adapters that are registered on this machine."""
        info = self.engine.info
        base = info.name if info else ""
        names = {adapter["name"] for adapter in self.engine.adapters()} | set(registry.names())
        data = [{"id": base, "object": "model", "owned_by": "midfill", "root": base, "parent": None,
                 "max_model_len": info.max_context if info else 0}]  # fmt: skip
        data += [{"id": n, "object": "model", "owned_by": "midfill", "parent": base} for n in sorted(names)]
        return WireResponse({"object": "list", "data": data if base else []})

    async def figures(self, _: Request) -> Response:
        """Answer the figures in Prometheus' text format."""
        n_waiting = self.engine.figures().get("n_waiting", 0)
        return PlainTextResponse(self.metrics.text(n_waiting), media_type="text/plain; version=0.0.4")

    async def completions(self, request: Request) -> Response:
        """OpenAI's completions. On the loopback a prompt may be a text with sentinels."""
        body = await read_body(request)
        if self._terms.takes_text and isinstance(body.get("prompt"), str):
            body = {**(await self._prompts()).translated(body), "model": await self._adapter_for(body.get("model"))}
        return await self._limited(request, body)

    async def infill(self, request: Request) -> Response:
        """llama.cpp's route: the middle as ``content``."""
        body = (await self._prompts()).infill(await read_body(request))
        answer = await self._limited(request, {**body, "model": await self._adapter_for(None)})
        if answer.status_code != 200:
            return answer
        chunk = json.loads(bytes(answer.body))
        usage = chunk.get("usage", {})
        return WireResponse({
            "content": chunk["choices"][0]["text"], "stop": True, "model": chunk["model"],
            "tokens_evaluated": usage.get("prompt_tokens", 0), "tokens_predicted": usage.get("completion_tokens", 0),
        })  # fmt: skip

    # ---- shares ----------------------------------------------------------------------------------------------------

    async def _limited(self, request: Request, body: dict[str, Any]) -> Response:
        user = str(request.scope.get("midfill.user") or ANYBODY)
        if self.draining:
            return WireResponse(
                error_body(EngineError("the engine is shutting down", "ask again")), 503, {"Retry-After": "2"}
            )
        wanted = read_request(body, self.engine.info.name if self.engine.info else None)
        if user != ANYBODY:
            wanted = replace(wanted, window=user, person=user)  # people take turns in the scheduler
        await self._load(wanted)
        self.engine.check(wanted)
        try:
            counting = _Counting(self, user, self._limits.begin(user))
        except TooMany as error:
            self.metrics.ended(user, "limited", None)
            return WireResponse(
                error_body(MidfillError(str(error))), 429, {"Retry-After": str(math.ceil(error.wait_s))}
            )
        if body.get("stream"):
            return _Streaming(events_of(counting.counted(wanted), wanted), counting)
        try:
            return await self.collected(request, counting.counted(wanted), wanted)
        finally:
            counting.end("cancelled")

    async def _load(self, wanted: GenerateRequest) -> None:
        """Load a registered adapter that is not in memory. Raises AdapterMissingError."""
        resident = {adapter["name"] for adapter in self.engine.adapters()}
        if wanted.adapter is None or wanted.adapter in resident:
            return
        try:
            await self.engine.load_adapter(wanted.adapter, *map(registry.folder_of, wanted.adapter.split("+")))
        except MidfillError as error:
            raise AdapterMissingError(error.message, error.remedy) from error

    # ---- text ------------------------------------------------------------------------------------------------------

    async def _prompts(self) -> TextPrompts:
        info = self.engine.info
        if info is None:
            raise EngineError("the engine is not ready yet", "ask again")
        if self._text is None:
            self._text = await asyncio.to_thread(TextPrompts.of, info, Path(info.tokenizer_file))
        return self._text

    async def _adapter_for(self, model: Any) -> str | None:
        """Return the adapter for a client that names none of ours: the one in the settings."""
        info = self.engine.info
        assert info is not None
        if isinstance(model, str) and model in registry.names():
            return model
        found = folders_of(self._terms.adapter, info.name)
        if found is None:
            return None
        if found[0] not in {adapter["name"] for adapter in self.engine.adapters()}:
            await self.engine.load_adapter(found[0], *found[1])
        return found[0]


class _Counting:
    """One request of one person, from its share to its figures."""

    def __init__(self, service: TeamService, user: str, give_back: Callable[[], None]) -> None:
        self._service, self._user, self._give_back = service, user, give_back
        self._is_over = False
        self._n_seen = 0
        service.metrics.n_running += 1

    async def counted(self, wanted: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield its pieces."""
        last: Delta | None = None
        try:
            async with aclosing(self._service.engine.stream(wanted)) as deltas:  # type: ignore[type-var]
                async for last in deltas:
                    self._n_seen += bool(last.text)
                    yield last
            self.end("finished", last)
        except EngineError:
            self.end("failed")
            raise
        finally:
            self.end("cancelled")

    def end(self, outcome: str, last: Delta | None = None) -> None:
        """The request is over; the first reason counts."""
        if self._is_over:
            return
        self._is_over = True
        self._service.metrics.n_running -= 1
        self._give_back()
        n_dropped = self._n_seen if outcome == "cancelled" else 0
        self._service.metrics.ended(self._user, outcome, last.stats if last is not None else None, n_dropped)


class _Streaming(StreamingResponse):
    """A stream that ends its request when it ends, even if the client left before the first piece."""

    def __init__(self, lines: AsyncIterator[str], counting: _Counting) -> None:
        super().__init__(lines, media_type="text/event-stream")
        self._counting = counting

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._counting.end("cancelled")
