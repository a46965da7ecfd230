"""Products of prompts by AVX-512 VNNI: correct, the same alone and in a batch, and chosen only if measured faster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Qwen2Config

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model.int8_kernels import best
from midfill.engine.local.sequence.kv_cache import Slot
from tests.engine.made import CONFIGS, load_tiny, save_tiny

numba = pytest.importorskip("numba")

from midfill.engine.local.forward.compiled import byte_products, choice, forward, products, step  # noqa: E402
from midfill.engine.local.forward.compiled.byte_tiles import GROUP, LEVELS, ZERO, has_vnni  # noqa: E402
from midfill.engine.local.forward.compiled.compiled import Array  # noqa: E402
from midfill.engine.local.forward.compiled.product import CompiledKernel  # noqa: E402
from midfill.engine.local.forward.compiled.team import team  # noqa: E402
from midfill.engine.local.forward.compiled.tiles import DEPTH, OUTPUTS  # noqa: E402

# A model whose sizes fill the groups: 64 inputs.
SIZES: dict[str, Any] = {
    "vocab_size": 352, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "bos_token_id": None, "eos_token_id": None,
    "pad_token_id": None,
}  # fmt: skip
needs_vnni = pytest.mark.skipif(not has_vnni(), reason="this CPU has no AVX-512 VNNI")


class Multiplied:
    """A weight (outputs, depth) in panels, with the rest that its products by bytes need."""

    def __init__(self, outputs: int, depth: int) -> None:
        chance = np.random.default_rng(outputs + depth)
        self.weight = chance.integers(-127, 128, (outputs, depth), dtype=np.int8)
        self.scale = chance.random(outputs, np.float32)
        self.packed = np.empty((outputs // OUTPUTS, depth // DEPTH, OUTPUTS, DEPTH), np.int8)
        products.pack(0, 1, self.weight, self.packed)
        self.offsets = choice.offsets_for(self.packed)

    def __call__(self, rows: Array) -> Array:
        n, depth = rows.shape
        out: Array = np.empty((n, len(self.weight)), np.float32)
        x, scales = np.empty(n * depth, np.int16), np.empty(n * depth // GROUP, np.float32)
        byte_products.multiply(rows, self.packed, self.offsets, self.scale, x, scales, out)
        return out


def quantised(rows: Array) -> Array:
    """Return ``rows`` with each group of inputs rounded to its levels."""
    groups = rows.reshape(len(rows), -1, GROUP)
    largest = np.abs(groups).max(-1, keepdims=True)
    found: Array = (np.rint(groups * (np.float32(LEVELS) / largest)) * (largest / np.float32(LEVELS))).reshape(
        rows.shape
    )
    return found


@needs_vnni
@pytest.mark.parametrize("n", [1, 2, 5, 6, 37, 80])
@pytest.mark.parametrize(("outputs", "depth"), [(32, 64), (96, 896), (64, 4864)])
def test_it_is_the_product_of_the_quantised_rows(n: int, outputs: int, depth: int) -> None:
    product, rows = Multiplied(outputs, depth), np.random.default_rng(n).standard_normal((n, depth), np.float32)
    expected = quantised(rows) @ (product.weight.T * product.scale.astype(np.float64))
    # One input of thousands that lies between two levels may be taken to the other one.
    assert np.linalg.norm(product(rows) - expected) < 2e-4 * np.linalg.norm(expected)


@needs_vnni
def test_a_few_large_activations_do_not_spoil_the_others() -> None:
    """Models have such activations. One scale for a whole row would leave next to nothing of the rest."""
    product, rows = Multiplied(96, 896), np.random.default_rng(7).standard_normal((20, 896), np.float32)
    rows[:, 5] *= 1000
    rest = rows.copy()
    rest[:, 5] = 0
    only = np.zeros_like(rows)
    only[:, 5] = rows[:, 5]
    found = product(rows) - product(only)  # the large one is exact: it is on the highest level of its group
    expected = rest @ (product.weight.T * product.scale)
    assert np.linalg.norm(found - expected) < 0.3 * np.linalg.norm(expected)  # its group of 64 is lost, the others not
    level = np.abs(rows).max(1, keepdims=True) / LEVELS
    coarse = (np.rint(rest / level) * level) @ (product.weight.T * product.scale)
    assert np.linalg.norm(coarse - expected) > 0.6 * np.linalg.norm(expected)  # what one scale a row would do


@needs_vnni
def test_sums_of_the_largest_numbers_do_not_overflow() -> None:
    product, depth = Multiplied(32, 64), 64
    product.weight[:] = -127
    products.pack(0, 1, product.weight, product.packed)
    product.offsets = choice.offsets_for(product.packed)
    for sign in (1, -1):
        rows = np.full((7, depth), sign, np.float32)
        assert np.allclose(product(rows), -127.0 * depth * sign * product.scale, rtol=1e-6)


@needs_vnni
def test_a_row_is_the_same_bit_for_bit_alone_and_among_others() -> None:
    product, rows = Multiplied(96, 896), np.random.default_rng(3).standard_normal((41, 896), np.float32)
    together = product(rows)
    for n in (1, 2, 3, 5, 11, 40):
        assert (product(rows[:n]) == together[:n]).all()
        assert (product(rows[-n:]) == together[-n:]).all()


@needs_vnni
@pytest.mark.skipif(best() is not CompiledKernel, reason="this CPU has other products")
@pytest.mark.parametrize("n", [1, 17, 18, 100])
def test_prompts_take_bytes_and_are_the_pass_with_more_bits(
    n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is the same whether it was drafted or decoded: steps of few rows do not change."""
    monkeypatch.setitem(CONFIGS, "wide", lambda: Qwen2Config(**SIZES))
    save_tiny("wide", tmp_path / "m")
    ids, found, used = [5 + i * 7 % 80 for i in range(n)], [], []
    kept = team.run

    def run(function: Any, *arguments: Any, threads: int) -> None:
        if function is forward.step:
            used.append(bool(arguments[0].bytes))
        kept(function, *arguments, threads=threads)

    monkeypatch.setattr(team, "run", run)
    for in_bytes in (True, False):
        monkeypatch.setattr(step, "bytes_are_faster", lambda chosen=in_bytes: chosen)
        model = load_tiny(tmp_path / "m", "int8").model
        runner, slot = Runner(model), Slot()
        slot.begin(ids, None, None)
        used.clear()
        with torch.inference_mode():
            found += runner.forward([Rows(slot, ids, range(n), n)])
        assert set(used) == {in_bytes and n > 17}
    difference = float((found[0] - found[1]).norm() / found[1].norm())
    assert (0 < difference < 0.02) if n > 17 else difference == 0


