"""The engine on this machine, used while no replica answers: it is started when it is needed, and no request waits for
it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from midfill.client import spawn
from midfill.client.fallback import LocalFallback
from midfill.config import Config
from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.http import HttpEngine
from midfill.serve.team.listen import Listen
from midfill.types import ModelInfo
from tests.remote.made import Resident
from tests.serve.made import listening
from tests.tokenizers_made import describe

REQUEST = GenerateRequest((1, 2), 8, adapter="of-the-replicas")
CONFIG = Config(engine=("https://ai.example",), engine_fallback="embedded", model="owner/large")


async def said(fallback: LocalFallback) -> str:
    return "".join([delta.text async for delta in fallback.stream(REQUEST)])


def info(folder: Path, name: str) -> ModelInfo:
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(describe(name)), encoding="utf-8")
    return ModelInfo("large", str(folder / "tokenizer.json"), name, 512, 2048, "remote", "remote")


async def test_it_is_started_once_and_asked_as_its_base(
    resident: Resident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Config] = []
    async with listening(resident, Listen("127.0.0.1", 0, tokens=tmp_path / "none.json")) as server:

        async def find_or_spawn(config: Config) -> HttpEngine:
            started.append(config)
            return HttpEngine(server.address.removesuffix("/v1"))

        monkeypatch.setattr(spawn, "find_or_spawn", find_or_spawn)
        fallback = LocalFallback(CONFIG, info(tmp_path / "same", "qwen2.5-coder"))
        with pytest.raises(EngineError, match="is starting"):  # at once: nobody waits
            await said(fallback)
        await _until(fallback)
        assert await said(fallback) == "a + b"
        assert await said(fallback) == "a + b"
        await fallback.aclose()
    assert [(config.model, config.engine) for config in started] == [("embedded", ())]
    assert resident.asked[-1].adapter is None


async def test_another_tokenizer_is_not_asked(
    resident: Resident, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with listening(resident, Listen("127.0.0.1", 0, tokens=tmp_path / "none.json")) as server:

        async def find_or_spawn(config: Config) -> Any:
            return HttpEngine(server.address.removesuffix("/v1"))

        monkeypatch.setattr(spawn, "find_or_spawn", find_or_spawn)
        fallback = LocalFallback(CONFIG, info(tmp_path / "other", "starcoder2"))
        with pytest.raises(EngineError, match="is starting"):
            await said(fallback)
        await _until(fallback)
        with pytest.raises(EngineError, match="has a different tokenizer than the engine elsewhere"):
            await said(fallback)
        await fallback.aclose()
    assert not resident.asked


async def test_one_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_or_spawn(config: Config) -> Any:
        raise EngineError("no space", "free some")

    monkeypatch.setattr(spawn, "find_or_spawn", find_or_spawn)
    fallback = LocalFallback(dataclasses.replace(CONFIG))
    with pytest.raises(EngineError, match="is starting"):
        await said(fallback)
    await _until(fallback)
    with pytest.raises(EngineError, match="no space"):
        await said(fallback)
    await fallback.aclose()


async def _until(fallback: LocalFallback) -> None:
    while fallback._starting is None or not fallback._starting.done():
        await asyncio.sleep(0.01)
