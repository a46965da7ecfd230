"""Steps of fixed shape (static.py, cuda.py) give what steps of any shape give. Without a GPU they run kernel by kernel;
the capture itself is in tests/gpu."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from midfill.engine.local.forward import attention
from midfill.engine.local.forward import cuda_graphs as cuda
from midfill.engine.local.forward import fixed_shape as static
from midfill.engine.local.forward.attention import ROWWISE, Rows
from midfill.engine.local.forward.cuda_graphs import StaticDecoder
from midfill.engine.local.forward.cuda_setup import static_decoder
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.lora.adapter import Adapter, ResidentAdapters, read_adapter
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.kv_cache import KVSlots, Slot
from midfill.engine.local.sequence.prompt_lookup import Drafter
from tests.engine.graphs_made import PLENTY, decoder, slot_of
from tests.engine.made import DECODERS, load_tiny, save_tiny
from tests.engine.test_decode import GREEDY, N_NEW, answer, evaluate, prompt, run


@pytest.fixture(scope="module", params=DECODERS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny(save_tiny(request.param, tmp_path_factory.mktemp(request.param) / request.param))


@pytest.fixture(scope="module")
def dynamic(loaded: LoadedModel) -> Runner:
    return Runner(loaded.model)


@pytest.fixture(scope="module")
def runner(loaded: LoadedModel, dynamic: Runner) -> Runner:
    """Return a runner of the same model in which every step has a fixed shape if it can."""
    runner = Runner(loaded.model)
    runner.static = static_decoder(runner, 700, loaded.max_context, 2, free=PLENTY, graphs=False)
    return runner


@pytest.mark.parametrize("kind", ["gemma3", "starcoder2"])
def test_transformers_modules_get_the_slots_and_no_more(
    kind: str, counted: list[cuda.GraphKey], tmp_path: Path
) -> None:
    loaded = load_tiny(save_tiny(kind, tmp_path / kind))
    plain, fixed = Runner(loaded.model), Runner(loaded.model)
    fixed.static = static_decoder(fixed, 256, loaded.max_context, 2, free=PLENTY)
    assert not fixed.static.pending
    counted.clear()
    assert answer(fixed, slot_of(fixed), prompt(30)) == answer(plain, Slot(), prompt(30))
    assert not counted


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[cuda.GraphKey]:
    """Return the steps of fixed shape that were computed."""
    keys: list[cuda.GraphKey] = []
    compute = StaticDecoder._compute

    def counting(self: StaticDecoder, key: cuda.GraphKey) -> None:
        keys.append(key)
        compute(self, key)

    monkeypatch.setattr(StaticDecoder, "_compute", counting)
    return keys


@pytest.mark.parametrize("length", [1, 5, 40, 507])
def test_the_same_tokens_across_a_bucket_border(
    dynamic: Runner, runner: Runner, counted: list[cuda.GraphKey], length: int
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


def test_drafts_are_judged_the_same(dynamic: Runner, runner: Runner, counted: list[cuda.GraphKey]) -> None:
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


def test_prompts_and_several_slots_run_as_elsewhere(runner: Runner, counted: list[cuda.GraphKey]) -> None:
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


def test_a_growing_slot_is_not_taken(runner: Runner, counted: list[cuda.GraphKey]) -> None:
    answer(runner, Slot(), prompt(10), n=3)
    assert not counted


def test_buffers_stay_where_they_are(runner: Runner) -> None:
    slot = slot_of(runner)
    addresses = [t.data_ptr() for t in (*slot.keys, *slot.values)]
    evaluate(runner, prompt(300), slot)
    other = decoder(runner).slots[1]
    other.copy_prefix(slot, 300)
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


def test_nan_that_was_left_behind_is_forgotten_with_the_request(dynamic: Runner, runner: Runner) -> None:
    """Masked positions are multiplied by zero, but NaN would stay NaN for every later prompt in the slot."""
    slot = slot_of(runner)
    answer(runner, slot, prompt(40))
    for buffer in (*slot.keys, *slot.values):
        buffer[:, 20:60] = float("nan")
    slot.forget()
    ids = prompt(10, seed=4)
    assert answer(runner, slot, ids) == answer(dynamic, Slot(), ids)


def test_cancelled_between_steps(runner: Runner) -> None:
    slot = slot_of(runner)
    answer(runner, slot, prompt(10), n=1)
    rows = Generation(slot, GREEDY).rows()
    with pytest.raises(Cancelled):
        runner.forward([rows], None, lambda: True)
    assert slot.known[rows.positions[0]] == 0


Pair = tuple[LoadedModel, ResidentAdapters, Runner, Runner]


class TestAdapters:
    """Adapters from buffers of fixed rank."""

    @pytest.fixture
    def pair(self, folders: Callable[..., Path]) -> Pair:
        loaded = load_tiny(folders())
        residents = ResidentAdapters(loaded.model)
        plain, fixed = Runner(loaded.model), Runner(loaded.model)
        fixed.static = static_decoder(fixed, 256, loaded.max_context, 1, free=PLENTY, graphs=False)
        fixed.static.residents = lambda: residents.adapters.values()
        return loaded, residents, plain, fixed

    def test_the_same_answers(
        self,
        folders: Callable[..., Path],
        pair: Pair,
        counted: list[cuda.GraphKey],
    ) -> None:
        loaded, residents, plain, fixed = pair
        ids = prompt(20)
        settings: list[dict[str, Any]] = [{}, {"target_modules": ["q_proj", "down_proj"]}, {"r": 40, "lora_alpha": 9}]
        for seed, one in enumerate(settings):
            name = f"a{seed}"
            residents.add(read_adapter(name, folders(seed, **one), loaded.model, loaded.base_names))
        first = {}
        turns: tuple[str | None, ...] = ("a0", "a1", "a2", "a1", None, "a0", "a1", None)
        for turn in turns:
            adapter = residents.adapters[turn] if turn else None
            slot = slot_of(fixed)
            found, wanted = (evaluate(*one, adapter=adapter) for one in ((fixed, ids, slot), (plain, ids, Slot())))
            torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
            mine = answer(fixed, slot_of(fixed), ids, adapter=adapter)
            assert mine == answer(plain, Slot(), ids, adapter=adapter), turn
            first[turn] = found
        assert all(float((a - b).abs().max()) > 0.05 for a, b in itertools.combinations(first.values(), 2))
        assert {key.adapted for key in counted} == {False, True}

    def test_only_a_larger_one_needs_other_buffers(self, folders: Callable[..., Path], pair: Pair) -> None:
        loaded, residents, _, fixed = pair
        for seed, rank in enumerate((4, 16, 17)):
            adapter = read_adapter(f"a{rank}", folders(seed, r=rank), loaded.model, loaded.base_names)
            residents.add(adapter)
            answer(fixed, slot_of(fixed), prompt(9), n=2, adapter=adapter)
            if rank == 4:
                buffers = decoder(fixed).lora
            assert (decoder(fixed).lora is buffers) == (rank <= 16)  # 4 makes room for 16
        buffers = decoder(fixed).lora
        answer(fixed, slot_of(fixed), prompt(9), n=2, adapter=residents.adapters["a4"])
        assert decoder(fixed).lora is buffers

    def test_without_room_for_its_buffers_it_takes_the_usual_way(
        self, folders: Callable[..., Path], pair: Pair, monkeypatch: pytest.MonkeyPatch,
        counted: list[cuda.GraphKey],
    ) -> None:  # fmt: skip
        """The large adapter is answered all the same, tried once, and takes nothing from a smaller one."""
        loaded, residents, plain, fixed = pair
        ids = prompt(20)
        for seed, rank in enumerate((4, 40)):
            residents.add(read_adapter(f"a{rank}", folders(seed, r=rank), loaded.model, loaded.base_names))
        tried: list[list[str]] = []

        class Small(static.StaticLora):
            def __init__(self, products: Any, adapters: Sequence[Adapter]) -> None:
                tried.append([one.name for one in adapters])
                if any(one.rank > 16 for one in adapters):
                    raise torch.OutOfMemoryError("CUDA out of memory")
                super().__init__(products, adapters)

        monkeypatch.setattr(cuda, "StaticLora", Small)
        for name in ("a40", "a4", "a40", "a4"):
            adapter = residents.adapters[name]
            counted.clear()
            mine = answer(fixed, slot_of(fixed), ids, adapter=adapter)
            assert mine == answer(plain, Slot(), ids, adapter=adapter)
            assert bool(counted) == (name == "a4")
        assert tried == [["a4", "a40", "a40"], ["a4", "a4"]]


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
    pace = cuda.Backpressure()
    for _ in range(6):
        pace()
    assert log == ["5 waits for 1", "6 waits for 2"]


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


def test_scores_are_as_exact_as_in_the_other_way() -> None:
    """In bfloat16, with scores of up to 100: their rounding must not show. Both against float32 of the same numbers."""
    torch.manual_seed(0)
    before, rows = torch.randn(2, 2, 400, 64), torch.randn(3, 2, 5, 64)
    before, rows = (before * 2).bfloat16(), (rows * 2).bfloat16()
    errors, exact = {}, torch.empty(0)
    for dtype in (torch.float32, torch.bfloat16):
        keys, values = before.to(dtype)
        q, k, v = rows.to(dtype)
        steps: dict[str, Any] = {}
        for way in ("dynamic", "static"):
            slot = Slot([torch.zeros(2, 512, 64, dtype=dtype)], [torch.zeros(2, 512, 64, dtype=dtype)], capacity=480)
            slot.ids, slot.known = [1] * 405, bytearray(405)
            slot.keys[0][:, :400], slot.values[0][:, :400] = keys, values
            at = range(400, 405)
            steps[way] = static.StaticStep(slot, torch.arange(400, 405), 512)
            if way == "dynamic":
                steps[way] = attention.Step.of([Rows(slot, [1] * 5, at)], q.device)
            found = steps[way].attend(0, q, k, v, None, None, None).float()
            if dtype == torch.float32:
                exact = found
            else:
                errors[way] = float((found - exact).norm() / exact.norm())
    assert errors["static"] <= 2 * errors["dynamic"], errors


def test_attention_without_a_mask_is_that_with_one() -> None:
    q, keys, values = torch.randn(1, 2, 5, 8), torch.randn(1, 2, 12, 8), torch.randn(1, 2, 12, 8)
    for end in (5, 12):
        mask = attention._mask(end - 5, 5, 0, end, None, q.device)
        some = keys[:, :, :end], values[:, :, :end]
        torch.testing.assert_close(
            attention.causal(q, *some, None), scaled_dot_product_attention(q, *some, attn_mask=mask)
        )


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
