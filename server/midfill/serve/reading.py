"""Reads what clients of the web service send without trusting a type."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from starlette.requests import Request

from midfill.adapter_names import MAX_SUMMED
from midfill.engine.wire import BadRequest

MAX_BODY = 4 << 20
MAX_DIGITS = 20  # digits of a content length
BODY_S = 15.0  # seconds for a body to arrive


async def read_body(request: Request) -> dict[str, Any]:
    """Return the JSON object in the body. Raises BadRequest; if its announced size is too large, before reading any of
    it."""
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


def read_folders(body: dict[str, Any]) -> list[Path]:
    """Return the folder of an adapter, or those of a sum. Raises BadRequest."""
    given = body.get("lora_path")
    paths = given if isinstance(given, list) else [given]
    if not 1 <= len(paths) <= MAX_SUMMED:
        raise BadRequest(f"lora_path must name 1 to {MAX_SUMMED} folders")
    found = [Path(path) for path in paths if isinstance(path, str) and "\0" not in path and Path(path).is_absolute()]
    if len(found) < len(paths):
        raise BadRequest("lora_path must be a folder's absolute path")
    return found
