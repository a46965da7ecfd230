"""Client of any OpenAI-compatible /v1/completions that takes token-id prompts: our own engine, vLLM, llama.cpp."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

from midfill.engine.base import ADAPTER_MISSING, AdapterMissingError, Delta, EngineError, GenerateRequest
from midfill.engine.unix_socket import UnixTransport
from midfill.types import Stats

CONNECT_S = 2.0
# Between two pieces of an answer. A long prompt on a slow machine takes its time before the first.
READ_S = 60.0
_STATS = frozenset(Stats.__dataclass_fields__)


class HttpEngine:
    """One engine behind HTTP. Closing a stream closes its connection, which is what stops the engine."""

    def __init__(self, base_url: str, *, token: str = "", uds: str | None = None, model: str = "") -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(
            # Loading the certificate store takes 30 ms of the caller's loop, and plain HTTP needs none.
            transport=UnixTransport(uds) if uds else httpx.AsyncHTTPTransport(verify=base_url.startswith("https:")),
            base_url=base_url,
            headers=headers,
            timeout=httpx.Timeout(READ_S, connect=CONNECT_S),
            follow_redirects=False,
            trust_env=False,
        )
        self._model = model

    @property
    def client(self) -> httpx.AsyncClient:
        """For the routes beside completions."""
        return self._client

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        body = {
            "model": request.adapter or self._model,
            "prompt": list(request.prompt),
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "stop": list(request.stop),
            "n": request.n,
            "logprobs": 1 if request.logprobs else None,
            "stream": True,
            "stream_options": {"include_usage": True},
            "request_id": request.request_id,
            "midfill": {
                "suffix": request.suffix, "beginning": request.beginning, "wanted": request.wanted,
                "wanted_only": request.wanted_only, "speculate": request.speculate,
                "window": request.window, "background": request.background, "prefill_only": request.prefill_only,
            },
        }  # fmt: skip
        try:
            content = json.dumps(body).encode("ascii")  # halves of characters are escaped
            headers = {"Content-Type": "application/json"}
            async with self._client.stream("POST", "/v1/completions", content=content, headers=headers) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code, await response.aread())
                async for delta in _deltas(response):
                    yield delta
        except httpx.HTTPError as error:
            raise EngineError(f"the engine does not answer ({type(error).__name__})", "it is started again") from error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


async def _deltas(response: httpx.Response) -> AsyncIterator[Delta]:
    finished: str | None = None
    async for line in response.aiter_lines():
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == "[DONE]":
            if finished is None:
                raise EngineError("the engine's answer ended early", "ask again")
            return
        chunk = _parse(data)
        if chunk.get("error"):
            raise _refusal(200, data.encode())
        delta = _delta(chunk)
        finished = delta.finish_reason or finished
        yield delta
    if finished is None:
        raise EngineError("the engine broke off its answer", "it is started again")


def _parse(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise _garbage()
    return chunk


def _garbage() -> EngineError:
    return EngineError("the engine sent something that is not an answer", "check the engine's address")


def _delta(chunk: dict[str, Any]) -> Delta:
    """One chunk; the one that only brings the usage has no choices."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        raise _garbage()
    text, reason = choice.get("text"), choice.get("finish_reason")
    if not isinstance(text, str | None) or not isinstance(reason, str | None) or "choices" not in chunk:
        raise _garbage()
    index, logprobs = choice.get("index", 0), choice.get("logprobs")
    told = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    numbers = tuple(float(value) for value in told or () if isinstance(value, int | float))
    return Delta(text or "", reason or None, _stats(chunk), index if type(index) is int else 0, numbers)


def _stats(chunk: dict[str, Any]) -> Stats | None:
    if isinstance(own := chunk.get("midfill"), dict):
        numbers: dict[str, Any] = {key: own[key] for key in _STATS & own.keys() if isinstance(own[key], int | float)}
        return Stats(**numbers)
    if isinstance(usage := chunk.get("usage"), dict):
        details = usage.get("prompt_tokens_details")
        cached = _count(details, "cached_tokens") if isinstance(details, dict) else 0
        return Stats(_count(usage, "prompt_tokens"), cached, _count(usage, "completion_tokens"))
    return None


def _count(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    return value if isinstance(value, int) else 0


def _refusal(status: int, body: bytes) -> EngineError:
    try:
        error = json.loads(body)["error"]
        kind = AdapterMissingError if error.get("code") == ADAPTER_MISSING else EngineError
        return kind(str(error["message"])[:300], str(error.get("remedy", ""))[:300])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return EngineError(f"the engine refused the request (HTTP {status})", "run: midfill doctor")