@needs_vnni
def test_what_was_measured_is_kept_for_this_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[float] = []

    def measure(ratio: float) -> float:
        measured.append(ratio)
        return ratio

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choice, "measure", lambda: measure(0.5))
    assert choice.bytes_are_faster()
    assert choice.bytes_are_faster()
    assert len(measured) == 1
    file = tmp_path / choice.FILE
    kept = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**kept, "cpu": "another"}), encoding="utf-8")  # a home that two machines share
    monkeypatch.setattr(choice, "measure", lambda: measure(0.95))
    assert not choice.bytes_are_faster()
    assert len(measured) == 2
    file.write_text("{", encoding="utf-8")
    assert not choice.bytes_are_faster()
    assert len(measured) == 3


@needs_vnni
def test_a_product_that_is_wrong_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < choice.measure() < 100
    monkeypatch.setattr(byte_products, "multiply", lambda *arguments: arguments[-1].fill(0))
    assert choice.measure() == float("inf")


def test_a_cpu_without_the_instruction_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_vnni", lambda: False)
    monkeypatch.setattr(choice, "measure", lambda: 0.1)
    assert not choice.bytes_are_faster()


def test_quantised_bytes_are_around_the_zero() -> None:
    row = np.linspace(-3, 3, 2 * GROUP, dtype=np.float32)
    out, scales = np.empty(2 * GROUP, np.uint8), np.empty(2, np.float32)
    byte_products.quantise_groups(row, out, scales)
    assert out.min() == ZERO - LEVELS
    assert out.max() == ZERO + LEVELS
    assert np.abs((out.astype(int) - ZERO) * np.repeat(scales, GROUP) - row).max() <= scales.max() * 0.51
