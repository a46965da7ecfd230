"""Requests, deltas and the engine's state as JSON and server-sent events: midfill's own routes, for both of their ends.

The requests to other engines and their answers are in ``midfill.remote.dialects``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from midfill.engine.base import (
    ADAPTER_MISSING,
    MAX_TOKENS,
    AdapterMissingError,
    Delta,
    EngineError,
    GenerateRequest,
)
from midfill.types import EngineStatus, MidfillError, ModelInfo, Stats

MAX_PROMPT_IDS = 200_000
MAX_CANDIDATES = 8
MAX_BIAS_NAMES = 256
MAX_ADVANTAGE = 100.0  # nats
MAX_NAME = 256
MAX_FORCED_PREFIX = 8192  # a begun word, or a middle to continue
MAX_WITHIN_S = 86_400.0
MAX_GIVEN = 1024  # tokens of an answer that is only scored
MAX_LOGPROBS = 5
END_S = 0.1  # seconds from the mark at the end to the end of the body
ALIVE = ": alive\n\n"  # a comment, so that a client knows that the engine is there
DATA, DONE = "data: ", "[DONE]"
_STATS = frozenset(Stats.__dataclass_fields__)


class BadRequest(Exception):  # noqa: N818 - named after the status
    """The body is not what the route takes."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class EngineState:
    """The state that an engine sends whenever it changes."""

    version: str
    pid: int
    draining: bool  # it takes nothing new and leaves
    status: EngineStatus
    info: ModelInfo | None  # None until it is ready
    adapters: list[dict[str, Any]] = field(default_factory=list)


# ---- the client's end ----------------------------------------------------------------------------------------------


def request_body(request: GenerateRequest, model: str = "") -> bytes:
    """Return ``request`` as JSON in ASCII, so halves of characters are escaped. ``model`` names the plain base."""
    body = {
        "model": request.adapter or model,
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
            "suffix": request.suffix, "forced_prefix": request.forced_prefix, "bias_names": request.bias_names,
            "bias_only": request.bias_only, "speculate": request.speculate, "window": request.window,
            "background": request.background, "prefill_only": request.prefill_only, "within_s": request.within_s,
            "bias_advantages": request.bias_advantages, "given": request.given, "ignore_eos": request.ignore_eos,
        },
    }  # fmt: skip
    return json.dumps(body).encode("ascii")


async def read_deltas(lines: AsyncIterator[str]) -> AsyncIterator[Delta]:
    """Yield the pieces of an answer that comes as server-sent events. Raises EngineError if it is
    not an answer, or ends early."""
    finished: str | None = None
    async for chunk in read_chunks(lines):
        if chunk is None:
            if finished is None:
                raise EngineError("the engine's answer ended early", "ask again")
            continue
        delta = read_delta(chunk)
        finished = delta.finish_reason or finished
        yield delta
    if finished is None:
        raise EngineError("the engine broke off its answer", "midfill starts it again")


async def read_chunks(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any] | None]:
    """Yield the objects of a stream of events; None for OpenAI's mark at its end. Raises
    EngineError for an error in it.

    The bytes after the mark are read too, for at most ``END_S`` seconds: only a body that was read to its end leaves a
    connection that the next request can use.
    """
    async for line in lines:
        if not line.startswith("data:"):
            continue
        data = line[5:].strip()
        if data == DONE:
            yield None
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    async for _ in lines:
                        pass
            return
        chunk = _parse(data)
        if chunk.get("error"):
            raise refusal(200, data.encode())
        yield chunk


async def read_events(lines: AsyncIterator[str]) -> AsyncIterator[dict[str, Any]]:
    """Yield the objects of a stream of events that has no end of its own. Raises ValueError."""
    async for line in lines:
        if line.startswith(DATA):
            yield json.loads(line[len(DATA) :])


def read_version(content: Any) -> tuple[str, bool]:
    """Return the version of the engine that sent ``content``, and whether it is leaving.
    Raises TypeError or KeyError."""
    return str(content["version"]), bool(content.get("draining"))


def read_state(content: Any) -> EngineState:
    """Return the state in ``content``. Raises ValueError, TypeError or KeyError if it holds none."""
    info = content.get("info") if isinstance(content, dict) else None
    version, draining = read_version(content)
    return EngineState(
        version, int(content.get("pid") or 0), draining, EngineStatus(**content["status"]),
        ModelInfo(**info) if info else None, content.get("adapters") or [],
    )  # fmt: skip


def _parse(data: str) -> dict[str, Any]:
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        chunk = None
    if not isinstance(chunk, dict):
        raise garbage()
    return chunk


