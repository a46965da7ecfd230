"""Client of midfill's own engine. The clients of other engines are in ``midfill.remote``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx

from midfill.engine import wire
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.connections import CancellableTransport
from midfill.engine.unix_socket import UnixTransport

CONNECT_S = 2.0
# Between two pieces of an answer. A long prompt on a slow machine takes a while before the first.
READ_S = 60.0
SHORT_S = 5.0  # for answers that need no work of the engine


class HttpEngine:
    """One engine behind HTTP. Closing a stream closes its connection, which stops the engine's work on it."""

    def __init__(self, base_url: str, *, token: str = "", uds: str | None = None, model: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(
            # Loading the certificate store takes 30 ms of the caller's loop, and plain HTTP needs none.
            transport=UnixTransport(uds) if uds else CancellableTransport(verify=base_url.startswith("https:")),
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
        )
        self._model = model

    @property
    def client(self) -> httpx.AsyncClient:
        """The HTTP client, for the routes besides completions."""
        return self._client

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        content = wire.request_body(request, self._model)
        try:
            headers = {"Content-Type": "application/json"}
            async with self._client.stream("POST", "/v1/completions", content=content, headers=headers) as response:
                if response.status_code != 200:
                    raise wire.refusal(response.status_code, await response.aread())
                async for delta in wire.read_deltas(response.aiter_lines()):
                    yield delta
        except httpx.HTTPError as error:
            raise EngineError(
                f"the engine does not answer ({type(error).__name__})", "midfill starts it again"
            ) from error

    async def version(self) -> tuple[str, bool]:
        """Return the engine's version and whether it is leaving, even if its state has another form than ours.

        Raises httpx.HTTPError, or ValueError, TypeError or KeyError if the answer is not a state.
        """
        return wire.read_version((await self._client.get("/midfill/status", timeout=SHORT_S)).raise_for_status().json())

    async def state(self) -> wire.EngineState:
        """Return the engine's state. Raises httpx.HTTPError, or ValueError, TypeError or
        KeyError if the answer is not one."""
        return wire.read_state((await self._client.get("/midfill/status", timeout=SHORT_S)).raise_for_status().json())

    async def states(self, silent_s: float) -> AsyncIterator[wire.EngineState]:
        """Yield the engine's state, at once and whenever it changes, until the engine leaves.

        Raises what ``state`` does; httpx.ReadTimeout if the engine is silent for ``silent_s`` seconds.
        """
        timeout = httpx.Timeout(silent_s, connect=CONNECT_S)
        async with self._client.stream("GET", "/midfill/events", timeout=timeout) as response:
            async for content in wire.read_events(response.aiter_lines()):
                yield wire.read_state(content)

    async def stats(self) -> dict[str, Any]:
        """Return the engine's counters; {} if it does not answer."""
        try:
            content = (await self._client.get("/midfill/stats", timeout=SHORT_S)).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    async def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of one of the engine's JSON routes. Raises EngineError."""
        try:
            headers = {"Content-Type": "application/json"}
            response = await self._client.post(path, content=wire.encoded(body), headers=headers)
            content = response.json() if response.status_code == 200 else None
        except httpx.HTTPError as error:
            raise EngineError(
                f"the engine does not answer ({type(error).__name__})", "midfill starts it again"
            ) from error
        except ValueError:
            raise wire.garbage() from None
        if response.status_code != 200:
            raise wire.refusal(response.status_code, response.content)
        if not isinstance(content, dict):
            raise wire.garbage()
        return content

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()
