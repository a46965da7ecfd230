"""Training upon int8 weights: its gradients are those of floats that have the same values, up to rounded rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForCausalLM

from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.model import int8, int8_kernels
from midfill.engine.local.model.formats import Stored
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.load import LoadedModel
from midfill.train import base
from midfill.train.base import Lora, freeze, load_base, number_format
from midfill.train.dropout import window
from midfill.train.steps import Stepper, loss_of
from tests.engine.made import load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter
from tests.train.gradients_made import a_batch, apart, gradients, started

pytest.importorskip("numba")

from midfill.engine.local.forward.compiled.product import CompiledKernel
from midfill.train import int8_linear
from midfill.train.adapted_linear import AdaptedLinear
from midfill.train.int8_linear import FrozenInt8, pass_gradients

CPU = torch.device("cpu")
NEAR = 2e-3  # relative: rows of 16 bits, through three layers and back


@pytest.fixture(autouse=True)
def our_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a CPU with AVX2."""
    monkeypatch.setattr(int8_kernels, "best", lambda: CompiledKernel)
    monkeypatch.setattr(base, "pick_floats", lambda device: "float32")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def in_int8(folder: Path) -> LoadedModel:
    return load_base(folder, folder.name, "cpu", lambda *_: None)


def in_floats(folder: Path) -> LoadedModel:
    """Return float modules whose linear layers and embeddings have the values of the int8 ones."""
    loaded = load_tiny(folder, modules=True)
    with torch.no_grad():
        for module in loaded.model.modules():
            if isinstance(module, nn.Embedding) or (type(module) is nn.Linear and not is_tied(loaded, module)):
                values, scale = int8.quantise(module.weight)
                module.weight.copy_(values.float() * scale[:, None])
    return loaded


def is_tied(loaded: LoadedModel, module: nn.Module) -> bool:
    embedding = loaded.model.get_input_embeddings()
    return bool(module.weight is embedding.weight)  # changed once, as the embedding


