"""The front end against real vLLM: the same answers, adapters by language and replaced, cancels, failing over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midfill.commands.session import session
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import EngineError, GenerateRequest
from midfill.remote import probe, published
from midfill.remote.client import RemoteEngine
from midfill.remote.published import publish, roll_back
from midfill.remote.replicas import Replicas, ranked
from midfill.types import Snapshot
from tests.support import at
from tests.vllm.conftest import KEY, Vllm, start, stronger

pytestmark = pytest.mark.vllm

HOLES = (
    at("def add(a, b):\n    return ‸\n"),
    at("import os\n\n\ndef size(path):\n    return os.path.‸\n"),
    at("class Point:\n    def __init__(self, x, y):\n        self.x = x\n        ‸\n"),
    at("for name in names:\n    print(‸)\n"),
)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_ENGINE_KEY", KEY)
    monkeypatch.setattr(published, "LOOK_S", 0.0)


@asynccontextmanager
async def asking(model: Path, *engines: Vllm, **settings: Any) -> AsyncIterator[Completer]:
    urls = tuple(engine.url for engine in engines)
    config = Config(engine=urls, model=str(model), engine_deadline_s=120.0, **settings)
    async with session(config) as completer:
        yield completer


def replica(completer: Completer) -> RemoteEngine:
    assert isinstance(completer.engine, Replicas)
    engine = next(iter(completer.engine.replicas.values())).engine
    assert isinstance(engine, RemoteEngine)
    return engine


async def test_the_table(vllm: Vllm, embedded_folder: Path) -> None:
    async with asking(embedded_folder, vllm, adapter="none") as completer:
        found = replica(completer).capabilities
        cancel = await probe.cancelled(replica(completer))
    assert (found.kind, found.returns_ids, found.tells_logprobs, found.has_priority) == ("vllm", True, True, True)
    assert found.same_ids
    assert found.gives_several
    assert cancel.freed_s is not None, str(cancel)


async def test_the_same_as_our_own_engine(vllm: Vllm, embedded_folder: Path, adapters: Path) -> None:
    """Greedy, in the same number format, without what only our engine does (healing, favoured names): answers, three
    candidates for one place, and what the embedded adapter, which is published as "mine", makes of it."""
    plain: dict[str, Any] = {"token_healing": False, "favour_names": False}
    async with asking(embedded_folder, vllm, adapter="mine", engine_adapters=str(adapters), **plain) as completer:
        theirs = await _said(completer)
    ours_config = Config(
        model="embedded", dtype="float32", suffix_shift="off", adapter="embedded", engine_idle_exit_s=5.0, **plain
    )
    async with session(ours_config) as completer:
        ours = await _said(completer)
    assert theirs == ours
    adapted, candidates, answers = ours
    assert adapted != candidates[0]
    assert len(set(candidates.values())) == 3
    assert all(answers)


async def test_an_adapter_for_each_language(vllm: Vllm, embedded_folder: Path, adapters: Path) -> None:
    settings: dict[str, Any] = {
        "engine_adapters": str(adapters),
        "adapter": "mine",
        "adapters": ("go=other", "rust=none"),
    }
    async with asking(embedded_folder, vllm, **settings) as completer:
        assert [completer.adapter_of(Snapshot("", 0, language, "", 0)) for language in ("python", "go", "rust")] == [
            "mine",
            "other",
            None,
        ]
        listed = [await _text(completer, adapter) for adapter in ("mine", "other", None)]
    assert len(set(listed)) > 1


async def test_an_adapter_is_replaced_while_it_serves(
    vllm: Vllm, embedded_folder: Path, adapters: Path, tmp_path: Path
) -> None:
    source = _published("mine", adapters)
    async with asking(embedded_folder, vllm, engine_adapters=str(adapters), adapter="mine") as completer:
        before = await _text(completer, "mine")
        publish("mine", stronger(source, tmp_path / "next", 40.0), adapters, base=str(embedded_folder))
        assert await _text(completer, "mine") != before  # nothing of the old one's prefix cache
        roll_back("mine", adapters)
        assert await _text(completer, "mine") == before


async def test_one_of_two_is_killed_in_mid_stream(
    vllm: Vllm, python: Path, embedded_folder: Path, adapters: Path, logs: Path
) -> None:
    second = await asyncio.to_thread(start, python, embedded_folder, adapters, logs / "second.log")
    try:
        async with asking(embedded_folder, vllm, second, adapter="none") as completer:
            engine = completer.engine
            assert isinstance(engine, Replicas)
            session_id = next(s for s in map(str, range(100)) if ranked(list(engine.replicas), s)[0] == second.host)
            ids = tuple(await replica(completer).vocabulary.encode(probe.LINE * 4))
            stream = engine.stream(GenerateRequest(ids, 400, request_id="killed", session=session_id))
            assert (await anext(stream)).text
            second.kill()
            with pytest.raises(EngineError):
                async for _ in stream:
                    pass
            again = GenerateRequest(ids, 8, request_id="again", session=session_id)
            assert [delta async for delta in engine.stream(again)][-1].finish_reason == "length"
    finally:
        second.kill()


async def _said(completer: Completer) -> tuple[str, dict[int, str], list[str]]:
    """With its adapter, three candidates of the plain base at the same place, and the middles that are shown."""
    adapted = await _text(completer, completer.adapter)
    completer.use_adapters(None, {})
    candidates = await _candidates(completer, 3)
    return adapted, candidates, [(await completer.last(hole)).text for hole in HOLES]


async def _candidates(completer: Completer, n: int) -> dict[int, str]:
    """The text of each, by its index."""
    prompt = await completer.renderer.render(HOLES[2], (), 512)
    texts = dict.fromkeys(range(n), "")
    async for delta in completer.engine.stream(GenerateRequest(prompt.ids, 24, n=n, logprobs=True, request_id="some")):
        texts[delta.index] += delta.text
    return texts


async def _text(completer: Completer, adapter: str | None) -> str:
    prompt = await completer.renderer.render(replace(HOLES[2], uri="file:///w/p.py"), (), 512)
    request = GenerateRequest(prompt.ids, 24, adapter=adapter, request_id="one")
    return "".join([delta.text async for delta in completer.engine.stream(request)])


def _published(name: str, folder: Path) -> Path:
    pointer = published.read_pointer(name, folder)
    assert pointer is not None
    return folder / pointer.current
