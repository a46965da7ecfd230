"""The local engine in place of engines elsewhere, while none of those answers."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import httpx

from midfill.client import spawn
from midfill.config import Config
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.remote import probe
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError, ModelInfo


@dataclass(slots=True)
class LocalFallback:
    """The local engine, started when it is first needed. Nothing waits for it: until it is ready, its requests fail.

    It answers with its base model, and only if its tokenizer has the ids of the prompts.
    """

    config: Config
    fits: ModelInfo | None = None
    _engine: HttpEngine | None = None
    _starting: asyncio.Task[None] | None = None
    _problem: MidfillError | None = None

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError while it is not ready."""
        if self._engine is None:
            if self._starting is None or self._starting.done():
                self._starting = asyncio.create_task(self._start())
            problem = self._problem
            if problem is not None:
                raise EngineError(problem.message, problem.remedy)
            raise EngineError("no replica answers; the local engine is starting", "type on")
        plain = dataclasses.replace(request, adapter=None)
        try:
            async with aclosing(self._engine.stream(plain)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    yield delta
        except EngineError:
            await self._forget()
            raise

    async def _start(self) -> None:
        settings = dataclasses.replace(self.config, model=self.config.engine_fallback, engine=(), template="auto")
        engine: HttpEngine | None = None
        try:
            engine = await spawn.find_or_spawn(settings)
            info = await _ready(engine)
            if self.fits is not None and not await asyncio.to_thread(_same_ids, info, self.fits):
                raise MidfillError(
                    f"engine_fallback = {settings.model!r} has a different tokenizer than the engine elsewhere",
                    "name a model of the same family",
                )
            self._engine, self._problem = engine, None
        except (MidfillError, httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
            known = (
                error if isinstance(error, MidfillError) else EngineError("the local engine stopped unexpectedly", "")
            )
            self._problem = known
            if engine is not None:
                await engine.aclose()

    async def _forget(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            await engine.aclose()

    async def aclose(self) -> None:
        """Disconnect; the engine exits by itself."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self._forget()


async def _ready(engine: HttpEngine) -> ModelInfo:
    while True:
        state = await engine.state()
        if state.status.state == "error":
            raise MidfillError(state.status.message, state.status.remedy)
        if state.info is not None:
            return state.info
        await asyncio.sleep(0.5)


def _same_ids(one: ModelInfo, other: ModelInfo) -> bool:
    """Whether two tokenizers have the same ids for code and the same control tokens."""
    if one.tokenizer_file == other.tokenizer_file:
        return True
    first, second = (CodeTokenizer.from_file(Path(info.tokenizer_file)) for info in (one, other))
    text = probe.LINE * probe.N_LINES
    controls = [{tokenizer.decode([token]): token for token in tokenizer.control_ids} for tokenizer in (first, second)]
    return first.encode(text) == second.encode(text) and controls[0] == controls[1]
