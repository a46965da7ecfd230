"""What fits beside the weights, computed with the shapes of CodeGemma-7B: no device is used."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from midfill.engine.local.forward import memory_plan
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.cuda_setup import null_adapter
from midfill.engine.local.forward.memory_plan import GIB, MIB, N_ROWS, SCRATCH, Demand, Plan, plan
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model.formats import Float
from midfill.engine.local.model.linear_cuda import CudaQuantised
from midfill.engine.local.model.read import Architecture, architecture, read_decoder
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.safetensors_reader import Progress
from midfill.types import MidfillError

META = torch.device("meta")

# CodeGemma-7B.
N_LAYERS, HIDDEN, INNER, QKV, ATTENTION, VOCABULARY = 28, 3072, 24_576, 3 * 4096, 4096, 256_000
WEIGHTS = {"bfloat16": 15.9 * GIB, "int8": 8.0 * GIB, "int4": 4.8 * GIB}
# CUDA's context and kernels 0.5 GiB, a desktop 0.3.
OTHERS = 0.8 * GIB
TOKEN = N_LAYERS * 2 * ATTENTION * 2
# Of rank 16 on every layer, in bfloat16: a and the block-diagonal b of each stack.
ADAPTER = 2 * N_LAYERS * (
    48 * (HIDDEN + QKV) + 16 * (ATTENTION + HIDDEN) + 32 * (HIDDEN + 2 * INNER) + 16 * (INNER + HIDDEN)
)  # fmt: skip


def demand(form: str, chunk: int) -> Demand:
    """The most is needed behind the MLP's first product: its result, and the activation with what it is made of, beside
    the residual stream. What float and int8 take is counted below.

    int8 has the sums in 32 bits, their scales and the product of both in float32. bitsandbytes widens a whole weight
    where a step has many rows: gate and up from 512 (302 MB), down from 9 to 17 (151 MB).
    """
    each = 2 * INNER * 3 * 4 + (2 * INNER + HIDDEN) * 2 if form == "int8" else (4 * INNER + 3 * HIDDEN) * 2
    widened = [0, 0] if form != "int4" else [(2 if chunk >= 512 else 1) * INNER * HIDDEN * 2, INNER * HIDDEN * 2]
    return Demand(
        token=TOKEN, prefill=chunk * each + widened[0], step=17 * each + widened[1], adapter=ADAPTER,
        logits=17 * VOCABULARY * 2,
    )  # fmt: skip


class Shapes(Checkpoint):
    """CodeGemma-7B's, with two layers and no numbers."""

    def __init__(self, wanted: Architecture) -> None:
        self.shapes = wanted.shapes()

    def tensors(self, progress: Progress) -> Iterator[tuple[str, torch.Tensor]]:
        """See Checkpoint."""
        for name, shape in self.shapes.items():
            yield name, torch.empty(shape, dtype=torch.bfloat16, device=META)


