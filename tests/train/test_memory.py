"""The memory of training: the formula against counted bytes and known cards; a base in four bits stays small."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import AutoModelForCausalLM, GemmaConfig, LlamaConfig, Qwen2Config

from midfill.engine.local.model.load import LoadedModel
from midfill.train import base, memory, steps
from midfill.train.base import Lora, quantised_model, with_lora
from midfill.train.examples import Batch, Example
from midfill.train.job import Job
from midfill.train.memory import AGAIN, KEPT, KEPT_WITH_COPIES, check, need
from midfill.train.steps import filled_up, loss_of
from midfill.types import MidfillError
from tests.engine.made import load_tiny, save_tiny

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
FAMILIES = {"gemma": GemmaConfig, "qwen2": Qwen2Config, "llama": LlamaConfig}
GB = 1e9


class Dropout(torch.autograd.Function):
    """As a GPU's, which keeps a byte a number; the CPU's keeps a number."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        """x, and a mask for the way back."""
        kept = torch.rand(x.shape) > 0.1
        ctx.save_for_backward(kept)
        return torch.mul(x, kept)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Not needed here."""
        return gradient


def adapted(kind: str, hidden: int, inner: int, n_layers: int, *, copies: bool) -> PeftModel:
    config = FAMILIES[kind](
        vocab_size=64, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=n_layers, num_attention_heads=4,
        num_key_value_heads=4, head_dim=hidden // 4,
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    whole = LoadedModel("", Path(), model.requires_grad_(False), None, CPU, "", 0, frozenset())  # type: ignore[arg-type]
    found = with_lora(whole, Lora(), "", 1)
    for module in found.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = copies
        if hasattr(module, "lora_dropout"):
            module.lora_dropout["default"].forward = Dropout.apply
    return found.train()


def kept_bytes(model: PeftModel, n_tokens: int, *, copies: bool) -> int:
    """Return the bytes that the layers keep for the backward pass, without weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        at = tensor.untyped_storage().data_ptr()
        if at not in weights:
            kept[at] = tensor
        return tensor

    half = contextlib.nullcontext() if copies else torch.autocast("cpu", dtype=torch.bfloat16)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), half:
        model.get_base_model().base_model(input_ids=torch.zeros((1, n_tokens), dtype=torch.long), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("copies", [False, True])
def test_what_a_layer_keeps_is_what_is_counted(kind: str, copies: bool) -> None:
    by_width, by_inner = KEPT_WITH_COPIES if copies else KEPT
    n = 48
    for hidden, inner in ((256, 512), (512, 512), (256, 1536)):
        two, three = (kept_bytes(adapted(kind, hidden, inner, n, copies=copies), 48, copies=copies) for n in (2, 3))
        said = n * (by_width * hidden + by_inner * inner)
        assert 0.95 < said / (three - two) < 1.15, (hidden, inner)


@pytest.fixture
def codegemma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as large as CodeGemma-7B says it is, without a byte in it, and a GPU that multiplies bfloat16."""
    config = {
        "model_type": "gemma", "vocab_size": 256_000, "hidden_size": 3072, "intermediate_size": 24_576,
        "num_hidden_layers": 28, "num_attention_heads": 16, "head_dim": 256,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(17_075_361_792)
    monkeypatch.setattr(memory, "pick_floats", lambda device: "bfloat16")
    monkeypatch.setattr(memory, "_there", lambda device: (int(22.7 * (1 << 30)), "free on a card of 24 GB"))
    return tmp_path


@pytest.mark.parametrize(
    ("chosen", "tied", "least", "most"),
    # Peaks with the embedded model were 5.5 and 3.6 GB (docs/log.md, 2026-12-01).
    [("float32", True, 5.5, 6.5), ("int8", True, 3.6, 5.0), ("int8", False, 4.0, 5.4)],
)
def test_a_cpu(
    chosen: str, tied: bool, least: float, most: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {
        "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896, "intermediate_size": 4864,
        "num_hidden_layers": 24, "tie_word_embeddings": tied,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.truncate(2 * (494_032_768 + (not tied) * 151_936 * 896))
    monkeypatch.setattr(memory, "number_format", lambda folder, device: chosen)
    found = need(tmp_path, CPU, 512, quantised=False)
    assert least * GB < found.total < most * GB
    again = need(tmp_path, CPU, 512, quantised=False, checkpointing=True)
    assert again.weights == found.weights
    assert again.work < found.work - GB


@pytest.mark.parametrize(
    ("n_tokens", "quantised", "checkpointing", "least", "most", "fits"),
    [
        # By hand, GB: layers 6.97e9 weights x 0.516 = 4.0 and the embedding 1.57; of a layer and a token 36 x 4096 +
        # 10 x 24,576 bytes = 393 kB, which is 0.8 for 2,048; inputs of all layers 0.35; a weight widened twice 0.3;
        # 128 rows of logits 0.5; CUDA and the rest 1.1.
        (2048, True, True, 8.5, 10.0, True),
        (4096, True, True, 9.5, 11.5, True),
        (1024, True, False, 18.0, 20.0, True),
        (2048, True, False, 29.0, 32.0, False),
        (2048, False, True, 20.0, 21.5, True),
        (2048, False, False, 40.0, 43.0, False),
    ],
)
def test_a_card_of_24_gb(
    codegemma: Path, n_tokens: int, quantised: bool, checkpointing: bool, least: float, most: float, fits: bool
) -> None:
    found = need(codegemma, CUDA, n_tokens, quantised=quantised, checkpointing=checkpointing)
    assert least * GB < found.total < most * GB
    with contextlib.nullcontext() if fits else pytest.raises(MidfillError, match="training needs about"):
        check(found)


def test_a_base_in_four_bits(codegemma: Path) -> None:
    """Embedding and head are not quantised; where they are two, both count."""
    assert need(codegemma, CUDA, 1, quantised=True).weights == pytest.approx(5.59 * GB, rel=0.02)
    config = json.loads((codegemma / "config.json").read_text()) | {"tie_word_embeddings": False}
    (codegemma / "config.json").write_text(json.dumps(config))
    assert need(codegemma, CUDA, 1, quantised=True).weights == pytest.approx(6.76 * GB, rel=0.02)


def test_logits_that_are_made_at_once_count_whole(codegemma: Path) -> None:
    before = need(codegemma, CUDA, 2048, quantised=True, checkpointing=True).total
    config = json.loads((codegemma / "config.json").read_text()) | {"final_logit_softcapping": 30.0}
    (codegemma / "config.json").write_text(json.dumps(config))
    after = need(codegemma, CUDA, 2048, quantised=True, checkpointing=True).total
    assert after - before == (2048 - steps.PIECE) * 256_000 * memory.LOGIT
    assert AGAIN > 1


def test_four_bits_mean_checkpointing() -> None:
    job = Job(name="", roots=(), held_out=(), folder="", model="")
    asked = [
        Job(**{name: getattr(job, name) for name in job.__slots__} | {"quantise": quantise, "checkpointing": again})
        for quantise in (False, True) for again in (False, True)
    ]  # fmt: skip
    assert [one.computes_again for one in asked] == [False, True, True, True]


def sixteen_bits_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(steps, "computes_in_sixteen_bits", lambda model, device: model.dtype == torch.bfloat16)
    monkeypatch.setattr(base, "computes_in_sixteen_bits", lambda model, device: model.dtype == torch.bfloat16)


def examples(n: int, length: int) -> Batch:
    ids = torch.randint(5, 90, (n, length), generator=torch.Generator().manual_seed(n)).tolist()
    return Batch.of([Example(tuple(one), length // 2, "line") for one in ids])


def check_formats(model: PeftModel, device: torch.device = CPU) -> None:
    """Between the layers there is bfloat16, and so are the gradients' ways; only the adapter is in float32."""
    formats: set[torch.dtype] = set()
    for layer in model.get_base_model().base_model.layers:
        layer.register_forward_hook(lambda _, __, out: formats.add((out[0] if isinstance(out, tuple) else out).dtype))
    loss = loss_of(model, examples(2, 60), device)
    loss.backward()  # type: ignore[no-untyped-call]
    assert formats == {torch.bfloat16}
    learned = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert all("lora_" in name and weight.dtype == torch.float32 for name, weight in learned.items())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in learned.values())
    others = [weight for weight in model.parameters() if not weight.requires_grad]
    assert not [weight for weight in others if weight.dtype == torch.float32]


def test_a_base_in_bfloat16_stays_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sixteen_bits_everywhere(monkeypatch)
    loaded = load_tiny(save_tiny("gemma", tmp_path / "base"), "bfloat16", modules=True)
    loaded.model.set_attn_implementation("sdpa")
    check_formats(with_lora(loaded, Lora(dropout=0.0), "", 1, checkpointing=True).train())


@pytest.mark.parametrize("kind", ["gemma", "qwen2"])
def test_a_base_in_four_bits_stays_in_bfloat16(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    sixteen_bits_everywhere(monkeypatch)
    folder = save_tiny(kind, tmp_path / "base")
    model = quantised_model(folder, "cpu")
    names = {name for name, weight in model.named_parameters() if weight.dtype == torch.uint8}
    assert len(names) == 3 * 7
    loaded = LoadedModel("", folder, model, load_tiny(folder).tokenizer, CPU, "nf4", 0, frozenset())
    check_formats(with_lora(loaded, Lora(dropout=0.0), "", 1, checkpointing=True).train())


@pytest.mark.parametrize("n", [1, 3])
def test_rows_that_are_filled_up_have_the_same_loss(n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_tiny(save_tiny("qwen2", tmp_path / "base"), modules=True)
    loaded.model.set_attn_implementation("sdpa")
    model, batch = with_lora(loaded, Lora(dropout=0.0), "", 1), examples(n, 50)
    plain = float(loss_of(model, batch, CPU).detach())
    ids, positions = filled_up(batch, 128)
    assert len(ids) == len(positions) == (128 if n == 1 else 256)
    assert ids[: len(batch.ids)] == list(batch.ids)
    assert positions[len(batch.ids)] == batch.positions[-1] + 1  # no example of its own: one example needs no mask
    row = {"input_ids": torch.tensor([ids]), "position_ids": torch.tensor([positions])}
    monkeypatch.setattr(steps, "_inputs", lambda batch, device: row)
    assert float(loss_of(model, batch, CPU).detach()) == pytest.approx(plain, rel=1e-5)
