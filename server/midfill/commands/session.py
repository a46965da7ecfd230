"""A short-lived client for commands: connects to the engine (or starts it) and shows its progress."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from midfill import fim
from midfill.client import spawn
from midfill.client.adapters import AdapterKeeper, Wary, load_adapters
from midfill.client.remote import remote_session
from midfill.client.scripted import scripted
from midfill.commands.progress import stages
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine import record
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.engine.suspects import Suspects
from midfill.renderers import InlineRenderer
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError, ModelInfo

SILENT_S = 30.0  # an engine that loads sends something every second


@contextlib.asynccontextmanager
async def session(config: Config) -> AsyncIterator[Completer]:
    """Return a completer over the engine of ``config``. Raises MidfillError with the engine's own problem.

    MIDFILL_SCRIPT names a scripted engine, for tests.
    """
    if script := os.environ.get("MIDFILL_SCRIPT"):
        completer = scripted(config, Path(script))
        yield completer
        await completer.aclose()
        return
    if config.engine:
        async with remote_session(config) as completer:
            yield completer
        return
    async with connected(config) as (engine, info):
        adapters, refusal = await load_adapters(engine, config, info)
        if refusal is not None:
            raise refusal
        tokenizer = await asyncio.to_thread(CodeTokenizer.from_file, Path(info.tokenizer_file))
        template = fim.find(info.template or fim.PREFIX_ONLY.name, tokenizer)
        renderer = InlineRenderer(fim.FimRenderer(template, tokenizer, config.order, heal=config.token_healing))
        keeper = AdapterKeeper(Wary(engine, Suspects(record.place(config).suspects)), adapters.folders)
        completer = Completer(keeper, renderer, info, config, adapter=adapters.default, adapters=adapters.of_part)
        try:
            yield completer
        finally:
            await completer.aclose()


@contextlib.asynccontextmanager
async def connected(config: Config, *, quiet: bool = False) -> AsyncIterator[tuple[HttpEngine, ModelInfo]]:
    """Return the engine of ``config``, ready, and what it serves. ``quiet``: show progress in a terminal only."""
    engine = await spawn.find_or_spawn(config)
    followed = _Followed()
    try:
        yield engine, await _ready(engine, quiet, followed)
    except (EngineError, httpx.HTTPError) as error:
        lost = await _lost(engine, config, followed)
        if lost is None and isinstance(error, EngineError):
            raise
        raise lost or MidfillError(
            f"the engine stopped unexpectedly ({type(error).__name__})", "run it again"
        ) from error
    finally:
        await engine.aclose()


@dataclass(slots=True)
class _Followed:
    """The process of the engine, as soon as it is known."""

    pid: int = 0


async def _lost(engine: HttpEngine, config: Config, followed: _Followed) -> MidfillError | None:
    """Return why this engine stopped, or None if it answers."""
    try:
        await engine.client.get("/midfill/status", timeout=5.0)
    except httpx.HTTPError:
        pass
    else:
        return None
    if (reason := await spawn.why(config, followed.pid)) is not None:
        return reason
    return MidfillError("the engine stopped unexpectedly", "run the command again: it starts a new engine")


async def _ready(engine: HttpEngine, quiet: bool, followed: _Followed) -> ModelInfo:
    with stages(quiet=quiet) as report:
        try:
            async with contextlib.aclosing(engine.states(SILENT_S)) as states:  # type: ignore[type-var]
                async for state in states:
                    followed.pid = state.pid
                    if state.status.state == "error":
                        raise MidfillError(state.status.message, state.status.remedy)
                    if state.info is not None:
                        return state.info
                    if state.status.stage:
                        report(state.status.stage, state.status.progress or 0.0)
        except httpx.HTTPError as error:
            raise EngineError(
                f"the engine stopped while loading ({type(error).__name__})", "run: midfill doctor"
            ) from error
    raise EngineError("the engine exited while loading", "run: midfill doctor")
