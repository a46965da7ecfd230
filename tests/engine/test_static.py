"""Steps of fixed shape (static.py, cuda.py) give what steps of any shape give. Without a GPU they run kernel by kernel;
the capture itself is in tests/gpu."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AutoModelForCausalLM, MistralConfig

from midfill.engine.local import attention, cuda, static
from midfill.engine.local.adapters import AdapterSwitch, read_adapter
from midfill.engine.local.attention import ROWWISE, Rows
from midfill.engine.local.cuda import StaticDecoder, static_decoder
from midfill.engine.local.decode import Generation, Sampling
from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.kv_cache import KVSlots, Slot
from midfill.engine.local.load import LoadedModel
from midfill.engine.local.prompt_lookup import Drafter
from midfill.types import MidfillError
from tests.engine import made
from tests.engine.made import CONFIGS, load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter
from tests.engine.test_decode import GREEDY, N_NEW, answer, evaluate, prompt, run
from tests.engine.test_engine import asked, running, whole

PLENTY = 1 << 40


@pytest.fixture(scope="module", params=[*CONFIGS, "mistral"])
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    if request.param not in CONFIGS:  # a window, in a model that has a lean forward
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(CONFIGS, "mistral", lambda: MistralConfig(**made._SIZES, sliding_window=16))
            return load_tiny(save_tiny("mistral", tmp_path_factory.mktemp("mistral") / "mistral"))
    return load_tiny(save_tiny(request.param, tmp_path_factory.mktemp(request.param) / request.param))


@pytest.fixture(scope="module")
def dynamic(loaded: LoadedModel) -> Runner:
    return Runner(loaded.model)


@pytest.fixture(scope="module")
def runner(loaded: LoadedModel, dynamic: Runner) -> Runner:
    """The same model, with every step of fixed shape that can be."""
    runner = Runner(loaded.model, dynamic.switch)
    runner.static = static_decoder(runner, 700, loaded.max_context, 2, free=PLENTY, graphs=False)
    return runner


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


def decoder(runner: Runner) -> StaticDecoder:
    assert runner.static is not None
    return runner.static


def slot_of(runner: Runner) -> Slot:
    slot = decoder(runner).slots[0]
    slot.truncate(0)
    return slot


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[cuda.Key]:
    """The steps of fixed shape that were computed."""
    keys: list[cuda.Key] = []
    compute = StaticDecoder._compute

    def counting(self: StaticDecoder, key: cuda.Key) -> torch.Tensor:
        keys.append(key)
        return compute(self, key)

    monkeypatch.setattr(StaticDecoder, "_compute", counting)
    return keys


@pytest.mark.parametrize("length", [1, 5, 40, 507])
def test_the_same_tokens_across_a_bucket_border(
    dynamic: Runner, runner: Runner, counted: list[cuda.Key], length: int
) -> None:
    ids = prompt(length, seed=length)
    assert answer(runner, slot_of(runner), ids) == answer(dynamic, Slot(), ids)
    borders = {512, 1024} if length == 507 else {512}
    assert {key.bucket for key in counted} == borders
    assert len(counted) >= N_NEW - 1


def test_the_same_logits_whatever_fills_the_step_up(dynamic: Runner, runner: Runner) -> None:
    slots = {dynamic: Slot(), runner: slot_of(runner)}
    for one, slot in slots.items():
        evaluate(one, prompt(60), slot)
    for n in (1, 2, 3, 4, 7, 10, ROWWISE):
        more, found = prompt(n, seed=n), []
        for one, slot in slots.items():
            slot.truncate(60)
            slot.ids += more
            slot.known += bytes(n)
            found += one.forward([Rows(slot, more, range(60, 60 + n), n)])
            assert all(slot.known)
        assert found[1].shape == (n, found[0].shape[1])
        torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)
        keys = [slot.keys[2][:, : 60 + n] for slot in slots.values()]
        torch.testing.assert_close(keys[1], keys[0], atol=1e-4, rtol=1e-4)


def test_drafts_are_judged_the_same(dynamic: Runner, runner: Runner, counted: list[cuda.Key]) -> None:
    ids = prompt(30)
    plain = answer(dynamic, Slot(), ids, n=30)
    slot = slot_of(runner)
    slot.begin(ids, None, None)
    generation = Generation(slot, Sampling(), drafter=Drafter([ids[-3:] + plain[:20] + [1, 2, 3]]))
    assert run(runner, generation, 30, max_drafts=16) == plain
    assert generation.n_accepted > 0
    assert len({key.n_rows for key in counted}) > 1


def test_a_gap_in_the_middle_and_a_moved_suffix(dynamic: Runner, runner: Runner) -> None:
    """Suffix shift leaves a few unknown tokens before known ones: a step at positions that are not the last."""
    rotate = dynamic.find_rotation()
    ids = prompt(80)
    typed = [*ids[:40], 7, *ids[40:]]
    said = []
    for one, slot in ((dynamic, Slot()), (runner, slot_of(runner))):
        slot.begin(ids, (40, 75), rotate)
        run(one, Generation(slot, GREEDY), 3)
        n_known = slot.begin(typed, (41, 76), rotate)
        assert n_known >= 70 if rotate else n_known == 40
        said.append(run(one, Generation(slot, GREEDY), N_NEW))
    assert said[0] == said[1]


def test_prompts_and_several_slots_run_as_elsewhere(runner: Runner, counted: list[cuda.Key]) -> None:
    slots = decoder(runner).slots
    for slot in slots:
        slot.truncate(0)
    alone = [answer(runner, slot, prompt(30, seed), n=1) for seed, slot in enumerate(slots)]
    assert not counted
    for seed, slot in enumerate(slots):
        slot.begin(prompt(30, seed), None, None)
    logits = runner.forward([Generation(slot, GREEDY).rows() for slot in slots])
    assert not counted
    assert [[int(rows[-1].argmax())] for rows in logits] == alone


def test_a_growing_slot_is_not_taken(runner: Runner, counted: list[cuda.Key]) -> None:
    answer(runner, Slot(), prompt(10), n=3)
    assert not counted


def test_buffers_stay_where_they_are(runner: Runner) -> None:
    slot = slot_of(runner)
    addresses = [t.data_ptr() for t in (*slot.keys, *slot.values)]
    evaluate(runner, prompt(300), slot)
    other = decoder(runner).slots[1]
    other.copy_beginning(slot, 300)
    assert answer(runner, slot, prompt(20), n=3) == answer(runner, slot, prompt(20), n=3)
    assert [t.data_ptr() for t in (*slot.keys, *slot.values)] == addresses
    slot.truncate(0)
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(runner, prompt(decoder(runner).capacity + 1), slot)
    slot.truncate(0)
    other.truncate(0)


def test_what_another_prompt_left_behind_is_not_seen(dynamic: Runner, runner: Runner) -> None:
    slot = slot_of(runner)
    evaluate(runner, prompt(500, seed=3), slot)
    ids = prompt(10, seed=4)
    assert answer(runner, slot, ids) == answer(dynamic, Slot(), ids)


def test_cancelled_between_steps(runner: Runner) -> None:
    slot = slot_of(runner)
    answer(runner, slot, prompt(10), n=1)
    rows = Generation(slot, GREEDY).rows()
    with pytest.raises(Cancelled):
        runner.forward([rows], lambda: True)
    assert slot.known[rows.positions[0]] == 0


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A base, and adapters of it by seed."""
    base = save_tiny("qwen2", tmp_path_factory.mktemp("base") / "base")

    def make(seed: int | None = None, **settings: Any) -> Path:
        if seed is None:
            return base
        folder = tmp_path_factory.mktemp("adapter") / "adapter"
        with torch.inference_mode(False):
            save_adapter(
                AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder, seed,
                **{"r": 4, "target_modules": "all-linear", **settings},
            )  # fmt: skip
        return folder

    return make


