"""An adapter that is frozen in the base while another is trained on top of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from midfill.engine.local.lora.adapter import read_adapter
from midfill.train.base import Lora, freeze, with_lora
from midfill.train.steps import Stepper, losses
from tests.engine.made import load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter
from tests.train.made import python_file

CPU = torch.device("cpu")
IDS = torch.arange(24)[None] * 13 % 350


@pytest.mark.parametrize("rank", [2, 8])
def test_it_begins_where_the_frozen_one_is_and_saves_only_its_own(rank: int, tmp_path: Path) -> None:
    base = save_tiny("qwen2", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(base), tmp_path / "team", r=rank, lora_alpha=6)
    loaded = load_tiny(base, modules=True)
    freeze(loaded.model, read_adapter("team", tmp_path / "team", loaded.model, loaded.base_names))
    adapted = with_lora(loaded, Lora(rank=4, dropout=0.0), str(base), 1)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    team: Any = PeftModel.from_pretrained(plain, tmp_path / "team").eval()
    adapted.eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted(IDS).logits, team(IDS).logits, atol=2e-4, rtol=1e-4)
    trained = [weight for name, weight in adapted.named_parameters() if weight.requires_grad]
    assert all(weight.shape[0] == 4 or weight.shape[1] == 4 for weight in trained)
    adapted.save_pretrained(str(tmp_path / "mine"))
    assert not [key for key in load_file(tmp_path / "mine" / "adapter_model.safetensors") if "base_layer" in key]


def test_the_sum_is_served_as_it_was_trained(tmp_path: Path) -> None:
    """After some steps on top of another adapter, the engine's sum has the loss that training had."""
    from midfill import fim
    from midfill.engine.local.scoring import Scorer
    from midfill.train.collect import SourceText
    from midfill.train.examples import Batch, Maker, held_out

    base = save_tiny("qwen2", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(base), tmp_path / "team", 1)
    loaded = load_tiny(base, modules=True)
    freeze(loaded.model, read_adapter("team", tmp_path / "team", loaded.model, loaded.base_names))
    adapted = with_lora(loaded, Lora(dropout=0.0), str(base), 1)
    files = [SourceText("repo", f"a{n}.py", "python", python_file(n)) for n in range(3)]
    renderer = fim.FimRenderer(fim.detect(loaded.tokenizer), loaded.tokenizer, heal=True)
    examples = list(held_out(Maker(files, renderer), 3, 300))
    before = list(losses(adapted, examples, CPU))
    stepper = Stepper(adapted, CPU, rate=2e-2, n_steps=6)
    for _ in range(6):
        stepper.step([Batch.of(examples)])
    trained = list(losses(adapted, examples, CPU))
    assert sum(trained) < 0.98 * sum(before)
    adapted.save_pretrained(str(tmp_path / "mine"))
    scorer = Scorer(str(base), device="cpu", dtype="float32", progress=lambda stage, fraction: None)
    both = scorer.read("team+mine", [tmp_path / "team", tmp_path / "mine"])
    alone = scorer.read("mine", [tmp_path / "mine"])
    apart = 0.0
    for example, expected in zip(examples, trained, strict=True):
        nats, others = (scorer.nats(example.ids, example.n_prompt, one) for one in (both, alone))
        assert sum(nats) / len(nats) == pytest.approx(expected, rel=2e-3)
        apart += sum(abs(a - b) for a, b in zip(nats, others, strict=True))
    assert apart > 1  # nats: it was not trained to do without the other one