class Live(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are made inside, as long as they live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._counted: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Compute, and look at what is new."""
        present = {t.untyped_storage()._cdata for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)}
        out = function(*args, **(kwargs or {}))
        for tensor in tree_flatten(out)[0]:
            storage = tensor.untyped_storage() if isinstance(tensor, torch.Tensor) else None
            if storage is None or storage._cdata in self._counted or storage._cdata in present:
                continue
            self._counted[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, storage._cdata)
        return out

    def _gone(self, key: int) -> None:
        self.now -= self._counted.pop(key, 0)


@pytest.mark.parametrize("form", ["bfloat16", "int8"])
@pytest.mark.parametrize("chunk", [256, 1024])
@pytest.mark.parametrize("adapted", [False, True])
def test_a_chunk_takes_what_is_said_here(
    form: str, chunk: int, *, adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real sizes, by the real pass, with tensors that have no memory."""
    monkeypatch.setattr(torch, "equal", lambda a, b: False)  # of norms' weights: nothing to compare
    wanted = architecture({
        "model_type": "gemma", "vocab_size": VOCABULARY, "hidden_size": HIDDEN, "intermediate_size": INNER,
        "num_hidden_layers": 2, "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256,
        "max_position_embeddings": 8192, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6,
    })  # fmt: skip
    assert wanted is not None
    packing = Float(torch.bfloat16, META) if form == "bfloat16" else CudaQuantised("int8", META, torch.bfloat16)
    decoder, _ = read_decoder(wanted, Shapes(wanted), packing, lambda *_: None)
    adapter = null_adapter(decoder) if adapted else None
    slot, runner = Slot(), Runner(decoder)
    slot.begin([1] * 2048, None, None)
    with torch.inference_mode():
        runner.forward([Rows(slot, [1], range(1), 0)], adapter)  # the slot's own memory
        with Live() as live:
            runner.forward([Rows(slot, [1] * chunk, range(2048 - chunk, 2048), 1)], adapter)
    assert 0.9 * demand(form, chunk).prefill < live.peak <= 1.02 * demand(form, chunk).prefill


def free_on(card: float, form: str) -> int:
    return int(card * GIB - WEIGHTS[form] - OTHERS)


def first_that_fits(card: float, form: str) -> tuple[int, Plan]:
    """As cuda.static_decoder chooses."""
    for chunk in memory_plan.chunks(int(card * GIB)):
        try:
            return chunk, plan(free_on(card, form), demand(form, chunk), 2048, 8192, 4)
        except MidfillError:
            continue
    raise AssertionError("does not start")


@pytest.mark.parametrize(
    ("card", "form", "chunk", "wanted"),
    [
        # 2.4 GiB free: a slot of 2,560 tokens is 1.10 GiB, two adapters 0.31, a chunk and two steps 0.47, graphs 0.07.
        # One of 4,352 (1.87 GiB), as was planned before, leaves 0.5 GiB for what takes 0.92.
        (8, "int4", 256, Plan(1, 2560)),
        (12, "int8", 512, Plan(2, 2560)),  # 3.2 GiB free
        (12, "int4", 512, Plan(4, 2816)),  # 6.4 GiB
        (16, "int8", 1024, Plan(4, 3328)),  # 7.2 GiB
        (20, "bfloat16", 1024, Plan(2, 2560)),  # 3.3 GiB
        (24, "bfloat16", 1024, Plan(4, 3584)),  # 7.3 GiB
        (141, "bfloat16", 1024, Plan(4, 8192)),
    ],
)
def test_cards_start(card: int, form: str, chunk: int, wanted: Plan) -> None:
    assert first_that_fits(card, form) == (chunk, wanted)
    needs = demand(form, chunk)
    slots = wanted.n_slots * (wanted.capacity + SCRATCH) * TOKEN
    n_graphs = 2 * wanted.n_slots * len(memory_plan.buckets(wanted.capacity, 2560)) * len(N_ROWS)
    rest = 2 * needs.step + needs.prefill + 2 * ADAPTER + needs.logits + n_graphs * 3 * MIB // 2
    assert slots + rest < free_on(card, form)


def test_what_was_planned_for_8_gb_did_not_fit() -> None:
    needs = demand("int4", 256)
    assert 4352 * TOKEN + needs.reserve(1, 4) > free_on(8, "int4") > 2560 * TOKEN + needs.reserve(1, 4)


def test_slots_are_longer_only_where_there_is_plenty() -> None:
    light = Demand(token=TOKEN)
    assert plan(memory_plan.PLENTY - 1, light, 2048, 8192, 1).capacity == 2560
    assert plan(memory_plan.PLENTY, light, 2048, 8192, 1).capacity > 4096


def test_never_longer_than_the_model() -> None:
    assert plan(1 << 40, Demand(token=1000), 500, 1000, 4).capacity == 1024


def test_no_room_at_all() -> None:
    with pytest.raises(MidfillError, match="no room") as caught:
        plan(1 << 30, demand("int4", 256), 2048, 8192, 4)
    assert "int4" in caught.value.remedy


@pytest.mark.parametrize("context", [500, 1000, 2048, 4000])
def test_the_usual_prompt_and_its_answer_stay_in_one_bucket(context: int) -> None:
    """One that fills its budget, with 256 tokens of answer and a step of 17 rows: what attention reads beyond is less
    than a slot is rounded to."""
    usual = memory_plan.usual_length(context, 8192)
    sizes = memory_plan.buckets(8192, usual)
    last = memory_plan.smallest(sizes, context + 256 + 17)
    assert last == usual < context + 256 + 17 + memory_plan.ALIGNMENT


def test_buckets() -> None:
    assert memory_plan.buckets(2560, 2560) == (512, 1024, 2048, 2560)
    assert memory_plan.buckets(8192, 2560) == (512, 1024, 2048, 2560, 4096, 8192)
    assert memory_plan.buckets(256, 256) == (256,)
    assert memory_plan.smallest((512, 1024), 513) == 1024


@pytest.mark.parametrize(("gib", "wanted"), [(7.6, (256,)), (11.8, (512, 256)), (15.9, (1024, 512, 256))])
def test_small_cards_read_short_pieces(gib: float, wanted: tuple[int, ...]) -> None:
    assert memory_plan.chunks(int(gib * GIB)) == wanted


@pytest.mark.parametrize(
    ("free", "share", "reserved", "wanted"),
    [
        (100 * GIB, 1.0, 0, (100 * GIB, 140 * GIB)),
        (100 * GIB, 8 / 140, 5 * GIB, (3 * GIB, 8 * GIB)),  # a share was set: what is left of it
        (2 * GIB, 8 / 140, 5 * GIB, (2 * GIB, 8 * GIB)),  # others have the rest
        (2 * GIB, 8 / 140, 9 * GIB, (0, 8 * GIB)),
    ],
)
def test_free_memory(
    monkeypatch: pytest.MonkeyPatch, free: int, share: float, reserved: int, wanted: tuple[int, int]
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 140 * GIB))
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda device: share)
    kept = [GIB // 4]  # by the allocator for later
    monkeypatch.setattr(torch.cuda, "empty_cache", kept.clear)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved + sum(kept))
    found = memory_plan.memory(torch.device("cuda", 0))
    assert all(abs(one - other) < 3 for one, other in zip(found, wanted, strict=True))  # a share is a fraction


def test_a_peak_is_what_the_allocator_took_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    reserved = [10, 10]  # now, at most

    def set_(name: str, call: Callable[[torch.device], object]) -> None:
        monkeypatch.setattr(torch.cuda, name, call)

    def action() -> None:
        reserved[:] = [15, 25]

    set_("synchronize", lambda device: None)
    set_("memory_reserved", lambda device: reserved[0])
    set_("max_memory_reserved", lambda device: reserved[1])
    set_("reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    assert memory_plan.peak_of(action, torch.device("cuda", 0)) == 15
