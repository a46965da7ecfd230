"""An adapter computed beside the frozen product has the loss and the gradients of peft's own layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from midfill.engine.local.model.load import LoadedModel
from midfill.train import base
from midfill.train.adapted_linear import AdaptedLinear, stack
from midfill.train.base import Lora, load_base
from midfill.train.steps import with_gradient
from tests.engine.made import load_tiny, save_tiny
from tests.train.gradients_made import apart, gradients, started

CPU = torch.device("cpu")
NEAR = 1e-4  # relative


def loaded_as(folder: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> LoadedModel:
    """Return it as training loads it on a CPU that multiplies ``dtype``, stacked in either case."""
    monkeypatch.setattr(base, "number_format", lambda folder, device: dtype)
    loaded = load_base(folder, folder.name, "cpu", lambda *_: None)
    is_stacked = any(isinstance(getattr(one, "linear", None), AdaptedLinear) for one in loaded.model.modules())
    assert is_stacked == (dtype == "bfloat16")  # where it was measured
    if not is_stacked:
        stack(loaded.model)
    return loaded


KINDS = [
    ("qwen2", {"tie_word_embeddings": True}, ()),
    ("qwen2", {"tie_word_embeddings": False}, ("lm_head", "q_proj")),
    ("gemma", {}, ()),
    ("llama", {}, ("k_proj", "v_proj", "up_proj")),  # a part of the layers that read the same input
    ("qwen3", {}, ()),
    ("gemma3", {}, ()),  # which the engine does not read itself
    ("starcoder2", {}, ()),  # no gated layers
]


@pytest.mark.parametrize(("kind", "changes", "targets"), KINDS)
def test_gradients_are_those_of_pefts_own_layers(
    kind: str, changes: dict[str, Any], targets: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(kind, tmp_path / "base", **changes)
    lora = Lora(rank=3, dropout=0.0, targets=targets)
    plain = started(load_tiny(folder, modules=True), lora)
    assert not any(isinstance(getattr(one, "linear", None), AdaptedLinear) for one in plain.modules())
    expected = gradients(plain)
    loaded = loaded_as(folder, "float32", monkeypatch)
    assert any(isinstance(getattr(one, "linear", None), AdaptedLinear) for one in loaded.model.modules())
    assert apart(gradients(started(loaded, lora)), expected) < NEAR


def test_the_adapter_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny("qwen2", tmp_path / "base")
    expected = gradients(started(load_tiny(folder, modules=True)))
    model = started(loaded_as(folder, "float32", monkeypatch))
    layer = model.base_model.model.model.layers[1].mlp.up_proj
    with torch.no_grad():
        layer.lora_B["default"].weight.mul_(1.5)
    assert apart(gradients(model), expected) > 10 * NEAR


def test_in_bfloat16(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As near to float32 as peft's own layers on the same base, whose adapter alone is in float32."""
    folder = save_tiny("qwen2", tmp_path / "base")
    exact = gradients(started(load_tiny(folder, modules=True)))
    peft = gradients(started(load_tiny(folder, "bfloat16", modules=True)))
    ours = gradients(started(loaded_as(folder, "bfloat16", monkeypatch)))

    def cosine(found: dict[str, torch.Tensor]) -> float:
        a, b = (torch.cat([of[name].flatten() for name in exact]) for of in (found, exact))
        return float(a @ b / a.norm() / b.norm())

    assert cosine(ours) > 1 - 2 * (1 - cosine(peft)) - 1e-3
    assert cosine(ours) > 0.99


def test_dropout_is_drawn_in_training_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = started(loaded_as(save_tiny("qwen2", tmp_path / "base"), "float32", monkeypatch), Lora(dropout=0.3))
    torch.manual_seed(1)
    first, second = gradients(model)["loss"], gradients(model)["loss"]
    assert not torch.equal(first, second)
    assert torch.equal(gradients(model.eval())["loss"], gradients(model)["loss"])


def test_weights_are_held_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stacks replace the layers' own weights, and a tied head stays the embedding's."""
    folder = save_tiny("qwen2", tmp_path / "base", tie_word_embeddings=True)
    plain = load_tiny(folder, modules=True).model
    model = loaded_as(folder, "float32", monkeypatch).model
    assert not [name for name, one in model.named_modules() if type(one) is nn.Linear and name != "lm_head"]
    assert model.lm_head.weight is model.get_input_embeddings().weight
    inside = {id(one.linear): one.linear for one in model.modules() if hasattr(one, "linear")}.values()
    stacked = sum(one.frozen.linear.n_bytes for one in inside)
    held = sum(one.numel() * one.element_size() for one in model.parameters())
    assert stacked + held == sum(one.numel() * one.element_size() for one in plain.parameters())
    layer = model.model.layers[0]
    assert layer.self_attn.q_proj.linear is layer.self_attn.v_proj.linear
    assert layer.mlp.gate_proj.linear is layer.mlp.up_proj.linear


def test_layers_that_read_other_inputs_are_right_all_the_same() -> None:
    """The names say that layers read the same input; a model may still call them with different ones."""

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.gate_proj, self.up_proj = nn.Linear(8, 6), nn.Linear(8, 6)

        def get_output_embeddings(self) -> None:
            return None

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            gate, up = self.gate_proj, self.up_proj
            y: torch.Tensor = gate(x) + up(2 * x) + gate(3 * x)
            return y

    model, x = Odd().requires_grad_(False), torch.randn(2, 5, 8)
    expected = model(x)
    stack(model)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_the_gradient_of_a_cross_entropy(dtype: torch.dtype, size: float) -> None:
    torch.manual_seed(0)
    logits = (torch.randn(9, 400) * size).to(dtype)
    labels, weights = torch.randint(0, 400, (9,)), torch.rand(9)
    given = logits.clone()
    nats, gradient = with_gradient(logits, labels, weights)
    assert torch.equal(logits, given)
    exact = logits.double().requires_grad_()
    expected = (cross_entropy(exact, labels, reduction="none") * weights).sum()
    expected.backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(nats, expected.detach().float(), rtol=1e-5, atol=1e-5)
    assert exact.grad is not None
    torch.testing.assert_close(gradient, exact.grad.float(), rtol=1e-5, atol=1e-6)
