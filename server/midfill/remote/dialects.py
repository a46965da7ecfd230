"""What each kind of engine is sent, and how its answer is read. midfill sends only what an engine knows.

Never sent to an engine that is not ours: ``suffix``, ``echo``, ``n``, the ``midfill`` object.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from midfill.engine import wire
from midfill.engine.base import EngineError, GenerateRequest
from midfill.remote.capabilities import Capabilities
from midfill.remote.several import First
from midfill.remote.vocabulary import TokenizerFacts
from midfill.types import Stats

TYPED, AHEAD = 0, 10  # priorities: lower ones are served first
MAX_STOPS = 4  # stop strings that OpenAI's completions take
MAX_LOGPROBS = 20  # log probabilities that vLLM reports for a position
ID_PREFIX = "token_id:"  # precedes a token's id when names are requested as ids


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of an answer as the engine sent it. ``ids`` None: it reports none. ``likeliest``, if requested: the
    tokens that its first position may have had."""

    text: str
    ids: tuple[int, ...] | None = None
    logprobs: tuple[float, ...] = ()
    reason: str | None = None
    stats: Stats | None = None
    likeliest: tuple[First, ...] = ()


def route(capabilities: Capabilities) -> str:
    """Return the route for completions, below the engine's base or, with "~", below its root."""
    return "~/completion" if capabilities.kind == "llama.cpp" else "/completions"


def body(
    request: GenerateRequest, prompt: list[int] | str, capabilities: Capabilities, facts: TokenizerFacts, salt: str = ""
) -> dict[str, Any]:
    """Return the request as the engine takes it. ``prompt``: ids if it takes them, otherwise text with sentinels."""
    if capabilities.kind == "llama.cpp":
        return _llama(request, prompt)
    model = model_name(request.adapter, capabilities)
    sent: dict[str, Any] = {
        "model": model, "prompt": prompt, "max_tokens": request.max_tokens, "temperature": 0, "stream": True,
    }  # fmt: skip
    if capabilities.kind == "text":
        return {**sent, "stop": list(dict.fromkeys([*request.stop, *facts.stops]))[:MAX_STOPS]}
    sent |= {"stream_options": {"include_usage": True}, "logprobs": 1, "stop_token_ids": list(facts.control_ids)}
    sent["request_id" if capabilities.kind == "vllm" else "rid"] = request.request_id
    if request.n > 1 and capabilities.gives_several:  # with names of its own for the tokens: texts are ambiguous
        n_control = 1  # the one that ends a middle may be among them, and is not needed
        sent |= {"logprobs": min(MAX_LOGPROBS, request.n + n_control), "return_tokens_as_token_ids": True}
    if request.stop:
        sent["stop"] = list(request.stop)
    if capabilities.returns_ids:
        sent["return_token_ids"] = True
    if salt:
        sent["cache_salt"] = salt
    if capabilities.has_priority:
        sent["priority"] = AHEAD if request.background else TYPED
    return sent


def _llama(request: GenerateRequest, prompt: list[int] | str) -> dict[str, Any]:
    sent: dict[str, Any] = {
        "prompt": prompt, "n_predict": request.max_tokens, "temperature": 0, "stream": True, "cache_prompt": True,
        "return_tokens": True, "n_probs": 1,
    }  # fmt: skip
    return {**sent, "stop": list(request.stop)} if request.stop else sent


def model_name(adapter: str | None, capabilities: Capabilities) -> str:
    """Return the engine's name for the base model with ``adapter``."""
    if adapter is None:
        return capabilities.base
    return f"{capabilities.base}:{adapter}" if capabilities.kind == "sglang" else adapter


async def pieces(lines: AsyncIterator[str], capabilities: Capabilities) -> AsyncIterator[Piece]:
    """Yield the answer, piece by piece. Raises EngineError if it is not an answer; the caller checks for a finish
    reason."""
    read = _llama_piece if capabilities.kind == "llama.cpp" else _openai_piece
    async for chunk in wire.read_chunks(lines):
        if chunk is not None:
            yield read(chunk)


def _openai_piece(chunk: dict[str, Any]) -> Piece:
    delta = wire.read_delta(chunk)
    choices = chunk["choices"]
    ids = choices[0].get("token_ids") if choices else None
    likeliest = _likeliest(choices[0].get("logprobs")) if choices else ()
    return Piece(delta.text, _ids(ids), delta.logprobs, delta.finish_reason, delta.stats, likeliest)


def _likeliest(logprobs: Any) -> tuple[First, ...]:
    """Return the tokens of a piece's first position, if the engine reports them by id."""
    told = logprobs.get("top_logprobs") if isinstance(logprobs, dict) else None
    first = told[0] if isinstance(told, list) and told else None
    named = first.items() if isinstance(first, dict) else ()
    return tuple(
        First(int(digits), float(value))
        for name, value in named
        if name.startswith(ID_PREFIX) and (digits := name.removeprefix(ID_PREFIX)).isdecimal() and _is_number(value)
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _llama_piece(chunk: dict[str, Any]) -> Piece:
    text, stopped = chunk.get("content"), chunk.get("stop")
    if not isinstance(text, str) or not isinstance(stopped, bool):
        raise wire.garbage()
    probabilities = chunk.get("completion_probabilities")
    numbers = [one.get("logprob") for one in probabilities or () if isinstance(one, dict)]
    logprobs = tuple(float(number) for number in numbers if isinstance(number, int | float))
    if not stopped:
        return Piece(text, _ids(chunk.get("tokens")), logprobs)
    n_prompt, n_decoded = _count(chunk, "tokens_evaluated"), _count(chunk, "tokens_predicted")
    timings = chunk.get("timings")
    n_read = _count(timings, "prompt_n") if isinstance(timings, dict) else n_prompt
    reason = "length" if chunk.get("stop_type") == "limit" else "stop"
    return Piece(text, (), logprobs, reason, Stats(n_prompt, max(0, n_prompt - n_read), n_decoded))


def _ids(value: Any) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(type(token) is int and token >= 0 for token in value):
        raise wire.garbage()
    return tuple(value)


def _count(values: dict[str, Any], key: str) -> int:
    value = values.get(key)
    return value if type(value) is int else 0


def unspeakable(host: str) -> EngineError:
    """Return why a buffer that spells a sentinel is not sent to an engine that reads sentinels from text."""
    return EngineError(
        f"the text around the cursor spells a control token, and {host} takes only text",
        "use an engine that takes token ids for this file",
    )
