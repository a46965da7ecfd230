"""Weights by optimum-quanto, on the CPU, where the same operations run as on devices without kernels of ours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.model import int8, linear_quanto, load
from midfill.engine.local.model.decoder import HEAD, Decoder
from midfill.engine.local.model.formats import Int8Rows, Stored
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.linear_quanto import GROUP, CpuInt4Linear, EightBitLinear, Int4Linear, Quanto
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.types import MidfillError
from tests.engine.made import CONFIGS, load_tiny, save_int8, save_tiny
from tests.engine.test_adapters import save_adapter, with_adapter
from tests.engine.test_decode import answer, prompt

pytest.importorskip("optimum.quanto")

CPU, MPS = torch.device("cpu"), torch.device("mps")
# How far logits of random weights, which have no outliers to lose, may be from the float ones.
FAR = {"int8": 0.06, "float8": 0.25, "int4": 0.5}


@pytest.fixture(params=list(FAR))
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def _no_products_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_supported", lambda: False)
    monkeypatch.setattr(linear_quanto, "is_supported", lambda: False)


def weights_of(loaded: LoadedModel) -> int:
    assert isinstance(loaded.model, Decoder)
    return sum(linear.n_bytes for linear in loaded.model.linears)


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_model_stays_close_to_the_float_one(kind: str, form: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    plain, quantised = load_tiny(folder), load_tiny(folder, form)
    assert (quantised.parameters, quantised.number_format) == (plain.parameters, form)
    ids = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(1))
    a, b = with_adapter(plain, None, ids), with_adapter(quantised, None, ids)
    assert 0 < float((a - b).norm() / a.norm()) < FAR[form]


@pytest.mark.parametrize(("form", "share"), [("int8", 1 / 4), ("float8", 1 / 4), ("int4", 0.166)])
def test_memory_is_what_the_bits_say(form: str, share: float, tmp_path: Path) -> None:
    """Of float32's, with scales and, beside four bits, an int8 head."""
    folder = save_tiny("llama", tmp_path / "m", hidden_size=128, intermediate_size=256, head_dim=32)
    found = weights_of(load_tiny(folder, form)) / weights_of(load_tiny(folder))
    assert 0.97 * share < found < 1.05 * share


def test_adapters_beside_them(form: str, tmp_path: Path) -> None:
    folder = save_tiny("gemma", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path / "adapter")
    loaded = load_tiny(folder, form)
    runner = Runner(loaded.model)
    adapter = read_adapter("x", tmp_path / "adapter", loaded.model, loaded.base_names)
    ids = torch.arange(5, 25)[None]
    plain = load_tiny(folder)
    expected = with_adapter(plain, read_adapter("x", tmp_path / "adapter", plain.model, plain.base_names), ids)
    with torch.inference_mode():
        before = answer(runner, Slot(), prompt(20), n=4)
        found = with_adapter(loaded, adapter, ids)
        assert float((found - expected).norm() / expected.norm()) < FAR[form]
        assert answer(runner, Slot(), prompt(20), n=4) == before


def test_a_prepared_file_serves_as_well(tmp_path: Path) -> None:
    """Its numbers are taken as they are."""
    folder = save_tiny("llama", tmp_path / "base")
    ids = torch.arange(5, 40)[None]
    direct = with_adapter(load_tiny(folder, "int8"), None, ids)
    state = save_int8(folder)
    (folder / "model.safetensors").unlink()
    loaded = load_tiny(folder, "int8")
    assert isinstance(loaded.model, Decoder)
    assert isinstance(loaded.model.head, EightBitLinear)
    assert torch.equal(loaded.model.head.weight, state["lm_head.weight"])
    torch.testing.assert_close(with_adapter(loaded, None, ids), direct, atol=1e-3, rtol=1e-3)


