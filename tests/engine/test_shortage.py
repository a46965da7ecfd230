"""Memory that runs out: the message says what happens, for one minute; three failures in a row end the engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import torch

from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.shortage import MIN_TOKENS, RESERVE_BYTES, SHORTER_S, Shortage, is_out_of_memory
from midfill.engine.suspects import Suspects, WorkLog, digest, unfinished
from midfill.types import ModelInfo
from tests.engine.made import save_tiny

INFO = ModelInfo("m", "", None, 768, 2048, "cpu", "float32")


def _torchs_own() -> RuntimeError:
    """The error that torch raises if the machine has too little memory."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    return caught.value


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (_torchs_own(), True),
        (OSError(12, "Cannot allocate memory"), True),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("can't start new thread"), True),
        (ImportError("a.so: failed to map segment from shared object"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_what_counts_as_memory_that_ran_out(error: Exception, is_it: bool) -> None:
    assert is_out_of_memory(error) is is_it


def test_halved_for_a_minute_and_then_as_before() -> None:
    now = [0.0]
    subject = Shortage(lambda: now[0])
    assert subject.applied(INFO) == INFO
    subject.hit(700, 768)
    assert (subject.applied(INFO).context_tokens, subject.most_tokens) == (384, 384)
    assert subject.applied(INFO).max_context == INFO.max_context
    now[0] = SHORTER_S - 1
    subject.hit(384, 768)
    assert (subject.applied(INFO).context_tokens, subject.most_tokens) == (192, 192)
    for _ in range(9):
        subject.hit(192, 768)
    assert subject.applied(INFO).context_tokens == MIN_TOKENS
    now[0] += SHORTER_S
    assert (subject.applied(INFO), subject.most_tokens) == (INFO, 0)
    subject.hit(1600, 768)  # of a user who set a longer context: half of that
    assert (subject.applied(INFO).context_tokens, subject.most_tokens) == (384, 800)


def test_three_in_a_row() -> None:
    subject = Shortage(lambda: 0.0)
    for went_well in (False, False, True, False, False):
        assert not subject.is_over
        subject.went_well() if went_well else subject.hit(9, 768)
    assert not subject.is_over
    subject.hit(9, 768)
    assert subject.is_over


def test_a_front_end_asks_for_less(tmp_path: Path) -> None:
    from midfill.client.scripted import CharRenderer
    from midfill.completer import Completer
    from midfill.config import Config
    from midfill.engine.scripted import ScriptedEngine

    subject = Shortage(lambda: 0.0)
    subject.hit(1500, 768)
    for config, before, after in ((Config(), 768, 384), (Config(context_tokens=1500), 1500, 750)):
        completer = Completer(ScriptedEngine(["x"]), CharRenderer(), INFO, config)
        assert completer.budget == before
        completer.info = subject.applied(INFO)
        assert completer.budget == after


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@pytest.fixture
async def engine(folder: Path, tmp_path: Path) -> AsyncIterator[LocalEngine]:
    suspects = Suspects(tmp_path / "suspects")
    suspects.add([digest((7, 7, 7))])
    subject = LocalEngine(
        str(folder), device="cpu", dtype="float32", suspects=suspects, work_log=WorkLog(tmp_path / "work")
    )
    subject.start()
    async with asyncio.timeout(300):
        while subject.info is None:
            await asyncio.sleep(0.02)
    yield subject
    await subject.aclose()


async def whole(engine: LocalEngine, prompt: tuple[int, ...]) -> str:
    return "".join([delta.text async for delta in engine.stream(GenerateRequest(prompt, 4))])


async def test_an_engine_without_memory(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real allocator refuses: the request fails alone, the limit is told, and the third in a row ends the engine.
    A prompt of which an engine died is refused before anything is computed, and what is worked on is written down."""
    forward, seen = engine.thread.runner.forward, list[list[str]]()

    def refused_for_long_ones(batch: Any, *rest: Any) -> list[torch.Tensor]:
        seen.append(unfinished(tmp_path / "work"))
        if any(len(rows.slot.ids) > 100 for rows in batch):
            torch.empty(1 << 60)
        return forward(batch, *rest)

    monkeypatch.setattr(engine.thread.runner, "forward", refused_for_long_ones)
    short, long = (1, 2, 3), tuple(range(1, 141))
    assert engine.info is not None
    usual = engine.info.context_tokens
    said = await whole(engine, short)
    assert seen[0] == [digest(short)]
    assert unfinished(tmp_path / "work") == []
    n_steps = len(seen)
    with pytest.raises(EngineError, match="crashed on this prompt"):
        await whole(engine, (7, 7, 7))
    assert len(seen) == n_steps
    for _ in range(2):
        with pytest.raises(EngineError, match="the machine ran out of memory"):
            await whole(engine, long)
    assert engine.info.context_tokens == usual // 4
    assert engine.info.most_tokens == max(usual // 4, MIN_TOKENS)
    assert all(not slot.keys for slot in engine.thread.slots.slots)
    with pytest.raises(EngineError, match="memory is short: prompts of 400 tokens are refused for now"):
        await whole(engine, tuple(range(1, 201)) * 2)
    assert await whole(engine, short) == said
    assert engine.status.state == "ready"
    for _ in range(3):
        with pytest.raises(EngineError, match="the machine ran out of memory"):
            await whole(engine, long[:120])
    assert str(engine.status.state) == "error"
    assert engine.status.message == "the engine ran out of memory 3 times in a row"
    with pytest.raises(EngineError, match="shutting down"):
        await whole(engine, short)
    assert unfinished(tmp_path / "work") == []


async def test_a_request_that_breaks_before_its_first_step_fails_alone(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = engine.thread.slots.take

    def broken(prompt: Any, *rest: Any) -> Any:
        if len(prompt) == 4:
            raise MemoryError
        if len(prompt) == 5:
            raise RuntimeError("odd")
        return take(prompt, *rest)

    said = await whole(engine, (1, 2, 3))
    monkeypatch.setattr(engine.thread.slots, "take", broken)
    with pytest.raises(EngineError, match="ran out of memory"):
        await whole(engine, (1, 2, 3, 4))
    with pytest.raises(EngineError, match=r"the generation failed \(RuntimeError\)"):
        await whole(engine, (1, 2, 3, 4, 5))
    async for _ in engine.stream(GenerateRequest((1, 2, 3), 4, forced_prefix="\ud83d")):  # a lone surrogate
        pass
    assert await whole(engine, (1, 2, 3)) == said


async def test_progress_is_counted_by_layer(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long prompt on a slow machine counts as progress; a worker that hangs does not, even while requests wait."""
    before = engine.n_progress
    await whole(engine, tuple(range(1, 200)))
    assert engine.n_progress - before > 3 * 3  # layers, and steps
    while engine.busy:
        await asyncio.sleep(0.01)
    hanging = asyncio.ensure_future(engine.block(1.0))
    await asyncio.sleep(0.3)
    seen = engine.n_progress
    waiting = asyncio.ensure_future(whole(engine, (1, 2)))
    await asyncio.sleep(0.3)
    assert engine.busy
    assert engine.n_progress == seen
    await hanging
    await waiting


def test_what_is_in_reserve_is_given_back_while_memory_is_short() -> None:
    now = [0.0]
    shortage = Shortage(lambda: now[0])
    assert len(shortage._reserve) == RESERVE_BYTES
    shortage.hit(1500, 1024)
    assert not shortage._reserve
    shortage.went_well()  # a short prompt: it is needed still
    assert not shortage._reserve
    now[0] = SHORTER_S + 1
    shortage.went_well()
    assert len(shortage._reserve) == RESERVE_BYTES