class TestAdapters:
    """Adapters from buffers of fixed rank."""

    @pytest.fixture
    def pair(self, folders: Callable[..., Path]) -> tuple[LoadedModel, Runner, Runner]:
        loaded = load_tiny(folders())
        switch = AdapterSwitch(loaded.device)
        plain, fixed = Runner(loaded.model), Runner(loaded.model)
        fixed.static = static_decoder(fixed, 256, loaded.max_context, 1, free=PLENTY, graphs=False)
        return loaded, plain, fixed

    def test_the_same_answers(
        self, folders: Callable[..., Path], pair: tuple[LoadedModel, Runner, Runner], counted: list[cuda.Key]
    ) -> None:
        loaded, plain, fixed = pair
        switch, ids = plain.switch, prompt(20)
        settings: list[dict[str, Any]] = [{}, {"target_modules": ["q_proj", "down_proj"]}, {"r": 40, "lora_alpha": 9}]
        for seed, one in enumerate(settings):
            name = f"a{seed}"
            switch.add(read_adapter(name, folders(seed, **one), loaded.model, loaded.base_names))
        first = {}
        turns: tuple[str | None, ...] = ("a0", "a1", "a2", "a1", None, "a0", "a1", None)
        for turn in turns:
            switch.active = switch.adapters[turn] if turn else None
            slot = slot_of(fixed)
            found, wanted = evaluate(fixed, ids, slot), evaluate(plain, ids, Slot())
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
            assert answer(fixed, slot_of(fixed), ids) == answer(plain, Slot(), ids), turn
            first[turn] = found
            assert switch.active is (switch.adapters[turn] if turn else None)
        switch.active = None
        assert all(float((a - b).abs().max()) > 0.05 for a, b in itertools.combinations(first.values(), 2))
        assert {key.adapted for key in counted} == {False, True}

    def test_only_a_larger_one_needs_other_buffers(
        self, folders: Callable[..., Path], pair: tuple[LoadedModel, Runner, Runner]
    ) -> None:
        loaded, _, fixed = pair
        switch = fixed.switch
        for seed, rank in enumerate((4, 16, 17)):
            adapter = read_adapter(f"a{rank}", folders(seed, r=rank), loaded.model, loaded.base_names)
            switch.add(adapter)
            switch.active = adapter
            answer(fixed, slot_of(fixed), prompt(9), n=2)
            if rank == 4:
                buffers = decoder(fixed).lora
            assert (decoder(fixed).lora is buffers) == (rank <= 16)  # 4 makes room for 16
        switch.active = switch.adapters["a4"]
        buffers = decoder(fixed).lora
        answer(fixed, slot_of(fixed), prompt(9), n=2)
        assert decoder(fixed).lora is buffers
        switch.active = None


