"""An adapter beside the embedded model's int8 weights: low-rank products added in float32, nothing is merged."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, read_adapter
from midfill.engine.local.lora.files import WEIGHTS_FILE
from midfill.engine.local.model import int8
from midfill.engine.local.model.load import load, pick_floats
from midfill.engine.local.sequence.kv_cache import Slot
from tests.engine.test_adapters import save_adapter

FLOATS = getattr(torch, pick_floats(torch.device("cpu")))  # what this CPU multiplies fast
pytestmark = pytest.mark.skipif(not int8.is_supported(), reason="this CPU has no int8 products")


@pytest.mark.model
def test_an_adapter_beside_the_embedded_model_in_int8(
    embedded_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its logits are those of the quantised base with the low-rank products in float32 added to each layer."""
    base = AutoModelForCausalLM.from_pretrained(embedded_folder, dtype=FLOATS)
    save_adapter(base, tmp_path / "a", r=8, base_model_name_or_path=str(embedded_folder))
    tensors = load_file(tmp_path / "a" / "adapter_model.safetensors")
    # As strong as a trained one: one that turned everything round would compare noise with noise.
    save_file({k: v * 0.1 if "lora_B" in k else v for k, v in tensors.items()}, tmp_path / "a" / WEIGHTS_FILE)
    loaded = load(embedded_folder, "embedded", device="cpu", dtype="int8", progress=lambda *_: None)
    modules: Any = load(
        embedded_folder, "embedded", device="cpu", dtype="int8", progress=lambda *_: None, modules=True
    ).model  # fmt: skip
    runner = Runner(loaded.model)
    adapter = read_adapter("a", tmp_path / "a", loaded.model, loaded.base_names)
    ids = loaded.tokenizer.encode(Path(str(statistics.__file__)).read_text(encoding="utf-8"))[5000:5200]

    def logits(active: Adapter | None) -> torch.Tensor:
        slot = Slot()
        slot.begin(ids, None, None)
        with torch.inference_mode():
            (found,) = runner.forward([Rows(slot, ids, range(len(ids)), len(ids))], active)
        return found.float()

    def modules_logits() -> torch.Tensor:
        with torch.inference_mode():
            return modules(torch.tensor([ids])).logits[0].float()  # type: ignore[no-any-return]

    plain = logits(None)
    # Activations are rounded to 127 steps: a difference in the last bit may become one of a step, and grows from layer
    # to layer. By so much do two orders of the same sums differ on this text.
    noise = float((plain - modules_logits()).norm())
    reference = _Added(adapter)
    for path, module in modules.named_modules():
        if path in adapter.pairs:
            module.register_forward_hook(reference.hook(path))
    expected = modules_logits()
    runner.make_ready(adapter)
    ours = logits(adapter)
    change, difference = float((ours - plain).norm()), float((ours - expected).norm())
    assert reference.n_added == len(adapter.pairs) == 24 * 7
    assert change > 0.05 * float(plain.norm())
    assert difference < 2 * noise
    agreement = float((ours.argmax(-1) == expected.argmax(-1)).float().mean())
    assert agreement > 0.85
    base = AutoModelForCausalLM.from_pretrained(embedded_folder, dtype=FLOATS)  # PEFT put its layers into it
    model = PeftModel.from_pretrained(base, tmp_path / "a").eval()
    with torch.inference_mode():
        theirs = model(input_ids=torch.tensor([ids])).logits[0].float()
    figures = {
        "change": change,
        "difference_from_its_arithmetic": difference,
        "noise_of_the_base": noise,
        "first_choices_as_its_arithmetic": agreement,
        "first_choices_as_peft_in_floats": float((ours.argmax(-1) == theirs.argmax(-1)).float().mean()),
        "logits_against_peft_in_floats": float((ours - theirs).norm() / theirs.norm()),
        "first_choices_changed_by_the_adapter": float((ours.argmax(-1) != plain.argmax(-1)).float().mean()),
    }
    with capsys.disabled():
        print("\n" + json.dumps(figures))
    assert figures["first_choices_as_peft_in_floats"] > 0.8


class _Added:
    """Adds to the quantised modules what PEFT computes beside each layer."""

    def __init__(self, adapter: Adapter) -> None:
        self._pairs = dict(adapter.pairs)  # as they are before they are laid out for the short way
        self.n_added = 0

    def hook(self, path: str) -> Any:
        def add(module: nn.Module, inputs: tuple[torch.Tensor, ...], y: torch.Tensor) -> torch.Tensor:
            self.n_added += 1
            return y + self._pairs[path].delta(inputs[0])

        return add
