"""Which adapters a language server's requests name, and how it makes sure that the engine has them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from midfill.config import Config
from midfill.engine.adapter_setting import folder_of
from midfill.engine.base import AdapterMissingError, Delta, EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.engine.suspects import Suspects, refusal
from midfill.types import MidfillError, ModelInfo


@dataclass(frozen=True, slots=True)
class Adapters:
    """Names as the engine knows them; None is the base model."""

    default: str | None = None
    of_language: Mapping[str, str | None] = field(default_factory=dict)
    folders: Mapping[str, Path] = field(default_factory=dict)  # by name

    @property
    def names(self) -> frozenset[str]:
        """All adapters that may answer."""
        return frozenset(self.folders)

    def __str__(self) -> str:
        others = [f"{language}: {name or 'none'}" for language, name in sorted(self.of_language.items())]
        return "; ".join([self.default or "none", *others])


async def load_adapters(engine: HttpEngine, config: Config, info: ModelInfo) -> tuple[Adapters, MidfillError | None]:
    """Load the adapters that ``config`` names; invalid ones are left out, and the first reason is returned."""
    refusal: MidfillError | None = None
    folders: dict[str, Path] = {}

    async def load(setting: str) -> str | None:
        nonlocal refusal
        try:
            found = folder_of(setting, info.name)
            if found is None:
                return None
            await _load(engine, *found)
        except MidfillError as error:
            refusal = refusal or error
            return None
        folders[found[0]] = found[1]
        return found[0]

    default, of_language = await each_of(config, load)
    return Adapters(default, of_language, folders), refusal


async def each_of(
    config: Config, find: Callable[[str], Awaitable[str | None]]
) -> tuple[str | None, dict[str, str | None]]:
    """Return what ``find`` returns for the setting ``adapter``, and by language for ``adapter_by_language``."""
    default = await find(config.adapter)
    entries = [entry.partition("=") for entry in config.adapter_by_language]
    return default, {language: await find(setting) for language, _, setting in entries}


async def check_adapter(engine: HttpEngine, folder: Path) -> None:
    """Check whether the adapter in ``folder`` (absolute) fits the engine's model, without loading it. Raises
    MidfillError."""
    await _ask(engine, "/midfill/check_adapter", {"lora_path": str(folder)})


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

    def __init__(self, engine: HttpEngine | Wary, folders: Mapping[str, Path]) -> None:
        self._engine, self._folders = engine, folders

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        try:
            async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    yield delta
            return
        except AdapterMissingError as error:
            # Nothing waits for a background request, and the adapter that it would replace is in use.
            folder = self._folders.get(request.adapter or "")
            if request.background or folder is None:
                raise
            missing = error
        try:
            await _load(self._engine, str(request.adapter), folder)
        except MidfillError as error:
            raise EngineError(error.message, error.remedy) from missing
        async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                yield delta

    async def aclose(self) -> None:
        """Do nothing: the engine belongs to the caller."""


async def _load(engine: HttpEngine | Wary, name: str, folder: Path) -> None:
    await _ask(engine, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})


async def _ask(engine: HttpEngine | Wary, route: str, body: dict[str, str]) -> None:
    try:
        answer = await engine.client.post(route, json=body, timeout=120)
        content = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise EngineError("the engine did not answer while reading the adapter", "run: midfill doctor") from error
    if answer.status_code != 200:
        refusal = content.get("error") or {}
        raise MidfillError(str(refusal.get("message", "the adapter was refused")), str(refusal.get("remedy", "")))