def test_python_does_not_run_far_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []

    class Event:
        n = 0

        def record(self) -> None:
            Event.n += 1
            self.number = Event.n

        def synchronize(self) -> None:
            log.append(f"{Event.n} waits for {self.number}")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    pace = cuda.Pace()
    for _ in range(6):
        pace()
    assert log == ["5 waits for 1", "6 waits for 2"]


class TestPlan:
    """How many slots of which size."""

    @pytest.mark.parametrize(
        ("gib", "wanted"),
        [
            (60, static.Plan(4, 8192)),  # more than enough
            (2.4, static.Plan(1, 4352)),  # CodeGemma-7B in four bits on 8 GB
            (4.0, static.Plan(3, 2560)),
        ],
    )
    def test_by_the_memory(self, gib: float, wanted: static.Plan) -> None:
        assert static.plan(int(gib * 2**30), 28 * 2 * 4096 * 2, 2048, 8192, 4) == wanted

    def test_never_longer_than_the_model(self) -> None:
        assert static.plan(1 << 40, 1000, 500, 1000, 4).capacity == 1024

    def test_no_room_at_all(self) -> None:
        with pytest.raises(MidfillError, match="no room") as caught:
            static.plan(1 << 30, 28 * 2 * 4096 * 2, 2048, 8192, 4)
        assert "int4" in caught.value.remedy

    def test_buckets(self) -> None:
        assert static.buckets(2560) == (512, 1024, 2048, 2560)
        assert static.buckets(256) == (256,)
        assert static.smallest((512, 1024), 513) == 1024


@pytest.mark.parametrize("softcap", [None, 5.0])
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("heads", [2, 6])
def test_attention_over_a_bucket_is_attention_over_the_sequence(
    heads: int, window: int | None, softcap: float | None
) -> None:
    torch.manual_seed(0)
    wanted_slot, slot = Slot(), Slot([torch.zeros(2, 50, 8)], [torch.zeros(2, 50, 8)], capacity=40)
    for one in (wanted_slot, slot):
        one.ids, one.known = [1] * 30, bytearray(30)
    before = torch.randn(2, 2, 27, 8)
    wanted_slot.write(0, torch.arange(27), *before)
    slot.keys[0][:, :27], slot.values[0][:, :27] = before
    slot.keys[0][:, 27:] = 99.0
    q, k, v = torch.randn(heads, 3, 8), torch.randn(2, 3, 8), torch.randn(2, 3, 8)
    wanted = attention.Step.of([Rows(wanted_slot, [1] * 3, range(27, 30))], q.device)
    found = static.StaticStep(slot, torch.arange(27, 30), 32)
    torch.testing.assert_close(
        found.attend(0, q, k, v, None, window, softcap), wanted.attend(0, q, k, v, None, window, softcap)
    )


def test_attention_without_a_mask_is_that_with_one() -> None:
    q, keys, values = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    for end in (5, 12):
        mask = attention._mask(end - 5, 5, 0, end, None, q.device)
        some = keys[:, :, :end], values[:, :, :end]
        torch.testing.assert_close(
            attention.causal(q, *some, None), scaled_dot_product_attention(q, *some, attn_mask=mask)
        )