@pytest.mark.skipif(not int8.is_supported(), reason="this CPU multiplies no int8")
@pytest.mark.parametrize("form", ["int4", "float8"])
def test_the_head_is_multiplied_by_products_of_ours(
    form: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:  # fmt: skip
    for module in (int8, linear_quanto):
        monkeypatch.setattr(module, "is_supported", lambda: True)
    folder = save_tiny("gemma", tmp_path / "m")
    loaded, ids = load_tiny(folder, form), torch.arange(5, 40)[None]
    assert isinstance(loaded.model, Decoder)
    assert isinstance(loaded.model.head, Int8Linear)
    assert not isinstance(loaded.model.layers[0].qkv, Int8Linear)
    assert Runner(loaded.model).compiled is None
    a, b = with_adapter(load_tiny(folder), None, ids), with_adapter(loaded, None, ids)
    assert float((a - b).norm() / a.norm()) < FAR[form]


class TestProducts:
    """Each packing equals the arithmetic it stands for."""

    @pytest.mark.parametrize(("form", "least", "most"), [("int8", 1e-3, 0.01), ("float8", 0.01, 0.04)])
    def test_eight_bits(self, form: str, least: float, most: float) -> None:
        weights, bias, x = [torch.randn(n, 96) for n in (40, 24)], torch.randn(24), torch.randn(5, 96)
        weights[0][3] = 0
        linear = Quanto(form, CPU, torch.float32).linear("ab", [Stored(one) for one in weights], [None, bias])
        assert isinstance(linear, EightBitLinear)
        expected = x @ torch.cat(weights).T
        expected[:, 40:] += bias
        with torch.inference_mode():
            found = linear(x)
        assert least < float((found - expected).norm() / expected.norm()) < most
        assert found.shape == (5, 64)
        assert linear(x[:0]).shape == (0, 64)
        assert (found[:, 3] == 0).all()
        assert linear.n_bytes == 64 * 96 + 64 * 4 + 64 * 4

    @pytest.mark.parametrize("columns", [256, 96])
    @pytest.mark.parametrize("kind", [Int4Linear, CpuInt4Linear])
    def test_four_bits(self, kind: type[Int4Linear | CpuInt4Linear], columns: int) -> None:
        weights, x = [torch.randn(n, columns) for n in (64, 32)], torch.randn(5, columns)
        weights[1][3] = 0
        linear = kind("ab", [Stored(one) for one in weights], [None, None], torch.float32, CPU)
        every = torch.cat(weights).view(-1, GROUP)
        least, most = every.amin(1, keepdim=True), every.amax(1, keepdim=True)
        scale = ((most - least) / 15).clamp_(min=1e-9)
        stands_for = (((every - least) / scale).round() * scale + least).view(96, columns)
        with torch.inference_mode():
            found = linear(x)
        error = float((found - x @ stands_for.T).norm() / found.norm())
        assert error < (0.015 if kind is CpuInt4Linear else 1e-5)  # whose scales are bfloat16
        assert 0.03 < float((found - x @ torch.cat(weights).T).norm() / found.norm()) < 0.15
        for_scales = 4 if kind is CpuInt4Linear else 8
        assert linear.n_bytes == 96 * columns // 2 + 96 * columns // GROUP * for_scales

    def test_what_a_device_gets(self) -> None:
        """torch's kernel for four bits is for CPUs, and takes sixteen outputs; rows that are no groups get int8."""

        def packed(n: int, columns: int, path: str = "a") -> object:
            return Quanto("int4", CPU, torch.float32).linear([path], [Stored(torch.randn(n, columns))], [None])

        assert isinstance(packed(32, 64), CpuInt4Linear)
        assert isinstance(packed(24, 64), Int4Linear)
        assert isinstance(packed(32, 48), EightBitLinear)
        assert isinstance(packed(32, 64, HEAD), EightBitLinear)

    def test_a_head_and_its_embedding_are_in_memory_once(self, form: str) -> None:
        weight, packing = Stored(torch.randn(40, 64)), Quanto(form, CPU, torch.float32)
        head = packing.linear([HEAD], [weight], [None])
        embedding = packing.embedding(weight, 2.0, head)
        assert isinstance(head, EightBitLinear)
        assert isinstance(embedding, Int8Rows)
        assert embedding._weight is head.weight
        torch.testing.assert_close(embedding(torch.tensor([3])), 2 * weight.values[3:4], atol=0.05, rtol=0)


class TestChoosing:
    """What pick_format returns for a device without our kernels."""

    def test_each_can_be_had(self, form: str) -> None:
        assert load.pick_format(form, CPU) == form
        assert isinstance(load.make_format(form, CPU), Quanto)

    def test_ours_come_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(int8, "is_supported", lambda: True)
        monkeypatch.setitem(sys.modules, "optimum.quanto", None)
        assert load.pick_format("int8", CPU) == "int8"
        assert not isinstance(load.make_format("int8", CPU), Quanto)

    def test_auto_does_not_choose_them(self) -> None:
        """No such device was here to be measured."""
        assert load.pick_format("auto", CPU) == load.pick_floats(CPU)

    def test_without_the_package(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "optimum.quanto", None)
        monkeypatch.delattr("optimum.quanto", raising=False)
        with pytest.raises(MidfillError, match="optimum-quanto") as caught:
            load.pick_format(form, CPU)
        assert "pip install" in caught.value.remedy

    def test_a_device_that_does_not_know_the_format(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """As Apple's with float8: found out before a model is read."""

        def refuse(*_: object) -> None:
            raise TypeError("Trying to convert Float8_e4m3fn to the MPS backend")

        monkeypatch.setattr(Quanto, "linear", refuse)
        with pytest.raises(MidfillError, match="MPS backend") as caught:
            load.pick_format(form, MPS)
        assert "dtype" in caught.value.remedy

    def test_a_device_that_multiplies_wrong(self, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(EightBitLinear, "_multiply", lambda self, x: x.new_zeros((len(x), sum(self.sizes))))
        monkeypatch.setattr(CpuInt4Linear, "_multiply", lambda self, x: x.new_zeros((len(x), sum(self.sizes))))
        with pytest.raises(MidfillError, match="wrong"):
            load.pick_format(form, CPU)

    def test_cuda_has_products_of_ours(self) -> None:
        with pytest.raises(MidfillError, match="float8") as caught:
            load.pick_format("float8", torch.device("cuda:0"))
        assert "int8" in caught.value.remedy
