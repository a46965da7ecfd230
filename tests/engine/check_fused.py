"""The fused step compared with the eager one. test_triton_kernels.py runs this with Triton's interpreter; tests/gpu
runs it on a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from midfill.engine.local.forward import eager, fused
from midfill.engine.local.forward.fixed_shape import StaticStep, make_slots
from midfill.engine.local.forward.memory_plan import Plan
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.model.load import load
from midfill.engine.local.sequence.kv_cache import Slot
from tests.engine.made import DECODERS, save_tiny
from tests.engine.test_decode import evaluate, prompt

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("length", [1, 20, 300])
def test_the_same_logits(kind: str, length: int, tmp_path: Path) -> None:
    """With the slot filled up to ``length``: three rows of the sequence and two padding rows."""
    folder = save_tiny(kind, tmp_path / kind)
    decoder = load(folder, kind, device=DEVICE, dtype="float32", progress=lambda *_: None).model
    assert isinstance(decoder, Decoder)
    assert fused.is_possible(decoder)
    with torch.inference_mode():
        like = Slot()
        evaluate(Runner(decoder), prompt(length), like)
        capacity = 512
        found: list[torch.Tensor] = []
        wanted: list[torch.Tensor] = []
        for _ in range(2):
            (slot,) = make_slots(like, Plan(1, capacity))
            for mine, theirs in zip((*slot.keys, *slot.values), (*like.keys, *like.values), strict=True):
                mine[:, :length] = theirs[:, :length]
            ids = torch.tensor([*prompt(3, seed=1), 0, 0], device=DEVICE)
            positions = torch.tensor([*range(length, length + 3), capacity, capacity + 1], device=DEVICE)
            if not wanted:
                step = StaticStep(slot, positions, capacity)
                wanted = [
                    eager.forward(decoder, ids, positions, torch.arange(5, device=DEVICE), step, None, lambda: None)[:3]
                ]
            else:
                found = [fused.forward(decoder, ids, positions, slot, None)[:3]]
            (found or wanted).extend(t[:, : length + 3] for t in (*slot.keys, *slot.values))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-4)
