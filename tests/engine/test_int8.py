"""Int8 weights: close to the float model, the same for a token alone and among others, and usable with adapters."""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.model import int8, int8_kernels
from midfill.engine.local.model.formats import Stored
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.load import LoadedModel, load, pick_floats
from midfill.engine.local.model.modules import PackedLinear
from midfill.engine.local.sequence.generation import Generation, Sampling, Token
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.sequence.prompt_lookup import Drafter
from midfill.types import MidfillError
from tests.engine.made import load_rounding, load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter, with_adapter

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
    product = Int8Linear([""], [Stored(values, scale)], [bias])
    n_levels = product.kernel.levels
    largest = x.abs().amax(dim=1, keepdim=True)
    levels = (x * (n_levels / largest)).round()
    expected = (levels @ values.float().T) * scale * largest / n_levels + bias
    torch.testing.assert_close(product(x), expected, rtol=1e-5, atol=1e-4)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    values, scale = int8.quantise(torch.randn(256, 128))
    product = Int8Linear([""], [Stored(values, scale)], [None])
    row = torch.randn(1, 128)
    alone = product(row)
    for neighbours in (torch.randn(15, 128) * 1000, torch.randn(3, 128) * 1e-3):
        assert torch.equal(product(torch.cat([row, neighbours]))[:1], alone)


@pytest.mark.parametrize("n", range(1, 2 * int8_kernels.MIN_ROWS))
def test_few_rows_come_out_as_among_many(n: int) -> None:
    values, scale = int8.quantise(torch.randn(64, 4864))
    product = Int8Linear([""], [Stored(values, scale)], [None])
    rows = torch.randn(40, 4864)
    every = product(rows)
    assert torch.equal(product(rows[:n]), every[:n])
    assert torch.equal(product(rows), every)


def test_fused_layers_answer_as_they_would_alone() -> None:
    layers = [nn.Linear(64, n) for n in (64, 32, 32)]
    quantised = [int8.quantise(layer.weight.data) for layer in layers]
    biases: list[torch.Tensor | None] = [layer.bias.data for layer in layers]
    weights = [Stored(values, scale) for values, scale in quantised]
    fused = Int8Linear("qkv", weights, biases)
    parts = [PackedLinear(fused, i, torch.float32, torch.device("cpu")) for i in range(3)]
    for part in parts:
        part._shared = parts[0]._shared
    for x in (torch.randn(1, 4, 64), torch.randn(1, 1, 64)):
        for part, weight, bias in zip(parts, weights, biases, strict=True):
            alone = Int8Linear([""], [weight], [bias])(x[0])
            assert torch.equal(part(x)[0], alone)
        assert not parts[0]._shared  # nothing is held between steps


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_model_stays_close_to_the_float_one(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    plain, quantised = load_tiny(folder), load_tiny(folder, "int8")
    ids = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        a, b = load_rounding(folder)(ids).logits, with_adapter(quantised, None, ids)
    assert a.shape == b.shape
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
        adapter = read_adapter("a", adapter_folder, loaded.model, loaded.base_names)
        before = with_adapter(loaded, None, ids)
        logits[name] = with_adapter(loaded, adapter, ids)
        assert torch.equal(with_adapter(loaded, None, ids), before)
    assert float((logits["plain"] - logits["int8"]).norm() / logits["plain"].norm()) < 0.1


def test_int8_is_refused_where_it_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this CPU multiplies it slowly and optimum-quanto, which does it elsewhere, is not there either."""
    monkeypatch.setattr(int8, "is_supported", lambda: False)
    monkeypatch.setitem(sys.modules, "optimum", None)
    with pytest.raises(MidfillError, match="optimum-quanto") as caught:
        load_tiny(save_tiny("llama", tmp_path / "m"), "int8")
    assert "numba" in caught.value.remedy


CODE = Path(str(statistics.__file__)).read_text(encoding="utf-8")


def perplexity(loaded: LoadedModel, n_tokens: int = 1200) -> float:
    """Return the perplexity on real code."""
    ids = loaded.tokenizer.encode(CODE)[5000 : 5000 + n_tokens]
    runner, slot, loss = Runner(loaded.model), Slot(), 0.0
    slot.begin(ids, None, None)
    for start in range(0, n_tokens, 240):
        positions = range(start, min(start + 240, n_tokens))
        (logits,) = runner.forward([Rows(slot, ids[start : start + 240], positions, len(positions))])
        wanted = torch.tensor(ids[start + 1 : start + 241])
        loss += float(nn.functional.cross_entropy(logits[: len(wanted)].float(), wanted, reduction="sum"))
    return math.exp(loss / (n_tokens - 1))


@pytest.mark.model
def test_the_embedded_model_is_hardly_worse_than_in_floats(
    embedded_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that this CPU multiplies fast: bfloat16, or else float32, which is the stricter measure."""
    floats = pick_floats(torch.device("cpu"))
    found = {}
    for form in (floats, "int8"):
        loaded = load(embedded_folder, "embedded", device="cpu", dtype=form, progress=lambda stage, fraction: None)
        with torch.inference_mode():
            found[form] = perplexity(loaded)
    with capsys.disabled():
        print(f"\n  perplexity on real code: { {form: round(value, 3) for form, value in found.items()} }")
    assert found["int8"] < 1.02 * found[floats]


@pytest.mark.model
def test_drafts_change_not_a_bit(embedded_folder: Path) -> None:
    """Each token's logits are the same whether it was decoded alone or verified among others."""
    loaded = load(embedded_folder, "embedded", device="cpu", dtype="int8", progress=lambda stage, fraction: None)
    runner, ids = Runner(loaded.model), loaded.tokenizer.encode(CODE)[2000:2300]
    with torch.inference_mode():
        alone: list[torch.Tensor] = []
        said: list[Token] = []
        slot = Slot()
        slot.begin(ids, None, None)
        generation = Generation(slot, Sampling())
        while len(said) < 18:
            rows = generation.rows()
            (logits,) = runner.forward([rows])
            said += generation.take(rows, logits)
            alone += list(logits)
        for n_drafts in (1, 6, 15):
            slot = Slot()
            slot.begin(ids, None, None)
            again = Generation(slot, Sampling(), drafter=Fixed([token.id for token in said], len(ids)))
            verified: list[torch.Tensor] = []
            while len(verified) < len(alone):
                rows = again.rows(max_drafts=n_drafts)
                (logits,) = runner.forward([rows])
                verified += list(logits[: len(again.take(rows, logits))])
            for mine, expected in zip(verified, alone, strict=False):
                assert torch.equal(mine, expected)


class Fixed(Drafter):
    """Drafts the tokens that will come, with a wrong one now and then."""

    def __init__(self, said: list[int], n_prompt: int) -> None:
        super().__init__()
        self._said, self._n_prompt = said, n_prompt

    def draft(self, ids: Sequence[int], limit: int) -> list[int]:
        """Return the next tokens; the seventh of all is wrong."""
        at = len(ids) - self._n_prompt
        right = self._said[at : at + limit]
        return [token if at + i != 7 else token + 1 for i, token in enumerate(right)] if at > 0 else []
