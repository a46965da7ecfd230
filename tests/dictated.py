"""Engines that write what a test dictates, and requests as the language server follows them. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.trace import Trace, trace_of
from midfill.types import Completion, ModelInfo, Snapshot, Trigger
from tests.support import at

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")


def scripted(*chunks: str, others: Iterable[list[str]] = (), **options: Any) -> tuple[Completer, ScriptedEngine]:
    engine = ScriptedEngine(list(chunks), others=list(others))
    settings = {name: options.pop(name) for name in list(options) if name in Config.__dataclass_fields__}
    return Completer(engine, CharRenderer(), INFO, Config(**settings), **options), engine


class Dictated:
    """An engine that writes what it is told, when it is told. ``None`` ends the middle, an error fails it."""

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.lines: list[asyncio.Queue[str | EngineError | None]] = []
        self.closed: list[bool] = []

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        number = len(self.requests)
        self.requests.append(request)
        self.lines.append(asyncio.Queue())
        self.closed.append(False)
        try:
            while (said := await self.lines[number].get()) is not None:
                if isinstance(said, EngineError):
                    raise said
                yield Delta(said)
            yield Delta("", "stop")
        finally:
            self.closed[number] = True

    def say(self, text: str | EngineError | None, request: int = -1) -> None:
        self.lines[request].put_nowait(text)

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


class Request:
    """One request, followed in a task as the language server does."""

    def __init__(self, subject: Completer, buffer: str | Snapshot, trigger: Trigger = "automatic", n: int = 1) -> None:
        self.values: list[Completion] = []
        snapshot = at(buffer) if isinstance(buffer, str) else buffer
        self._task = asyncio.create_task(self._follow(subject.stream(snapshot, trigger=trigger, n=n)))

    async def _follow(self, stream: AsyncIterator[Completion]) -> None:
        async with aclosing(stream) as values:  # type: ignore[type-var]
            async for value in values:
                self.values.append(value)

    @property
    def texts(self) -> list[str]:
        return [value.text for value in self.values]

    @property
    def trace(self) -> Trace:
        return trace_of(self.values[-1])

    async def end(self) -> Completion:
        await self._task
        return self.values[-1]

    def drop(self) -> None:
        """Drop it as a newer request does: that begins to follow before this one ends."""
        asyncio.get_running_loop().call_soon(self._task.cancel)


async def until(true: Callable[[], object]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError


def dictated(**options: Any) -> tuple[Completer, Dictated]:
    engine = Dictated()
    settings = {name: options.pop(name) for name in list(options) if name in Config.__dataclass_fields__}
    return Completer(engine, CharRenderer(), INFO, Config(**settings), **options), engine


async def begun(subject: Completer, engine: Dictated, *said: str, buffer: str = "x = ‸\n") -> Request:
    n = len(engine.requests)
    request = Request(subject, buffer)
    await until(lambda: len(engine.requests) > n)
    for text in said:
        engine.say(text)
        await until(lambda: request.values and request.values[-1].raw.endswith(text))  # noqa: B023 - awaited here
    return request
