"""Int8 weights: close to the float model, the same for a token alone and among others, and usable with adapters."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from midfill.engine.local import int8
from midfill.engine.local.adapters import AdapterSwitch, read_adapter
from midfill.engine.local.load import load
from midfill.types import MidfillError
from tests.engine.made import load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter

pytestmark = pytest.mark.skipif(not int8.is_supported(), reason="this CPU has no int8 products")

ARCHITECTURES = ("llama", "qwen2", "gemma", "gemma3", "starcoder2")


def test_quantise_keeps_each_row_within_half_a_step() -> None:
    weight = torch.randn(64, 96) * torch.logspace(-3, 3, 64)[:, None]
    values, scale = int8.quantise(weight)
    error = (values.float() * scale[:, None] - weight).abs().amax(dim=1)
    assert bool((error <= scale * 0.5001).all())


def test_a_product_equals_the_arithmetic_it_stands_for() -> None:
    weight, bias, x = torch.randn(160, 64), torch.randn(160), torch.randn(5, 64)
    values, scale = int8.quantise(weight)
    product = int8.Int8Product(values, scale, [bias], [160])
    largest = x.abs().amax(dim=1, keepdim=True)
    steps = (x * (127 / largest)).round()
    expected = (steps @ values.float().T) * scale * largest / 127 + bias
    torch.testing.assert_close(product.part(x, 0), expected, rtol=1e-5, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    values, scale = int8.quantise(torch.randn(256, 128))
    product = int8.Int8Product(values, scale, [None], [256])
    row = torch.randn(1, 128)
    alone = product.part(row, 0)
    for neighbours in (torch.randn(15, 128) * 1000, torch.randn(3, 128) * 1e-3):
        assert torch.equal(product.part(torch.cat([row, neighbours]), 0)[:1], alone)


def test_fused_layers_answer_as_they_would_alone() -> None:
    layers = [nn.Linear(64, n) for n in (64, 32, 32)]
    quantised = [int8.quantise(layer.weight.data) for layer in layers]
    biases: list[torch.Tensor | None] = [layer.bias.data for layer in layers]
    stacked = torch.cat([values for values, _ in quantised]), torch.cat([scale for _, scale in quantised])
    fused = int8.Int8Product(*stacked, biases, [64, 32, 32])
    for x in (torch.randn(1, 4, 64), torch.randn(1, 1, 64)):
        for i, (values, scale) in enumerate(quantised):
            alone = int8.Int8Product(values, scale, [biases[i]], [len(values)])
            assert torch.equal(fused.part(x, i), alone.part(x, 0))


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_model_stays_close_to_the_float_one(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    plain, quantised = load_tiny(folder), load_tiny(folder, "int8")
    ids = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        a, b = plain.model(ids).logits, quantised.model(ids).logits
    assert float((a - b).norm() / a.norm()) < 0.05
    assert plain.parameters == quantised.parameters


def test_adapters_run_beside_int8_weights(tmp_path: Path) -> None:
    folder = save_tiny("gemma", tmp_path / "base")
    plain, quantised = load_tiny(folder), load_tiny(folder, "int8")
    adapter_folder = tmp_path / "adapter"
    save_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), adapter_folder)
    ids = torch.arange(5, 25)[None]
    logits = {}
    for name, loaded in (("plain", plain), ("int8", quantised)):
        switch = AdapterSwitch(loaded.model)
        adapter = read_adapter("a", adapter_folder, loaded.model, loaded.base_names)
        with torch.inference_mode():
            before = loaded.model(ids).logits
            switch.add(adapter)
            switch.active = adapter
            logits[name] = loaded.model(ids).logits
            switch.active = None
            assert torch.equal(loaded.model(ids).logits, before)
    assert float((logits["plain"] - logits["int8"]).norm() / logits["plain"].norm()) < 0.1


def test_int8_is_refused_where_it_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_supported", lambda: False)
    with pytest.raises(MidfillError, match="VNNI"):
        load_tiny(save_tiny("llama", tmp_path / "m"), "int8")


@pytest.mark.model
def test_the_embedded_model_says_nearly_what_it_says_in_float32(
    embedded_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a\n"
    said, loss = {}, {}
    for form in ("float32", "int8"):
        loaded = load(embedded_folder, "embedded", device="cpu", dtype=form, progress=lambda stage, fraction: None)
        ids = torch.tensor([loaded.tokenizer.encode(text)])
        with torch.inference_mode():
            logits = loaded.model(ids).logits[0, :-1].float()
        said[form] = logits.argmax(dim=-1)
        loss[form] = float(nn.functional.cross_entropy(logits, ids[0, 1:]))
    agreement = float((said["int8"] == said["float32"]).float().mean())
    with capsys.disabled():
        print(f"\n  first choices that agree: {agreement:.3f}; loss {loss['float32']:.3f} -> {loss['int8']:.3f}")
    assert agreement > 0.85
    assert loss["int8"] < loss["float32"] + 0.1