class _Pretended:
    """A graph for machines that have none: replaying it computes the step again."""

    def __init__(self, decoder: StaticDecoder, key: cuda.Key, replayed: list[cuda.Key]) -> None:
        self._decoder, self._key, self._replayed = decoder, key, replayed
        decoder.aim_behind_the_end()
        self.graph, self.logits = self, decoder._compute(key)

    def replay(self) -> None:
        self._replayed.append(self._key)
        self.logits.copy_(self._decoder._compute(self._key))


class TestCapturing:
    """Which graphs are made, with a capture that is none."""

    @pytest.fixture
    def runner(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
        loaded = load_tiny(save_tiny("llama", tmp_path / "llama"))
        runner = Runner(loaded.model)
        runner.static = static_decoder(runner, 600, loaded.max_context, 2, free=PLENTY)
        return runner

    def test_missed_ones_first_and_then_all(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        made_: list[cuda.Key] = []
        monkeypatch.setattr(StaticDecoder, "_capture", lambda self, key: made_.append(key))
        static_ = decoder(runner)
        plain = answer(runner, slot_of(runner), prompt(20), n=3)  # no graph yet: as elsewhere
        assert len(plain) == 3
        static_.capture_next()
        assert made_ == [cuda.Key(0, 1, 512, False)]
        while static_.pending:
            static_.capture_next()
        n_buckets = len(static.buckets(static_.capacity))
        assert len(made_) == len(set(made_)) == static_.n_graphs == 2 * n_buckets * len(static.N_ROWS)

    def test_the_engine_captures_while_nobody_asks(
        self, folders: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """First completions before there is any graph, later ones by replaying, with adapters: the same text."""
        replayed: list[cuda.Key] = []

        def fixed(engine: LocalEngine, loaded: LoadedModel, budget: int) -> tuple[KVSlots, int]:
            runner = engine._runner
            runner.static = static_decoder(runner, 256, loaded.max_context, 2, free=PLENTY)
            return KVSlots(slots=runner.static.slots), runner.static.capacity - ROWWISE

        async def ask_all(engine: LocalEngine) -> list[str]:
            await engine.load_adapter("x", folders(1))
            return [(await whole(engine, asked(length=60, adapter=name)))[0] for name in (None, "x", None, "x")]

        async def through() -> None:
            async with running(str(folders()), dtype="float32") as engine:
                wanted = await ask_all(engine)
            monkeypatch.setattr(LocalEngine, "_make_slots", fixed)
            monkeypatch.setattr(StaticDecoder, "_capture", lambda self, key: _Pretended(self, key, replayed))
            async with running(str(folders()), dtype="float32") as engine:
                assert engine.info is not None
                assert engine.info.max_context < 2048  # what its slots hold
                static_ = decoder(engine._runner)
                assert await ask_all(engine) == wanted
                while static_.pending:
                    await asyncio.sleep(0.01)
                replayed.clear()
                assert await ask_all(engine) == wanted
                assert {key.adapted for key in replayed} == {False, True}

        with torch.inference_mode(False):
            asyncio.run(through())

    def test_capturing_does_not_touch_what_slots_hold(self, runner: Runner) -> None:
        slot = slot_of(runner)
        answer(runner, slot, prompt(30), n=2)
        end = decoder(runner).capacity
        before = [t[:, :end].clone() for t in (*slot.keys, *slot.values)]
        decoder(runner).aim_behind_the_end()
        for n_rows in static.N_ROWS:
            decoder(runner)._compute(cuda.Key(0, n_rows, 512, False))
        assert all(torch.equal(t[:, :end], was) for t, was in zip((*slot.keys, *slot.values), before, strict=True))

    def test_a_model_that_cannot_be_captured_runs_on(self, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(self: StaticDecoder, key: cuda.Key) -> None:
            raise RuntimeError("operation not permitted when stream is capturing")

        monkeypatch.setattr(StaticDecoder, "_capture", fail)
        decoder(runner).capture_next()
        assert not decoder(runner).pending
        assert len(answer(runner, slot_of(runner), prompt(20), n=3)) == 3


def test_the_engine_on_slots_of_fixed_size(runner: Runner) -> None:
    """KVSlots over them hands them out as any."""
    for slot in decoder(runner).slots:
        slot.truncate(0)
    slots = KVSlots(slots=decoder(runner).slots)
    first, _ = slots.take(prompt(50), None)
    said = run(runner, Generation(first, GREEDY), 5)
    second, n_cached = slots.take([*prompt(50)[:45], 7], None)
    assert (n_cached, second is first) == (45, False)
    slots.release(first)
    slots.release(second)
    again, n_cached = slots.take(prompt(50), None)
    assert (again is first, n_cached) == (True, 49)
    assert run(runner, Generation(again, GREEDY), 5) == said
    slots.release(again)
