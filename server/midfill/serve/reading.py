"""What clients of the web service send, read without trusting a type."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from starlette.requests import Request

from midfill.engine.base import MAX_TOKENS, GenerateRequest

MAX_BODY = 4 << 20
MAX_DIGITS = 20  # of a content length
BODY_S = 15.0  # for a body to come, in seconds
MAX_PROMPT_IDS = 200_000
MAX_CANDIDATES = 8
MAX_WANTED = 256
MAX_NAME = 256
MAX_BEGINNING = 8192  # a begun word, or a middle that is to go on
MAX_LOGPROBS = 5


class BadRequest(Exception):  # noqa: N818 - named after the status
    """The body is not what the route takes."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


async def read_body(request: Request) -> dict[str, Any]:
    """The JSON object that was sent. Raises BadRequest; for one that is announced as too large before any of it."""
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or len(announced) > MAX_DIGITS or int(announced) > MAX_BODY:
        raise BadRequest("the body is too large", 413)
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > MAX_BODY:
                    raise BadRequest("the body is too large", 413)
    except TimeoutError:
        raise BadRequest("the body does not come to its end", 408) from None
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise BadRequest("the body is not JSON") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is not an object")
    return body


def read_folder(body: dict[str, Any]) -> Path:
    """Where an adapter lies. Raises BadRequest."""
    path = body.get("lora_path")
    if not isinstance(path, str) or "\0" in path or not Path(path).is_absolute():
        raise BadRequest("lora_path must be a folder's absolute path")
    return Path(path)


def read_request(body: dict[str, Any], base: str | None) -> GenerateRequest:
    """The generation that ``body`` asks for; a model called ``base`` is the plain one. Raises BadRequest."""
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
    """What only midfill's own clients send, under the key "midfill"."""
    own = body.get("midfill")
    own = {} if own is None else own
    if not isinstance(own, dict):
        raise BadRequest("midfill must be an object")
    own = {key: value for key, value in own.items() if value is not None}
    suffix, beginning, window = own.get("suffix"), own.get("beginning", ""), own.get("window", "")
    speculate, background = own.get("speculate", True), own.get("background", False)
    prefill_only = own.get("prefill_only", False)
    if suffix is not None:
        sound = isinstance(suffix, list) and len(suffix) == 2 and all(type(at) is int for at in suffix)
        if not sound or not 0 < suffix[0] <= suffix[1] <= n_prompt:
            raise BadRequest("suffix must be two positions of the prompt")
    if not isinstance(beginning, str) or len(beginning) > MAX_BEGINNING or not isinstance(window, str):
        raise BadRequest(f"beginning must be a text of up to {MAX_BEGINNING} characters, window a text")
    names = own.get("wanted", [])
    if not isinstance(names, list) or len(names) > MAX_WANTED or not all(_is_name(name) for name in names):
        raise BadRequest(f"wanted must be up to {MAX_WANTED} names")
    only = own.get("wanted_only", False)
    if not all(isinstance(value, bool) for value in (speculate, background, only, prefill_only)):
        raise BadRequest("speculate, background, wanted_only and prefill_only must be true or false")
    return {
        "suffix": tuple(suffix) if suffix else None, "beginning": beginning, "window": window[:64],
        "speculate": speculate, "background": background, "wanted": tuple(names),
        "wanted_only": only, "prefill_only": prefill_only,
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
    """OpenAI's number of alternatives, 0 to 5 (none are told), or true and false."""
    if isinstance(value, bool | None):
        return bool(value)
    if type(value) is not int or not 0 <= value <= MAX_LOGPROBS:
        raise BadRequest(f"logprobs must be a number from 0 to {MAX_LOGPROBS}")
    return True
