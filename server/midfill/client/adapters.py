"""Which adapters a language server's requests name, and how it makes sure that the engine has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from midfill.adapter_names import read_part, summands
from midfill.config import Config
from midfill.engine.adapter_setting import folders_of
from midfill.engine.base import AdapterMissingError, Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.engine.suspects import Suspects, refusal
from midfill.types import MidfillError, ModelInfo


@dataclass(frozen=True, slots=True)
class Adapters:
    """Names as the engine knows them; None is the base model."""

    default: str | None = None
    of_part: Mapping[str, str | None] = field(default_factory=dict)  # by language or glob
    folders: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # by name; several are added up
    instead: str | None = None  # what answers in the place of the first that is missing or refused

    @property
    def names(self) -> frozenset[str]:
        """All adapters that may answer."""
        return frozenset(self.folders)

    def __str__(self) -> str:
        others = [f"{part}: {name or 'none'}" for part, name in self.of_part.items()]
        return "; ".join([self.default or "none", *others])


async def load_adapters(engine: HttpEngine, config: Config, info: ModelInfo) -> tuple[Adapters, MidfillError | None]:
    """Load the adapters that ``config`` names; invalid ones are left out, and the first reason is returned.

    Of a sum, those before the first invalid one are used: they were trained without those behind them.
    """
    refused: list[tuple[MidfillError, str | None]] = []
    folders: dict[str, tuple[Path, ...]] = {}

    async def load(setting: str) -> str | None:
        if (found := folders_of(setting, info.name)) is None:
            return None
        await _load(engine, *found)
        folders[found[0]] = found[1]
        return found[0]

    async def load_some(setting: str) -> str | None:
        try:
            return await load(setting)
        except MidfillError as error:
            parts, place = summands(setting), len(refused)
            rest = await load_some(" + ".join(parts[:-1])) if len(parts) > 1 else None
            refused.insert(place, (error, rest))
            return rest

    default, of_part = await each_of(config, load_some)
    reason, instead = refused[0] if refused else (None, None)
    return Adapters(default, of_part, folders, instead), reason


async def each_of(
    config: Config, find: Callable[[str], Awaitable[str | None]]
) -> tuple[str | None, dict[str, str | None]]:
    """Return what ``find`` returns for the setting ``adapter``, and by language or glob for ``adapters``."""
    default = await find(config.adapter)
    return default, {part: await find(setting) for part, setting in map(read_part, config.adapters)}


async def check_adapter(engine: HttpEngine, *folders: Path) -> None:
    """Check whether the adapter in a folder (absolute), or the sum of those in several, fits the engine's model. It is
    not loaded. Raises MidfillError."""
    await _ask(engine, "/midfill/check_adapter", {"lora_path": _as_wire(folders)})


class Wary:
    """An engine that never gets a prompt again on which one like it crashed."""

    def __init__(self, engine: HttpEngine, suspects: Suspects) -> None:
        self._engine, self._suspects = engine, suspects
        self.client = engine.client

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        if request.prompt in self._suspects:
            raise refusal()
        async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta


class AdapterKeeper:
    """An engine whose adapters are loaded again if it dropped them to make room for others."""

    def __init__(self, engine: HttpEngine | Wary, folders: Mapping[str, tuple[Path, ...]]) -> None:
        self._engine, self._folders = engine, folders

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        try:
            async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    yield delta
            return
        except AdapterMissingError as error:
            # Nothing waits for a background request, and the adapter that it would replace is in use. But the cursor
            # is where a prompt is read ahead: the adapter is there before the first key.
            folders = self._folders.get(request.adapter or "")
            if folders is None or (request.background and not request.prefill_only):
                raise
            missing = error
        try:
            await _load(self._engine, str(request.adapter), folders)
        except MidfillError as error:
            raise EngineError(error.message, error.remedy) from missing
        async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        """Do nothing: the engine belongs to the caller."""


async def _load(engine: HttpEngine | Wary, name: str, folders: Sequence[Path]) -> None:
    await _ask(engine, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": _as_wire(folders)})


def _as_wire(folders: Sequence[Path]) -> str | list[str]:
    """Return one path as vLLM takes it, several as a list."""
    return str(folders[0]) if len(folders) == 1 else [str(folder) for folder in folders]


async def _ask(engine: HttpEngine | Wary, route: str, body: dict[str, Any]) -> None:
    try:
        answer = await engine.client.post(route, json=body, timeout=120)
        content = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise EngineError("the engine did not answer while reading the adapter", "run: midfill doctor") from error
    if answer.status_code != 200:
        refusal = content.get("error") or {}
        raise MidfillError(str(refusal.get("message", "the adapter was refused")), str(refusal.get("remedy", "")))
