"""A short-lived front end for commands: connects to the engine (or starts it), shows how it loads."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from midfill import fim
from midfill.commands.progress import stages
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.http import HttpEngine
from midfill.renderers import InlineRenderer
from midfill.serve import daemon
from midfill.serve.adapters import AdapterKeeper, load_adapters
from midfill.serve.scripted import scripted
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError, ModelInfo


@contextlib.asynccontextmanager
async def session(config: Config) -> AsyncIterator[Completer]:
    """A completer over the engine of ``config``. Raises MidfillError with what the engine says is wrong.

    MIDFILL_SCRIPT names a scripted engine, for tests.
    """
    if script := os.environ.get("MIDFILL_SCRIPT"):
        completer = scripted(config, Path(script))
        yield completer
        await completer.aclose()
        return
    async with connected(config) as (engine, info):
        adapters, refusal = await load_adapters(engine, config, info)
        if refusal is not None:
            raise refusal
        tokenizer = await asyncio.to_thread(CodeTokenizer.from_file, Path(info.tokenizer_file))
        template = fim.find(info.template or fim.PREFIX_ONLY.name, tokenizer)
        renderer = InlineRenderer(fim.FimRenderer(template, tokenizer, config.order, heal=config.token_healing))
        keeper = AdapterKeeper(engine, adapters.folders)
        completer = Completer(keeper, renderer, info, config, adapter=adapters.default, adapters=adapters.of_language)
        try:
            yield completer
        finally:
            await completer.aclose()


@contextlib.asynccontextmanager
async def connected(config: Config, *, quiet: bool = False) -> AsyncIterator[tuple[HttpEngine, ModelInfo]]:
    """The engine of ``config``, ready, and what it serves. ``quiet``: loading shows in a terminal only."""
    engine = await daemon.find_or_spawn(config)
    try:
        yield engine, await _ready(engine, quiet)
    finally:
        await engine.aclose()


async def _ready(engine: HttpEngine, quiet: bool) -> ModelInfo:
    with stages(quiet=quiet) as report:
        try:
            async with engine.client.stream("GET", "/midfill/events", timeout=30.0) as response:
                async for line in response.aiter_lines():
                    if not line.startswith("data: "):
                        continue
                    state = json.loads(line[6:])
                    status = state["status"]
                    if status["state"] == "error":
                        raise MidfillError(status["message"], status["remedy"])
                    if state["info"]:
                        return ModelInfo(**state["info"])
                    if status["stage"]:
                        report(status["stage"], status["progress"] or 0.0)
        except httpx.HTTPError as error:
            raise MidfillError(
                f"the engine was lost while loading ({type(error).__name__})", "run: midfill doctor"
            ) from error
    raise MidfillError("the engine left while loading", "run: midfill doctor")
