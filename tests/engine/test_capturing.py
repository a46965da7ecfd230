"""Which graphs are made and dropped, and by which pass, with captures that capture nothing (graphs_made.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.forward import cuda_graphs as cuda
from midfill.engine.local.forward import eager, memory_plan
from midfill.engine.local.forward import fixed_shape as static
from midfill.engine.local.forward.attention import ROWWISE
from midfill.engine.local.forward.cuda_graphs import StaticDecoder
from midfill.engine.local.forward.cuda_setup import static_decoder
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.kv_cache import KVSlots, Slot
from midfill.engine.local.thread import EngineThread
from tests.engine.graphs_made import PLENTY, Pretended, decoder, slot_of
from tests.engine.made import load_tiny, save_tiny
from tests.engine.test_decode import answer, prompt
from tests.engine.test_engine import asked, running, whole


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


class TestCapturing:
    """Which graphs are made, with a capture that captures nothing."""

    @pytest.fixture
    def runner(self, tmp_path: Path, pretended: list[Pretended]) -> Runner:
        loaded = load_tiny(save_tiny("llama", tmp_path / "llama"))
        runner = Runner(loaded.model)
        runner.static = static_decoder(runner, 600, loaded.max_context, 2, free=PLENTY)
        return runner

    def test_missed_ones_first_and_then_all(self, runner: Runner, pretended: list[Pretended]) -> None:
        static_ = decoder(runner)
        plain = answer(runner, slot_of(runner), prompt(20), n=3)  # no graph yet: as elsewhere
        assert len(plain) == 3
        static_.capture_next()
        assert list(pretended[0].steps) == [cuda.GraphKey(0, 1, 512, False)]
        while static_.pending:
            static_.capture_next()
        n_buckets = len(memory_plan.buckets(static_.capacity, 1024))
        assert len(pretended[0].steps) == static_.n_graphs == 2 * n_buckets * len(memory_plan.N_ROWS)
        assert answer(runner, slot_of(runner), prompt(20), n=3) == plain
        assert pretended[0].replayed

    def test_the_engine_captures_while_nobody_asks(
        self, folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, pretended: list[Pretended]
    ) -> None:
        """First completions without any graph, then others by replaying, with adapters: the same text."""

        def fixed(engine: EngineThread, loaded: LoadedModel, budget: int) -> tuple[KVSlots, int]:
            runner = engine.runner
            runner.static = static_decoder(runner, 256, loaded.max_context, 2, free=PLENTY)
            return KVSlots(slots=runner.static.slots), runner.static.capacity - ROWWISE

        async def ask_all(engine: LocalEngine) -> list[str]:
            await engine.load_adapter("x", folders(1))
            return [(await whole(engine, asked(length=60, adapter=name)))[0] for name in (None, "x", None, "x")]

        async def through() -> None:
            async with running(str(folders()), dtype="float32") as engine:
                wanted = await ask_all(engine)
            monkeypatch.setattr(EngineThread, "_make_slots", fixed)
            async with running(str(folders()), dtype="float32") as engine:
                assert engine.info is not None
                assert engine.info.max_context < 2048  # what its slots hold
                static_ = decoder(engine.thread.runner)
                assert await ask_all(engine) == wanted
                while static_.pending:
                    await asyncio.sleep(0.01)
                for graphs in pretended:
                    graphs.replayed.clear()
                assert await ask_all(engine) == wanted
                assert [{key.adapted for key in graphs.replayed} for graphs in pretended] == [{False}, {True}]

        with torch.inference_mode(False):
            asyncio.run(through())

    def test_capturing_does_not_touch_what_slots_hold(self, runner: Runner) -> None:
        slot = slot_of(runner)
        answer(runner, slot, prompt(30), n=2)
        end = decoder(runner).capacity
        before = [t[:, :end].clone() for t in (*slot.keys, *slot.values)]
        decoder(runner).aim_behind_the_end()
        for n_rows in memory_plan.N_ROWS:
            decoder(runner)._compute(cuda.GraphKey(0, n_rows, 512, False))
        assert all(torch.equal(t[:, :end], was) for t, was in zip((*slot.keys, *slot.values), before, strict=True))

    def test_a_model_that_cannot_be_captured_runs_on(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

        monkeypatch.setattr(Pretended, "capture", fail)
        decoder(runner).capture_next()
        assert not decoder(runner).pending
        assert len(answer(runner, slot_of(runner), prompt(20), n=3)) == 3

    def test_closed_it_runs_on_without_graphs(self, runner: Runner, pretended: list[Pretended]) -> None:
        decoder(runner).capture_next()
        decoder(runner).close()
        assert (decoder(runner).n_graphs, decoder(runner).pending, pretended[0].n_dropped) == (0, False, 1)
        assert len(answer(runner, slot_of(runner), prompt(20), n=3)) == 3


def test_a_model_without_a_pass_of_ours_says_so(
    tmp_path: Path, pretended: list[Pretended], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load_tiny(save_tiny("starcoder2", tmp_path / "starcoder2"))
    runner = Runner(loaded.model)
    runner.static = static_decoder(runner, 600, loaded.max_context, 1, free=PLENTY)
    assert not decoder(runner).pending
    assert "no CUDA graphs: Starcoder2ForCausalLM" in caplog.text


class Copied:
    """A pass that computes the same as the eager one, or nearly."""

    def __init__(self, more: float = 0.0, error: Exception | None = None) -> None:
        self.more, self.error, self.n = more, error, 0

    def __call__(
        self, decoder: Any, ids: torch.Tensor, positions: torch.Tensor, slot: Slot, adapter: Any
    ) -> torch.Tensor:
        self.n += 1
        if self.error is not None:
            raise self.error
        step, keep = static.StaticStep(slot, positions, slot.capacity), torch.arange(len(ids))
        logits = eager.forward(decoder, ids, positions, keep, step, adapter, lambda: None)
        return logits + self.more * logits.abs().mean()


class TestChoosing:
    """Which pass computes the steps."""

    @pytest.fixture
    def steps(self, tmp_path: Path, pretended: list[Pretended], monkeypatch: pytest.MonkeyPatch) -> StaticDecoder:
        """As on a GPU, where a step of the eager pass takes 2 ms and one of the other pass 1 ms."""
        loaded = load_tiny(save_tiny("llama", tmp_path / "llama"))
        found = static_decoder(Runner(loaded.model), 600, loaded.max_context, 2, free=PLENTY)
        monkeypatch.setattr(StaticDecoder, "_seconds", lambda self, key: 2e-3 if self._fused is None else self.fused_s)
        found.fused_s = 1e-3  # type: ignore[attr-defined]
        return found

    def test_the_quicker_one_that_gives_the_same(self, steps: StaticDecoder) -> None:
        """It reads the length on the device, so one graph for each number of rows is enough."""
        other = Copied(more=0.01)
        steps.choose(other)
        assert steps._fused is other
        assert len(steps._to_warm) == 2 * len(memory_plan.N_ROWS)
        assert not any(buffer.any() for slot in steps.slots for buffer in (*slot.keys, *slot.values))

    @pytest.mark.parametrize(
        ("other", "fused_s"),
        [
            (Copied(), 3e-3),  # slower
            (Copied(more=0.5), 1e-3),  # another result
            (Copied(more=float("nan")), 1e-3),
            (Copied(error=TypeError("no compiler here")), 1e-3),
        ],
    )
    def test_otherwise_the_eager_one(self, steps: StaticDecoder, other: Copied, fused_s: float) -> None:
        steps.fused_s = fused_s  # type: ignore[attr-defined]
        steps.choose(other)
        assert steps._fused is None
        assert other.n
        assert len(steps._to_warm) == 2 * len(memory_plan.N_ROWS) * len(memory_plan.buckets(steps.capacity, 1024))
        assert not any(buffer.any() for slot in steps.slots for buffer in (*slot.keys, *slot.values))

    def test_one_that_fails_with_more_rows_does_not_keep_the_engine_from_starting(self, steps: StaticDecoder) -> None:
        other = Copied()
        steps.choose(other)
        other.error = ValueError("17 rows do not compile")
        steps.warm_up()
        assert steps._fused is None
        other.n = 0
        steps.warm_up()
        assert not other.n

    def test_one_that_fails_later_is_given_up(self, steps: StaticDecoder, pretended: list[Pretended]) -> None:
        other = Copied()
        steps.choose(other)
        steps.capture_next()
        other.error = ValueError("a shape that does not compile")
        steps.capture_next()
        assert steps._fused is None
        assert (steps.n_graphs, steps.pending) == (0, True)
        while steps.pending:
            steps.capture_next()
        assert steps.n_graphs == 2 * len(memory_plan.N_ROWS) * len(memory_plan.buckets(steps.capacity, 1024))


class TestAdapters:
    """Graphs over an adapter's buffers."""

    def test_new_buffers_drop_the_graphs_over_the_old_ones_and_no_others(
        self, folders: Callable[..., Path], pretended: list[Pretended]
    ) -> None:
        loaded = load_tiny(folders())
        fixed = Runner(loaded.model)
        fixed.static = static_decoder(fixed, 256, loaded.max_context, 1, free=PLENTY)
        for seed, rank in enumerate((4, 20)):
            adapter = read_adapter(f"a{rank}", folders(seed, r=rank), loaded.model, loaded.base_names)
            answer(fixed, slot_of(fixed), prompt(9), n=2, adapter=adapter)
            while decoder(fixed).pending:
                decoder(fixed).capture_next()
            assert {key.n_rows for key in pretended[1].steps} == {1, 9}
        assert [graphs.n_dropped for graphs in pretended] == [0, 1]
