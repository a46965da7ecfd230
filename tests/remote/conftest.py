"""A folder with the tokenizer that the engines have, and ways to connect to them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from midfill import fim
from midfill.config import Config
from midfill.engine.base import GenerateRequest
from midfill.fim import FimRenderer
from midfill.remote.connect import Remote, connect
from midfill.remote.vocabulary import InlineVocabulary, Vocabulary
from midfill.tokenizer import CodeTokenizer
from midfill.types import ModelInfo
from tests.remote.made import Resident
from tests.remote.mocks import Mock
from tests.tokenizers_made import describe

Connect = Callable[..., AbstractAsyncContextManager[Remote]]


@pytest.fixture(autouse=True)
def without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIDFILL_ENGINE_KEY", raising=False)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with only the tokenizer of the engines' model."""
    folder = tmp_path / "made-coder"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
    return str(folder)


@pytest.fixture
def connected(model: str) -> Connect:
    """Connect to mocks with settings; the tokenizer is in this process."""

    @asynccontextmanager
    async def enter(*mocks: Mock, cancel: bool = False, **settings: Any) -> AsyncIterator[Remote]:
        settings.setdefault("engine", tuple(mock.url for mock in mocks))
        config = Config(model=model, **settings)
        remote = await connect(config, vocabulary, cancel=cancel)
        try:
            yield remote
        finally:
            await remote.engine.aclose()

    return enter


@pytest.fixture
def resident(tmp_path: Path) -> Resident:
    (tmp_path / "tokenizer.json").write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
    made = Resident()
    file = str(tmp_path / "tokenizer.json")
    made.info = ModelInfo("made", file, "qwen2.5-coder", 512, 2048, "cpu", "float32")
    return made


async def vocabulary(file: Path, model: str) -> Vocabulary:
    tokenizer = CodeTokenizer.from_file(file)
    return InlineVocabulary(FimRenderer(fim.find("auto", tokenizer, model), tokenizer))


async def text_of(remote: Remote, request: GenerateRequest) -> str:
    return "".join([delta.text async for delta in remote.engine.stream(request)])