def garbage() -> EngineError:
    """Return the error for an answer that cannot be read."""
    return EngineError("the engine sent something that is not an answer", "check the engine's address")


def read_delta(chunk: dict[str, Any]) -> Delta:
    """Return the delta of one chunk; the chunk that only carries the usage has no choices."""
    choices = chunk.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else {}
    if not isinstance(choice, dict):
        raise garbage()
    text, reason = choice.get("text"), choice.get("finish_reason")
    if not isinstance(text, str | None) or not isinstance(reason, str | None) or "choices" not in chunk:
        raise garbage()
    index, logprobs = choice.get("index", 0), choice.get("logprobs")
    logprobs = logprobs if isinstance(logprobs, dict) else {}
    numbers = tuple(float(value) for value in logprobs.get("token_logprobs") or () if isinstance(value, int | float))
    return Delta(
        text or "", reason or None, read_stats(chunk), index if type(index) is int else 0, numbers,
        _offsets(logprobs.get("text_offset"), text or ""),
    )  # fmt: skip


def _offsets(told: Any, text: str) -> tuple[int, ...]:
    """Return where the tokens of ``text`` begin; () if that is not told. Other engines count from elsewhere."""
    if not isinstance(told, list) or not all(type(at) is int and 0 <= at <= len(text) for at in told):
        return ()
    return tuple(told)


def read_stats(chunk: dict[str, Any]) -> Stats | None:
    """Return the figures of a chunk: ours, or those in OpenAI's usage; None without either."""
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


def refusal(status: int, body: bytes) -> EngineError:
    """Return the error of an answer with another status than 200."""
    try:
        error = json.loads(body)["error"]
        kind = AdapterMissingError if error.get("code") == ADAPTER_MISSING else EngineError
        return kind(str(error["message"])[:300], str(error.get("remedy", ""))[:300])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return EngineError(f"the engine refused the request (HTTP {status})", "run: midfill doctor")


# ---- the engine's end ----------------------------------------------------------------------------------------------


def read_request(body: dict[str, Any], base: str | None) -> GenerateRequest:
    """Return the generation that ``body`` asks for; a model called ``base`` is the plain one. Raises BadRequest."""
    prompt = body.get("prompt")
    if not isinstance(prompt, list) or not prompt or not all(type(token) is int for token in prompt):
        raise BadRequest("prompt must be a list of token ids")
    if len(prompt) > MAX_PROMPT_IDS:
        raise BadRequest("prompt is too long")
    stop = body.get("stop") or []
    stop = [stop] if isinstance(stop, str) else stop
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop) or len(stop) > 16:
        raise BadRequest("stop must be up to 16 strings")
    model, seed = body.get("model"), body.get("seed")
    if not isinstance(model, str | None):
        raise BadRequest("model must be a text")
    if seed is not None and (type(seed) is not int or not -(1 << 63) <= seed < 1 << 63):
        raise BadRequest("seed must be a whole number of 64 bits")
    return GenerateRequest(
        prompt=tuple(prompt),
        max_tokens=_number(body, "max_tokens", 16, 1, MAX_TOKENS, int),
        stop=tuple(stop),
        adapter=None if model in (None, "", base) else model,
        temperature=_number(body, "temperature", 0.0, 0.0, 2.0, float),
        top_p=_number(body, "top_p", 1.0, 0.0, 1.0, float),
        seed=seed,
        request_id=str(body.get("request_id", ""))[:64],
        n=_number(body, "n", 1, 1, MAX_CANDIDATES, int),
        logprobs=_wants_logprobs(body.get("logprobs")),
        **_extension(body, len(prompt)),
    )


