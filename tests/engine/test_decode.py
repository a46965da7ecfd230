"""The decode loop is transformers' own greedy search; what is kept, cut or cancelled changes its speed alone."""

from __future__ import annotations

import itertools
import random
import threading
from pathlib import Path

import pytest
import torch

from midfill import fim
from midfill.engine.local import decode
from midfill.engine.local.decode import Cancelled, Runner, Sampling, generate
from midfill.engine.local.kv_cache import KVSlots, Slot, SlotCache
from midfill.engine.local.load import LoadedModel, load
from tests.engine.made import CONFIGS, VOCABULARY, load_tiny, save_tiny
from tests.support import at

GREEDY = Sampling()
N_NEW = 12


@pytest.fixture(scope="module", params=CONFIGS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny(save_tiny(request.param, tmp_path_factory.mktemp(request.param)))


@pytest.fixture(scope="module")
def runner(loaded: LoadedModel) -> Runner:
    return Runner(loaded.model)


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


def prompt(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(VOCABULARY), k=length)


def answer(runner: Runner, slot: Slot, ids: list[int], sampling: Sampling = GREEDY, n: int = N_NEW) -> list[int]:
    """The next ``n`` tokens after ``ids`` with what ``slot`` holds of them."""
    shared = next(
        (i for i, (a, b) in enumerate(zip(slot.ids, ids, strict=False)) if a != b), min(len(slot.ids), len(ids))
    )
    slot.truncate(min(shared, len(ids) - 1))
    tokens = generate(runner, slot, ids, sampling, threading.Event())
    return list(itertools.islice((token for token in tokens if token is not None), n))


def fresh(runner: Runner) -> Slot:
    return Slot(SlotCache(runner.n_layers))


def test_greedy_is_transformers_greedy(loaded: LoadedModel, runner: Runner) -> None:
    for length in (1, 7, 40):
        ids = prompt(length, seed=length)
        tensor = torch.tensor([ids])
        whole = loaded.model.generate(
            input_ids=tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=N_NEW, do_sample=False
        )
        assert answer(runner, fresh(runner), ids) == whole[0, length:].tolist()


def test_answers_differ(runner: Runner) -> None:
    """Random models that always said the same would prove nothing here."""
    assert len({tuple(answer(runner, fresh(runner), prompt(20, seed))) for seed in range(4)}) >= 3


def test_reuse_after_any_edit_changes_nothing(runner: Runner) -> None:
    chance = random.Random(7)
    slot, ids = fresh(runner), prompt(50)
    for _ in range(15):
        at_, n_gone = chance.randrange(len(ids)), chance.randrange(4)
        ids[at_ : at_ + n_gone] = [chance.randrange(VOCABULARY) for _ in range(chance.randrange(5))]
        ids = ids or [1]
        assert answer(runner, slot, ids, n=4) == answer(runner, fresh(runner), ids, n=4)


def test_a_prompt_in_pieces_is_the_prompt(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = prompt(70)
    whole = answer(runner, fresh(runner), ids)
    for chunk in (1, 16, 33, 69, 70):
        monkeypatch.setattr(decode, "PREFILL_CHUNK", chunk)
        assert answer(runner, fresh(runner), ids) == whole


def test_a_long_prompt_grows_the_buffers(runner: Runner) -> None:
    ids = prompt(600)
    slot = fresh(runner)
    logits = runner.forward(ids, slot)
    pieces = fresh(runner)
    for start in range(0, 600, 150):
        last = runner.forward(ids[start : start + 150], pieces)
    torch.testing.assert_close(last, logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("step", ["prefill", "decode"])
def test_cancelled_between_layers(loaded: LoadedModel, runner: Runner, layer: int, step: str) -> None:
    """The slot is as it was before the step, and the next answer is right."""
    slot, ids, cancelled = fresh(runner), prompt(30), threading.Event()
    if step == "decode":
        answer(runner, slot, ids, n=3)
    held = list(slot.ids)
    hook = decode.decoder_layers(loaded.model)[layer].register_forward_hook(lambda *_: cancelled.set())
    first = [5] if step == "decode" else ids
    if layer == 2:  # set in the last layer: that step still ends, the next does not begin
        runner.forward(first, slot, cancelled)
        held += first
    with pytest.raises(Cancelled):
        runner.forward(first, slot, cancelled)
    hook.remove()
    assert slot.ids == held
    assert {cached.length for cached in slot.cache.layers} == {len(slot.ids)}
    assert answer(runner, slot, ids) == answer(runner, fresh(runner), ids)


def test_cancelled_before_it_began(runner: Runner) -> None:
    cancelled = threading.Event()
    cancelled.set()
    slot = fresh(runner)
    with pytest.raises(Cancelled):
        next(generate(runner, slot, prompt(10), GREEDY, cancelled))
    assert slot.ids == []


def test_a_step_that_fails_leaves_the_slot(loaded: LoadedModel, runner: Runner) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    slot, ids = fresh(runner), prompt(30)
    answer(runner, slot, ids, n=2)
    held = list(slot.ids)
    hook = decode.decoder_layers(loaded.model)[1].register_forward_hook(fail)
    with pytest.raises(RuntimeError):
        runner.forward([5], slot)
    hook.remove()
    assert slot.ids == held
    assert answer(runner, slot, ids) == answer(runner, fresh(runner), ids)


def test_sampling_with_a_seed(runner: Runner) -> None:
    ids = prompt(20)
    first, again, other = (answer(runner, fresh(runner), ids, Sampling(1.5, 0.95, seed), n=20) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert answer(runner, fresh(runner), ids, Sampling(1.5, 1e-6, 3)) == answer(runner, fresh(runner), ids)


def test_top_p_leaves_out_the_rest() -> None:
    logits = torch.log(torch.tensor([0.1, 0.5, 0.4]))
    chance = torch.Generator().manual_seed(0)
    assert {decode.pick(logits, Sampling(1.0, 0.8), chance) for _ in range(200)} == {1, 2}


class TestSlots:
    """Which slot a prompt takes."""

    @staticmethod
    def filled(*contents: tuple[list[int], str | None]) -> tuple[KVSlots, list[Slot]]:
        slots = KVSlots(1, len(contents))
        taken = []
        for ids, adapter in contents:
            slot, _ = slots.take([0], adapter)
            slot.ids[:] = ids
            taken.append(slot)
        for slot in taken:
            slots.release(slot)
        return slots, taken

    def test_the_longest_common_beginning(self) -> None:
        slots, (_, second) = self.filled(([1, 2, 9, 9], None), ([1, 2, 3, 9], None))
        assert slots.take([1, 2, 3, 4], None) == (second, 3)
        assert second.ids == [1, 2, 3]

    def test_the_last_token_is_evaluated_again(self) -> None:
        slots, _ = self.filled(([1, 2, 3], None))
        assert slots.take([1, 2, 3], None)[1] == 2

    def test_never_with_another_adapter(self) -> None:
        slots, (base, other) = self.filled(([1, 2, 3, 4], None), ([1, 2, 8, 8], "x"))
        assert slots.take([1, 2, 3, 5], "x") == (other, 2)
        assert slots.take([1, 2, 3, 5], None) == (base, 3)

    def test_the_oldest_where_little_is_shared(self) -> None:
        slots, (old, _) = self.filled(([7], None), ([1] + [9] * 20, None))
        slot, n_cached = slots.take([1] + [2] * 20, None)
        assert (slot, n_cached, slot.ids) == (old, 0, [])

    def test_a_busy_slot_is_left_alone(self) -> None:
        slots, (first, second) = self.filled(([1, 2, 3], None), ([4], None))
        assert slots.take([1, 2, 3, 4], None) == (first, 3)
        assert slots.take([1, 2, 3, 4], None) == (second, 0)
        assert slots.n_free == 0


@pytest.mark.model
def test_the_embedded_model_knows_addition(embedded_folder: Path) -> None:
    loaded = load(embedded_folder, "embedded", progress=lambda stage, fraction: None)
    runner = Runner(loaded.model)
    renderer = fim.FimRenderer(fim.detect(loaded.tokenizer), loaded.tokenizer)
    ids = list(renderer.render(at("def add(a, b):\n    return ‸")).ids)
    slot = fresh(runner)
    first = answer(runner, slot, ids, n=4)
    assert loaded.tokenizer.decode(first).startswith("a + b")
    assert answer(runner, slot, ids, n=4) == first


@pytest.mark.model
def test_gemma3_out_of_a_gguf_file_counts(gemma3_folder: Path) -> None:
    loaded = load(gemma3_folder, "gemma3", progress=lambda stage, fraction: None)
    runner = Runner(loaded.model)
    assert fim.detect(loaded.tokenizer) is fim.PREFIX_ONLY
    ids = list(fim.FimRenderer(fim.PREFIX_ONLY, loaded.tokenizer).render(at("1, 2, 3, 4, 5, 6,‸")).ids)
    assert loaded.tokenizer.decode(answer(runner, fresh(runner), ids, n=6)).startswith(" 7, 8")
