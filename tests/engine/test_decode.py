"""The decode loop is transformers' own greedy search; keeping, cutting and cancelling change its speed alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from midfill import fim
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.model.load import LoadedModel, load
from midfill.engine.local.sequence import generation as decode
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.healing import ForcedPrefix, TokenIndex
from midfill.engine.local.sequence.kv_cache import MAX_AGE, MIN_SUFFIX, KVSlots, Rotate, Slot
from midfill.engine.local.sequence.prompt_lookup import Drafter
from tests.engine.made import CONFIGS, DECODERS, VOCABULARY, load_modules, load_tiny, save_tiny
from tests.support import at

GREEDY = Sampling()
N_NEW = 12


@pytest.fixture(scope="module", params=CONFIGS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_tiny(save_tiny(request.param, tmp_path_factory.mktemp(request.param) / request.param))


@pytest.fixture(scope="module")
def modules(loaded: LoadedModel) -> Any:
    """The same model, computed by transformers."""
    return load_modules(loaded.folder)


@pytest.fixture(scope="module")
def runner(loaded: LoadedModel) -> Runner:
    return Runner(loaded.model)


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


def prompt(length: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(VOCABULARY), k=length)


def run(
    runner: Runner, generation: Generation, n: int, max_drafts: int = 0, limit: int = 256,
    adapter: Adapter | None = None,
) -> list[int]:  # fmt: skip
    """Return the next ``n`` tokens."""
    said: list[int] = []
    while len(said) < n:
        rows = generation.rows(limit, max_drafts)
        (logits,) = runner.forward([rows], adapter)
        said += [token.id for token in generation.take(rows, logits)]
    return said[:n]


def answer(
    runner: Runner, slot: Slot, ids: list[int], sampling: Sampling = GREEDY, n: int = N_NEW,
    adapter: Adapter | None = None,
) -> list[int]:  # fmt: skip
    """Return the next ``n`` tokens after ``ids``, using the cache of ``slot``."""
    slot.begin(ids, None, None)
    return run(runner, Generation(slot, sampling), n, adapter=adapter)


def evaluate(
    runner: Runner, ids: list[int], slot: Slot, nobody_waits: Callable[[], bool] | None = None,
    adapter: Adapter | None = None,
) -> torch.Tensor:  # fmt: skip
    """Return the logits of ``ids``, which follow the contents of ``slot``."""
    positions = range(len(slot.ids), len(slot.ids) + len(ids))
    slot.ids += ids
    slot.known += bytes(len(ids))
    (logits,) = runner.forward([Rows(slot, ids, positions)], adapter, nobody_waits)
    return logits[-1]


def fresh(runner: Runner) -> Slot:
    return Slot()


def test_greedy_is_transformers_greedy(loaded: LoadedModel, modules: Any, runner: Runner) -> None:
    assert isinstance(loaded.model, Decoder) == (loaded.name in DECODERS)
    for length in (1, 7, 40):
        ids = prompt(length, seed=length)
        tensor = torch.tensor([ids])
        whole = modules.generate(
            input_ids=tensor, attention_mask=torch.ones_like(tensor), max_new_tokens=N_NEW, do_sample=False
        )
        assert answer(runner, fresh(runner), ids) == whole[0, length:].tolist()


def test_answers_differ(runner: Runner) -> None:
    """If the random models always gave the same answer, the tests here would prove nothing."""
    assert len({tuple(answer(runner, fresh(runner), prompt(20, seed))) for seed in range(4)}) >= 3


def test_reuse_after_any_edit_changes_nothing(runner: Runner) -> None:
    chance = random.Random(7)
    slot, ids = fresh(runner), prompt(50)
    for _ in range(15):
        at_, n_gone = chance.randrange(len(ids)), chance.randrange(4)
        ids[at_ : at_ + n_gone] = [chance.randrange(VOCABULARY) for _ in range(chance.randrange(5))]
        ids = ids or [1]
        assert answer(runner, slot, ids, n=4) == answer(runner, fresh(runner), ids, n=4)


def test_a_prompt_in_pieces_is_the_prompt(runner: Runner) -> None:
    ids = prompt(70)
    whole = answer(runner, fresh(runner), ids)
    for chunk in (1, 16, 33, 69, 70):
        slot = fresh(runner)
        slot.begin(ids, None, None)
        assert run(runner, Generation(slot, GREEDY), N_NEW, limit=chunk) == whole


def test_a_long_prompt_grows_the_buffers(runner: Runner) -> None:
    ids = prompt(600)
    logits = evaluate(runner, ids, fresh(runner))
    pieces = fresh(runner)
    for start in range(0, 600, 150):
        last = evaluate(runner, ids[start : start + 150], pieces)
    torch.testing.assert_close(last, logits, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("step", ["prefill", "decode"])
def test_cancelled_between_layers(loaded: LoadedModel, runner: Runner, layer: int, step: str) -> None:
    """The slot holds nothing new, and the next answer is right."""
    slot, ids = fresh(runner), prompt(30)
    if step == "decode":
        answer(runner, slot, ids, n=3)
    known = bytes(slot.known)
    n_asked = 0

    def nobody_waits() -> bool:
        nonlocal n_asked
        n_asked += 1
        return n_asked > layer + 1

    with pytest.raises(Cancelled):
        evaluate(runner, [5] if step == "decode" else ids, slot, nobody_waits)
    assert n_asked == layer + 2
    assert slot.known.rstrip(b"\0") == known.rstrip(b"\0")
    assert answer(runner, slot, ids) == answer(runner, fresh(runner), ids)


def test_cancelled_before_it_began(runner: Runner) -> None:
    slot = fresh(runner)
    with pytest.raises(Cancelled):
        evaluate(runner, prompt(10), slot, lambda: True)
    assert not any(slot.known)


def test_a_step_that_fails_leaves_the_slot(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    slot, ids = fresh(runner), prompt(30)
    answer(runner, slot, ids, n=2)
    known = bytes(slot.known)
    with monkeypatch.context() as patch:
        patch.setattr(Slot, "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate(runner, [5], slot)
    assert bytes(slot.known[:-1]) == known
    assert answer(runner, slot, ids) == answer(runner, fresh(runner), ids)


def test_a_batch_is_its_parts(runner: Runner) -> None:
    """Two sequences in the same steps, one with its prompt and one with its tokens."""
    prompts = [prompt(40, 1), prompt(70, 2), prompt(9, 3)]
    alone = [answer(runner, fresh(runner), ids) for ids in prompts]
    generations = []
    for ids in prompts:
        slot = fresh(runner)
        slot.begin(ids, None, None)
        generations.append(Generation(slot, GREEDY))
    said: list[list[int]] = [[] for _ in prompts]
    while min(map(len, said)) < N_NEW:
        batch = [generation.rows(25) for generation in generations]
        for generation, rows, logits, its in zip(generations, batch, runner.forward(batch), said, strict=True):
            its += [token.id for token in generation.take(rows, logits)]
    assert [its[:N_NEW] for its in said] == alone


def test_log_probabilities(modules: Any, runner: Runner) -> None:
    ids = prompt(20)
    slot = fresh(runner)
    slot.begin(ids, None, None)
    generation, tokens = Generation(slot, GREEDY, logprobs=True), list[decode.Token]()
    while len(tokens) < 5:
        rows = generation.rows()
        (logits,) = runner.forward([rows])
        tokens += generation.take(rows, logits)
    whole = modules(torch.tensor([ids + [token.id for token in tokens]])).logits[0].log_softmax(-1)
    for i, token in enumerate(tokens):
        assert token.logprob == pytest.approx(float(whole[len(ids) + i - 1, token.id]), abs=1e-3)


class _OnlyThree:
    """A bias for a list of names that is complete: nothing but three tokens may come."""

    over, ids = False, (5, 6, 7)

    def favour(self, logits: torch.Tensor) -> torch.Tensor:
        kept = torch.full_like(logits, -torch.inf)
        kept[list(self.ids)] = logits[list(self.ids)]
        return kept

    def advance(self, token: int) -> None:
        assert token in self.ids


def test_log_probabilities_among_known_names(runner: Runner) -> None:
    """A name is no less sure because the model alone would rather have invented one."""
    slot = fresh(runner)
    slot.begin(prompt(20), None, None)
    generation = Generation(slot, GREEDY, bias=_OnlyThree(), logprobs=True)  # type: ignore[arg-type]
    tokens: list[decode.Token] = []
    while not tokens:
        rows = generation.rows()
        (logits,) = runner.forward([rows])
        tokens += generation.take(rows, logits)
    among = logits[0][list(_OnlyThree.ids)].float().log_softmax(-1)
    assert tokens[0].logprob == pytest.approx(float(among.max()), abs=1e-4)


class TestPromptLookup:
    """Drafts change the number of steps, never the answer."""

    @pytest.mark.parametrize("sampling", [GREEDY, Sampling(0.9, 0.9, 4)], ids=["greedy", "sampled"])
    def test_the_answer_is_the_same(self, runner: Runner, sampling: Sampling) -> None:
        ids = prompt(60) * 2
        plain = answer(runner, fresh(runner), ids, sampling, n=40)
        for others in ([], [plain], [ids[-3:] + plain[:7] + [1] + plain[8:]]):
            slot = fresh(runner)
            slot.begin(ids, None, None)
            generation = Generation(slot, sampling, drafter=Drafter(others))
            assert run(runner, generation, 40, max_drafts=8) == plain
        assert generation.n_drafted > 0

    def test_right_drafts_save_steps(self, runner: Runner) -> None:
        ids = prompt(50)
        plain = answer(runner, fresh(runner), ids, n=30)
        slot = fresh(runner)
        slot.begin(ids, None, None)
        generation = Generation(slot, GREEDY, drafter=Drafter([ids[-4:] + plain]))
        n_steps, said = 0, 0
        while said < 30:
            rows = generation.rows(max_drafts=8)
            (logits,) = runner.forward([rows])
            said += len(generation.take(rows, logits))
            n_steps += 1
        assert n_steps < 20
        assert generation.n_accepted >= 12

    def test_the_last_place_counts_and_the_longest_match(self) -> None:
        ids = [1, 2, 3, 7, 7, 1, 2, 3, 8, 8, 9, 2, 3, 6, 1, 2, 3]
        assert Drafter().draft(ids, 2) == [8, 8]
        assert Drafter([[1, 2, 3, 4, 5]]).draft([2, 3], 9) == [4, 5]
        assert Drafter([[1, 2, 3, 4, 5]]).draft([2, 3], 1) == [4]
        assert Drafter().draft([1, 2, 3], 4) == []
        assert Drafter([[5]]).draft([], 4) == []

    def test_the_length_follows_success(self) -> None:
        drafter = Drafter([list(range(50))])
        lengths = []
        for n_right in (1.0, 1.0, 0.0, 0.0, 0.0):
            drafted = len(drafter.draft([0, 1, 2, 3], 99))
            lengths.append(drafted)
            drafter.learn(drafted, int(n_right * drafted))
        assert lengths == [4, 8, 12, 6, 3]


@pytest.fixture(scope="module")
def rotate(loaded: LoadedModel, runner: Runner) -> Rotate:
    found = runner.find_rotation()
    assert found is not None
    return found


class TestSuffixShift:
    """The text after the cursor is kept when the cursor moves."""

    @staticmethod
    def parts() -> tuple[list[int], list[int], int]:
        return prompt(40, 1), prompt(30, 2), 7

    def test_rotated_keys_are_the_keys_of_that_place(self, runner: Runner, rotate: Rotate) -> None:
        for before, after in ((5, 300), (90, 2)):
            for layer, (here, there) in enumerate(zip(runner.keys_at(before), runner.keys_at(after), strict=True)):
                torch.testing.assert_close(rotate(layer, here, after - before), there, atol=1e-3, rtol=1e-3)

    def test_only_what_was_typed_is_evaluated(self, runner: Runner, rotate: Rotate) -> None:
        prefix, suffix, end = self.parts()
        slot, n_typed_before = fresh(runner), 0
        for n_typed in (0, 2, 3, 1, 5):
            ids = [*prefix, *prompt(n_typed, 3), *suffix, end]
            n_known = slot.begin(ids, (len(ids) - 31, len(ids) - 1), rotate)
            assert n_known == (0 if not n_typed else len(ids) - 1 - max(0, n_typed - n_typed_before))
            n_typed_before = n_typed
            run(runner, Generation(slot, GREEDY), 4)
        assert slot.age == 2 + 1 + 2 + 4

    def test_it_is_near_and_exact_after_a_refresh(self, runner: Runner, rotate: Rotate) -> None:
        prefix, suffix, end = self.parts()
        slot = fresh(runner)
        ids = [*prefix, *suffix, end]
        slot.begin(ids, (40, 70), rotate)
        run(runner, Generation(slot, GREEDY), 3)
        ids = [*prefix, 9, 8, *suffix, end]
        bounds = (42, 72)
        slot.begin(ids, bounds, rotate)
        run(runner, Generation(slot, GREEDY), 3)
        assert slot.age == 2
        while rows := slot.stale_rows(13):
            runner.forward([Rows(slot, [slot.ids[i] for i in rows], rows, 0)])
            slot.refreshed(len(rows))
            if not slot.age:
                break
        assert slot.begin(ids, bounds, rotate) == len(ids) - 1
        exact = evaluate(runner, ids, fresh(runner))
        (logits,) = runner.forward([Generation(slot, GREEDY).rows()])
        torch.testing.assert_close(logits[-1], exact, atol=1e-3, rtol=1e-3)

    def test_an_exact_request_does_not_take_what_is_stale(self, runner: Runner, rotate: Rotate) -> None:
        prefix, suffix, end = self.parts()
        slot = fresh(runner)
        ids = [*prefix, 4, *suffix, end]
        for prompt_, bounds in (([*prefix, *suffix, end], (40, 70)), (ids, (41, 71))):
            slot.begin(prompt_, bounds, rotate)
            run(runner, Generation(slot, GREEDY), 2)
        assert slot.begin(ids, None, None) == 41
        assert run(runner, Generation(slot, GREEDY), N_NEW) == answer(runner, fresh(runner), ids)

    def test_it_is_read_again_when_too_much_has_changed(self, runner: Runner, rotate: Rotate) -> None:
        prefix, suffix, end = self.parts()
        slot = fresh(runner)
        slot.begin([*prefix, *suffix, end], (40, 70), rotate)
        run(runner, Generation(slot, GREEDY), 1)
        longer = [*prefix, *prompt(MAX_AGE + 1, 5), *suffix, end]
        assert slot.begin(longer, (len(longer) - 31, len(longer) - 1), rotate) == 40
        assert slot.age == 0

    def test_without_permission_or_rotation_it_is_exact(self, runner: Runner, rotate: Rotate) -> None:
        prefix, suffix, end = self.parts()
        for bounds, how in ((None, rotate), ((42, 72), None)):
            slot = fresh(runner)
            slot.begin([*prefix, *suffix, end], (40, 70), rotate)
            run(runner, Generation(slot, GREEDY), 1)
            assert slot.begin([*prefix, 1, 2, *suffix, end], bounds, how) == 40

    def test_what_was_taken_from_the_suffix_or_put_there(self, runner: Runner, rotate: Rotate) -> None:
        """The cursor goes over text, or a bracket closes by itself: the end of the suffix is still the same."""
        prefix, suffix, end = self.parts()
        slot = fresh(runner)
        slot.begin([*prefix, *suffix, end], (40, 70), rotate)
        run(runner, Generation(slot, GREEDY), 1)
        ids = [*prefix, *suffix[1:5], suffix[0], *suffix[5:], end]  # the sentinel stands behind four more tokens
        assert slot.begin(ids, (44, 70), rotate) == len(ids) - 1 - 5
        ids = [*prefix, *suffix[1:5], suffix[0], 3, *suffix[5:], end]
        assert slot.begin(ids, (44, 71), rotate) in (len(ids) - 7, len(ids) - 2)
        short = [*prefix, suffix[0], *suffix[-MIN_SUFFIX + 2 :], end]
        assert slot.begin(short, (40, len(short) - 1), rotate) == 40


@pytest.fixture(scope="module")
def vocabulary(loaded: LoadedModel) -> TokenIndex:
    return TokenIndex(loaded.tokenizer, loaded.vocabulary)


class TestHealing:
    """The middle begins with the part of the word that was taken off the prompt."""

    def test_only_tokens_that_agree(self, vocabulary: TokenIndex) -> None:
        for forced_prefix in ("a", "ret", "x_"):
            ids = vocabulary.agreeing(forced_prefix)
            assert ids
            texts = {vocabulary.text_of[i] for i in ids}
            assert all(text.startswith(forced_prefix) or forced_prefix.startswith(text) for text in texts)
            everything = {text for text in vocabulary.text_of if text and "\ufffd" not in text}
            assert texts == {t for t in everything if t.startswith(forced_prefix) or forced_prefix.startswith(t)}

    @pytest.mark.parametrize("max_drafts", [0, 8])
    def test_the_text_begins_so(
        self, loaded: LoadedModel, runner: Runner, vocabulary: TokenIndex, max_drafts: int
    ) -> None:
        for seed, forced_prefix in enumerate(("retu", "abc", "x")):
            slot = fresh(runner)
            slot.begin(prompt(30, seed), None, None)
            generation = Generation(slot, GREEDY, forced_prefix=ForcedPrefix(forced_prefix, vocabulary))
            said = run(runner, generation, 12, max_drafts)
            assert loaded.tokenizer.decode(said).startswith(forced_prefix)

    def test_what_the_model_says_anyway_stays(
        self, loaded: LoadedModel, runner: Runner, vocabulary: TokenIndex
    ) -> None:
        ids = next(
            ids
            for seed in range(50)
            if vocabulary.text_of[answer(runner, Slot(), ids := prompt(20, seed))[0]].isalnum()
        )
        plain = answer(runner, fresh(runner), ids)
        slot = fresh(runner)
        slot.begin(ids, None, None)
        forced_prefix = ForcedPrefix(vocabulary.text_of[plain[0]][:1], vocabulary)
        assert run(runner, Generation(slot, GREEDY, forced_prefix=forced_prefix), N_NEW) == plain


def test_ranks_begin_differently(runner: Runner) -> None:
    ids = prompt(20)
    firsts = [answer(runner, fresh(runner), ids, Sampling(rank=rank))[0] for rank in range(3)]
    logits = evaluate(runner, ids, fresh(runner))
    assert firsts == logits.topk(3).indices.tolist()


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


class OnDevice(torch.Tensor):
    """Logits that are not in the CPU's memory: each reading of them waits for the device."""

    is_cpu = False
    n_read = 0

    @classmethod
    def __torch_function__(cls, function: Any, kinds: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.__name__ in ("tolist", "item", "__int__", "__float__", "__bool__", "cpu", "numpy", "to"):
            OnDevice.n_read += 1
        return super().__torch_function__(function, kinds, args, kwargs or {})  # type: ignore[no-untyped-call]


class TestOnADevice:
    """Reading back waits for the device: once per step."""

    @staticmethod
    def step(
        logits: torch.Tensor, drafts: list[int], sampling: Sampling | None = None, *, logprobs: bool = False
    ) -> tuple[list[int], int]:
        """Return the tokens that follow a prompt of 5, and how often the step waited for the device."""
        slot = Slot()
        slot.begin([1, 2, 3, 4, 5], None, None)
        generation = Generation(slot, sampling or Sampling(), logprobs=logprobs)
        slot.known[:] = b"\1" * 5
        slot.ids += drafts
        slot.known += bytes(len(drafts))
        rows = Rows(slot, [5, *drafts], range(4, 5 + len(drafts)), len(drafts) + 1)
        OnDevice.n_read = 0
        tokens = generation.take(rows, logits.as_subclass(OnDevice))
        return [token.id for token in tokens], OnDevice.n_read

    @pytest.mark.parametrize("logprobs", [False, True])
    def test_one_reading_for_all_drafts(self, logprobs: bool) -> None:
        logits = torch.randn(14, 50, generator=torch.Generator().manual_seed(0))
        best = logits.argmax(-1).tolist()
        assert self.step(logits, best[:13], logprobs=logprobs) == (best, 1)
        assert self.step(logits, [*best[:5], best[5] ^ 1, *best[6:13]], logprobs=logprobs) == (best[:6], 1)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_the_same_tokens_as_one_by_one(self, dtype: torch.dtype) -> None:
        logits = torch.randn(9, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
        together = decode.most_likely(logits, logprobs=True)
        alone = [Generation(Slot(), Sampling(), logprobs=True)._pick(row, is_first=False) for row in logits]
        assert [token.id for token in together] == [token.id for token in alone]
        assert [token.logprob for token in together] == pytest.approx([token.logprob for token in alone], abs=1e-6)
        assert math.isnan(decode.most_likely(logits, logprobs=False)[0].logprob)

    def test_the_last_token_of_a_large_vocabulary(self) -> None:
        logits = torch.zeros(1, 262_145)
        logits[0, -1] = 1.0
        assert decode.most_likely(logits, logprobs=True)[0].id == 262_144

    def test_what_needs_more_is_chosen_as_before(self) -> None:
        logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
        best = logits.argmax(-1).tolist()
        tokens, n_read = self.step(logits, best[:2], Sampling(1.0, 1e-6, 1))
        assert tokens == best
        assert n_read > 1

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_numbers_that_overflowed_are_no_answer(self, bad: float) -> None:
        logits = torch.randn(2, 50)
        logits[1, 7] = bad
        with pytest.raises(decode.OverflowedError, match="overflowed"):
            self.step(logits, [int(logits[0].argmax())])
        with pytest.raises(decode.OverflowedError):
            decode.pick(logits[1], Sampling(1.0), torch.Generator())


class TestSlots:
    """Which slot a prompt gets."""

    @staticmethod
    def filled(*contents: tuple[list[int], str | None]) -> tuple[KVSlots, list[Slot]]:
        slots = KVSlots(len(contents))
        taken = []
        for ids, adapter in contents:
            slot, _ = slots.take([0], adapter)
            slot.ids[:], slot.known[:] = ids, b"\1" * len(ids)
            taken.append(slot)
        for slot in taken:
            slots.release(slot)
        return slots, taken

    def test_the_longest_common_beginning(self) -> None:
        slots, (_, second) = self.filled(([1, 2, 9, 9], None), ([1, 2, 3, 9], None))
        assert slots.take([1, 2, 3, 4], None) == (second, 3)
        assert (second.ids, bytes(second.known)) == ([1, 2, 3, 4], b"\1\1\1\0")

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
        assert (slot, n_cached) == (old, 0)
        assert not any(slot.known)

    def test_a_busy_slot_is_left_alone_but_read(self) -> None:
        slots, (first, second) = self.filled(([1, 2, 3], None), ([4], None))
        assert slots.take([1, 2, 3, 4], None) == (first, 3)
        assert slots.take([1, 2, 3, 5], None) == (second, 3)
        assert (first.ids, second.ids) == ([1, 2, 3, 4], [1, 2, 3, 5])
        assert all(slot.busy for slot in slots.slots)


def test_a_copied_beginning_is_the_same(runner: Runner) -> None:
    ids = prompt(50)
    slots = KVSlots(2)
    first, _ = slots.take(ids, None)
    run(runner, Generation(first, GREEDY), 3)
    second, n_cached = slots.take([*ids[:45], 7], None)
    assert (n_cached, second is first) == (45, False)
    assert run(runner, Generation(second, GREEDY), N_NEW) == answer(runner, Slot(), [*ids[:45], 7])


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