def _extension(body: dict[str, Any], n_prompt: int) -> dict[str, Any]:
    """Return the fields that only midfill's own clients send, under the key "midfill"."""
    own = body.get("midfill")
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise BadRequest("midfill must be an object")
    own = {key: value for key, value in own.items() if value is not None}
    suffix, forced_prefix, window = own.get("suffix"), own.get("forced_prefix", ""), own.get("window", "")
    speculate, background = own.get("speculate", True), own.get("background", False)
    if suffix is not None:
        sound = isinstance(suffix, list) and len(suffix) == 2 and all(type(at) is int for at in suffix)
        if not sound or not 0 < suffix[0] <= suffix[1] <= n_prompt:
            raise BadRequest("suffix must be two positions of the prompt")
    if not isinstance(forced_prefix, str) or len(forced_prefix) > MAX_FORCED_PREFIX or not isinstance(window, str):
        raise BadRequest(f"forced_prefix must be a text of up to {MAX_FORCED_PREFIX} characters, window a text")
    names = own.get("bias_names", [])
    if not isinstance(names, list) or len(names) > MAX_BIAS_NAMES or not all(_is_name(name) for name in names):
        raise BadRequest(f"bias_names must be up to {MAX_BIAS_NAMES} names")
    advantages = own.get("bias_advantages", [])
    if not isinstance(advantages, list) or len(advantages) not in (0, len(names)):
        raise BadRequest("bias_advantages must have a number for each of bias_names")
    if not all(type(one) in (int, float) and abs(one) <= MAX_ADVANTAGE for one in advantages):
        raise BadRequest(f"bias_advantages must be numbers from -{MAX_ADVANTAGE:.0f} to {MAX_ADVANTAGE:.0f}")
    given = own.get("given", [])
    if not isinstance(given, list) or len(given) > MAX_GIVEN or not all(type(token) is int for token in given):
        raise BadRequest(f"given must be up to {MAX_GIVEN} token ids")
    only, prefill_only, ignore_eos = (own.get(key, False) for key in ("bias_only", "prefill_only", "ignore_eos"))
    if not all(isinstance(value, bool) for value in (speculate, background, only, prefill_only, ignore_eos)):
        raise BadRequest("speculate, background, bias_only, prefill_only and ignore_eos must be true or false")
    within_s = _number(own, "within_s", None, 0.0, MAX_WITHIN_S, float) if "within_s" in own else None
    return {
        "suffix": tuple(suffix) if suffix else None, "forced_prefix": forced_prefix, "window": window[:64],
        "speculate": speculate, "background": background, "bias_names": tuple(names),
        "bias_only": only, "bias_advantages": tuple(map(float, advantages)),
        "prefill_only": prefill_only, "within_s": within_s,
        "given": tuple(given), "ignore_eos": ignore_eos,
    }  # fmt: skip


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isidentifier() and len(value) <= MAX_NAME


def _number(body: dict[str, Any], key: str, default: Any, low: float, high: float, kind: type) -> Any:
    value = body.get(key)
    value = default if value is None else value
    if type(value) not in (int, kind) or not low <= value <= high:
        raise BadRequest(f"{key} must be a number from {low} to {high}")
    return kind(value)


def _wants_logprobs(value: Any) -> bool:
    """Return whether OpenAI's number of alternatives (0 to 5, none are sent), or true, asks for log probabilities."""
    if isinstance(value, bool | None):
        return bool(value)
    if type(value) is not int or not 0 <= value <= MAX_LOGPROBS:
        raise BadRequest(f"logprobs must be a number from 0 to {MAX_LOGPROBS}")
    return True


def encoded(content: Any) -> bytes:
    """Return JSON in ASCII: a lone surrogate that a client sent may come back to it, and UTF-8 has none."""
    return json.dumps(content, separators=(",", ":")).encode("ascii")


def event(content: Any) -> str:
    """Return ``content`` as one server-sent event."""
    return f"{DATA}{json.dumps(content)}\n\n"


async def events_of(answer: AsyncIterator[Delta], wanted: GenerateRequest) -> AsyncIterator[str]:
    """Yield ``answer`` as server-sent events, with OpenAI's mark at its end."""
    try:
        async with aclosing(answer) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield event(chunk_body(wanted, delta))
        yield f"{DATA}{DONE}\n\n"
    except EngineError as error:
        yield event(error_body(error))


def chunk_body(wanted: GenerateRequest, delta: Delta) -> dict[str, Any]:
    """Return a piece of an answer in OpenAI's form, with our figures beside its usage."""
    logprobs = None
    if wanted.logprobs:
        logprobs = {"token_logprobs": list(delta.logprobs), "text_offset": list(delta.offsets)}
    chunk: dict[str, Any] = {
        "id": wanted.request_id,
        "object": "text_completion",
        "model": wanted.adapter or "base",
        "choices": [
            {"index": delta.index, "text": delta.text, "finish_reason": delta.finish_reason, "logprobs": logprobs}
        ],
    }
    if (stats := delta.stats) is not None:
        chunk["usage"] = _usage(stats)
        chunk["midfill"] = asdict(stats)
    return chunk


def _usage(stats: Stats) -> dict[str, Any]:
    return {
        "prompt_tokens": stats.n_prompt,
        "completion_tokens": stats.n_decoded,
        "total_tokens": stats.n_prompt + stats.n_decoded,
        "prompt_tokens_details": {"cached_tokens": stats.n_cached},
    }


def error_body(error: MidfillError) -> dict[str, Any]:
    """Return an error in OpenAI's form, with what to do beside its message."""
    code = ADAPTER_MISSING if isinstance(error, AdapterMissingError) else None
    return {"error": {"message": error.message, "remedy": error.remedy, "type": "midfill", "code": code}}