@pytest.mark.parametrize(
    ("kind", "changes", "targets"),
    [
        ("qwen2", {"tie_word_embeddings": True}, ()),
        ("qwen2", {"tie_word_embeddings": False}, ()),
        ("gemma", {}, ()),
        ("llama", {}, ("k_proj", "v_proj", "up_proj")),  # a part of the layers that read the same input
        ("qwen3", {}, ("q_proj", "lm_head")),
    ],
)
def test_gradients_are_those_of_the_same_weights_in_floats(
    kind: str, changes: dict[str, Any], targets: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny(kind, tmp_path / "base", **changes)
    lora = Lora(rank=3, dropout=0.0, targets=targets)
    expected = gradients(started(in_floats(folder), lora))
    assert in_int8(folder).number_format == "int8"
    assert apart(gradients(started(in_int8(folder), lora)), expected) < NEAR
    monkeypatch.setattr(int8_linear, "DEPTH", 50)  # wide layers and the head in parts
    assert apart(gradients(started(in_int8(folder), lora)), expected) < NEAR


@pytest.mark.parametrize("mistake", ["not transposed", "scales left out", "adapter left out"])
def test_a_wrong_way_back_would_be_seen(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny("qwen2", tmp_path / "base")
    expected = gradients(started(in_floats(folder)))
    right = FrozenInt8.gradient

    def wrong(self: FrozenInt8, of_y: torch.Tensor) -> torch.Tensor:
        if mistake == "not transposed" and of_y.shape[1] == self.in_features:
            return self.linear.kernel(of_y)
        return right(self, of_y / self._scale[: of_y.shape[1]] * self._scale.mean())

    model = started(in_int8(folder))
    if mistake == "adapter left out":
        model.base_model.model.model.layers[1].mlp.down_proj.base_layer.linear.loras[0] = None
        with pytest.raises(AssertionError):
            apart(gradients(model), expected)
        return
    monkeypatch.setattr(FrozenInt8, "gradient", wrong)
    assert apart(gradients(model), expected) > 5 * NEAR


def test_one_mask_for_the_layers_that_read_the_same_input() -> None:
    torch.manual_seed(2)
    weights, bias = [int8.quantise(torch.randn(n, 64)) for n in (64, 32, 32)], torch.randn(128)
    frozen = FrozenInt8(Int8Linear("qkv", [Stored(*one) for one in weights], torch.split(bias, [64, 32, 32])))
    layer = AdaptedLinear(frozen)
    floats = torch.cat([values.float() * scale[:, None] for values, scale in weights])
    pairs = [(torch.randn(4, 64).requires_grad_(), torch.randn(n, 4).requires_grad_()) for n in (64, 32)]
    layer.loras = [Lone(*pairs[0]), None, Lone(*pairs[1])]
    x, of_y = torch.randn(40, 64, requires_grad=True), torch.randn(40, 128)
    torch.manual_seed(7)
    y = layer(x)
    found = torch.autograd.grad((y * of_y).sum(), [x, *pairs[0], *pairs[1]])
    torch.manual_seed(7)
    dropped = x * window(0.3, x.shape)
    parts = torch.split(x @ floats.T + bias, [64, 32, 32], 1)
    added = [dropped @ a.T @ b.T * 2.0 for a, b in pairs]
    expected = torch.cat([parts[0] + added[0], parts[1], parts[2] + added[1]], 1)
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=0.02)
    others = torch.autograd.grad((expected * of_y).sum(), [x, *pairs[0], *pairs[1]])
    for one, other in zip(found, others, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-3
    assert 0.2 < float((window(0.3, x.shape) == 0).float().mean()) < 0.4


class Lone:
    """A LoRA layer of peft, as far as it is read."""

    def __init__(self, a: torch.Tensor, b: torch.Tensor) -> None:
        from midfill.train.dropout import WindowDropout

        linears = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        for linear, weight in zip(linears, (a, b), strict=True):
            del linear.weight
            linear.weight = weight
        self.lora_A, self.lora_B = {"default": linears[0]}, {"default": linears[1]}
        self.lora_dropout, self.scaling = {"default": WindowDropout(0.3)}, {"default": 2.0}


def test_checkpointing_computes_the_same_again(tmp_path: Path) -> None:
    folder = save_tiny("qwen2", tmp_path / "base")
    plain = started(in_int8(folder), Lora(dropout=0.2))
    torch.manual_seed(1)
    expected = gradients(plain)
    loaded = in_int8(folder)
    loaded.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    loaded.model.enable_input_require_grads()
    model = started(loaded, Lora(dropout=0.2))
    torch.manual_seed(1)
    assert apart(gradients(model), expected) < 1e-5


def test_on_top_of_another_adapter(tmp_path: Path) -> None:
    folder = save_tiny("qwen2", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(folder), tmp_path / "team", r=8, lora_alpha=6)
    found = []
    for loaded in (in_floats(folder), in_int8(folder)):
        freeze(loaded.model, read_adapter("team", tmp_path / "team", loaded.model, loaded.base_names))
        found.append(gradients(started(loaded)))
    assert apart(found[1], found[0]) < NEAR
    assert apart(gradients(started(in_int8(folder))), found[0]) > 5 * NEAR  # the other adapter counts


def test_what_is_learned_is_read_as_any_adapter(tmp_path: Path) -> None:
    """After some steps, the files give transformers' floats the loss that training had."""
    folder = save_tiny("qwen2", tmp_path / "base")
    model = started(in_int8(folder))
    stepper, batch = Stepper(model, CPU, rate=2e-2, n_steps=8), a_batch()
    losses = [stepper.step([batch]) for _ in range(8)]
    model.eval()
    with torch.no_grad():
        after = float(loss_of(model, batch, CPU))
    assert after < 0.98 * losses[0]
    model.save_pretrained(str(tmp_path / "mine"))
    floats: Any = PeftModel.from_pretrained(in_floats(folder).model, str(tmp_path / "mine")).eval()
    with torch.no_grad():
        assert float(loss_of(floats, batch, CPU)) == pytest.approx(after, rel=2e-3)


@pytest.mark.parametrize(
    ("floats", "capability", "kernel", "kind", "expected"),
    [
        ("float32", "AVX2", CompiledKernel, "qwen2", "int8"),
        ("bfloat16", "AVX2", CompiledKernel, "qwen2", "bfloat16"),
        ("float32", "AVX512", CompiledKernel, "qwen2", "float32"),
        ("float32", "DEFAULT", CompiledKernel, "qwen2", "float32"),
        ("float32", "AVX2", int8_kernels.OneDnn, "qwen2", "float32"),
        ("float32", "AVX2", None, "qwen2", "float32"),
        ("float32", "AVX2", CompiledKernel, "gemma3", "float32"),  # which the engine does not read itself
    ],
)
def test_where_it_is_used(
    floats: str, capability: str, kernel: Any, kind: str, expected: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = save_tiny(kind, tmp_path / "base")
    monkeypatch.setattr(base, "pick_floats", lambda device: floats)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(int8_kernels, "best", lambda: kernel)
    assert number_format(folder, CPU) == expected
    monkeypatch.setattr(base, "pick_floats", lambda device: "float16")
    assert number_format(folder, torch.device("mps")) == "float16"


def test_every_layer_passes_gradients_once(tmp_path: Path) -> None:
    """Layers that read the same input stay one product."""
    loaded = load_tiny(save_tiny("qwen2", tmp_path / "base"), "int8", modules=True)
    pass_gradients(loaded.model)
    layer = loaded.model.model.layers[0]
    q, k, up = layer.self_attn.q_proj, layer.self_attn.k_proj, layer.mlp.up_proj
    assert isinstance(q.linear.frozen, FrozenInt8)
    assert q.linear is k.linear
    assert q.linear is not up.linear
    assert isinstance(loaded.model.lm_head.linear.frozen, FrozenInt8)
