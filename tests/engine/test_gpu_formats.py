"""Int8 and four-bit weights as a GPU has them, on the CPU: torch and bitsandbytes have the same operations there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from midfill.engine.local import gpu_formats, int8, load, transformers_model
from midfill.engine.local.adapters import AdapterSwitch, read_adapter
from midfill.engine.local.cuda import static_decoder
from midfill.engine.local.decode import Runner
from midfill.engine.local.kv_cache import Slot
from midfill.engine.local.load import LoadedModel
from midfill.engine.local.models import weight_files
from midfill.engine.local.weights import read_files
from midfill.types import MidfillError
from tests.engine.made import CONFIGS, load_tiny, save_tiny
from tests.engine.test_adapters import save_adapter
from tests.engine.test_decode import answer, prompt

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
LEAN = ("llama", "qwen2", "gemma")


@pytest.fixture(params=["int8", "int4"])
def form(request: pytest.FixtureRequest) -> str:
    if request.param == "int4":
        pytest.importorskip("bitsandbytes")
    return str(request.param)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], LoadedModel]:
    """As load does for a CUDA device."""
    monkeypatch.setattr(transformers_model, "pick_floats", lambda _: "float32")

    def make(folder: Path, form: str) -> LoadedModel:
        loaded = load_tiny(folder)
        model, parameters = transformers_model.build_quantised(
            folder, transformers_model.read_config(folder), form, CPU, lambda *_: None
        )
        assert parameters == loaded.parameters
        return LoadedModel(
            loaded.name, folder, model.eval(), loaded.tokenizer, CPU, form, parameters, loaded.base_names
        )  # fmt: skip

    return make


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_model_stays_close_to_the_float_one(
    kind: str, form: str, build: Callable[[Path, str], LoadedModel], tmp_path: Path
) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    plain, quantised = load_tiny(folder), build(folder, form)
    ids = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        a, b = plain.model(ids).logits, quantised.model(ids).logits
    assert float((a - b).norm() / a.norm()) < (0.08 if form == "int8" else 0.5)
    assert not any(type(module) is nn.Linear for module in quantised.model.modules())


@pytest.mark.parametrize("kind", LEAN)
def test_the_lean_pass_and_steps_of_fixed_shape(
    kind: str, form: str, build: Callable[[Path, str], LoadedModel], tmp_path: Path
) -> None:
    loaded = build(save_tiny(kind, tmp_path / kind), form)
    dynamic = Runner(loaded.model)
    assert dynamic.lean is not None
    fixed = Runner(loaded.model)
    fixed.static = static_decoder(fixed, 256, loaded.max_context, 1, free=1 << 40, graphs=False)
    with torch.inference_mode():
        for length in (1, 30):
            ids = prompt(length, seed=length)
            assert answer(fixed, fixed.static.slots[0], ids) == answer(dynamic, Slot(), ids)


def test_an_int8_product_equals_the_arithmetic_it_stands_for() -> None:
    weights, bias, x = [torch.randn(n, 128) for n in (96, 40)], torch.randn(96), torch.randn(20, 128)
    packed = [int8.quantise(weight) for weight in weights]
    largest = x.abs().amax(dim=1, keepdim=True)
    steps = (x * (127 / largest)).round()
    wanted = torch.cat([(steps @ values.float().T) * scale * largest / 127 for values, scale in packed], dim=1)
    wanted[:, :96] += bias
    found = gpu_formats.Int8Product(packed, [bias, None], [(96, 128), (40, 128)], torch.float32).compute(x)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 17, 32, 40])
def test_an_int8_product_whatever_its_rows(n: int) -> None:
    weight, bias, x = torch.randn(44, 64), torch.randn(44), torch.randn(n, 64)
    product = gpu_formats.Int8Product([int8.quantise(weight)], [bias], [(44, 64)], torch.float32)
    found = product.compute(x)
    assert found.shape == (n, 44)
    assert float((found - (x @ weight.T + bias)).norm() / found.norm()) < 0.02
    torch.testing.assert_close(product.compute(x[:1]), found[:1])
    assert product.compute(x[:0]).shape == (0, 44)


def test_a_prepared_file_serves_as_well(build: Callable[[Path, str], LoadedModel], tmp_path: Path) -> None:
    from safetensors.torch import save_file

    folder = save_tiny("gemma", tmp_path / "base")
    direct = build(folder, "int8")
    skeleton = transformers_model.skeleton(transformers_model.read_config(folder))
    state = int8.quantise_state(read_files(folder, weight_files(folder), CPU, None, lambda *_: None), skeleton)
    save_file(state, folder / int8.FILE)
    ids = torch.arange(5, 40)[None]
    with torch.inference_mode():
        assert torch.equal(direct.model(ids).logits, build(folder, "int8").model(ids).logits)


def test_adapters_beside_them(form: str, build: Callable[[Path, str], LoadedModel], tmp_path: Path) -> None:
    folder = save_tiny("gemma", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path / "adapter")
    loaded = build(folder, form)
    switch = AdapterSwitch(loaded.model)
    runner = Runner(loaded.model, switch)
    adapter = read_adapter("x", tmp_path / "adapter", loaded.model, loaded.base_names)
    switch.add(adapter)
    with torch.inference_mode():
        plain = answer(runner, Slot(), prompt(20), n=1)
        switch.active = adapter
        with_modules = Runner(loaded.model, switch, lean=False)
        assert answer(runner, Slot(), prompt(20)) == answer(with_modules, Slot(), prompt(20))
        switch.active = None
        assert answer(runner, Slot(), prompt(20), n=1) == plain


@pytest.mark.parametrize("broken", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit(broken: str, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "base")
    weights = read_files(folder, weight_files(folder), CPU, None, lambda *_: None)
    name = "model.layers.1.mlp.up_proj.weight"
    if broken == "missing":
        del weights[name]
    elif broken == "extra":
        weights["model.layers.1.mlp.side_proj.weight"] = torch.zeros(2, 2)
    else:
        weights[name] = weights[name][:-1]
    builder = gpu_formats.Builder(transformers_model.read_config(folder), "int8", CPU, torch.float32)
    builder.add(weights.items())
    with pytest.raises(ValueError, match=r"up_proj|side_proj"):
        builder.finish()


class TestChoosing:
    """What pick_format says of a CUDA device; no such device is asked."""

    @pytest.mark.parametrize(("wanted", "index"), [("cuda:1", 1), ("cuda", 0), ("auto", 0)])
    def test_the_device_is_that_of_the_thread(self, monkeypatch: pytest.MonkeyPatch, wanted: str, index: int) -> None:
        """Streams and events are made on the thread's device, whatever device the tensors are on."""
        current = [0]
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: current.__setitem__(0, device.index))
        monkeypatch.setattr(torch, "empty", lambda *_, device: None)
        before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        try:
            torch.backends.cuda.enable_cudnn_sdp(True)
            assert load.pick_device(wanted) == torch.device("cuda", index)
            assert current == [index]
            assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
        finally:
            torch.backends.cuda.enable_cudnn_sdp(before)

    @pytest.mark.parametrize(("major", "wanted"), [(7, "float16"), (8, "bfloat16"), (9, "bfloat16")])
    def test_floats_are_those_it_multiplies_itself(
        self, monkeypatch: pytest.MonkeyPatch, major: int, wanted: str
    ) -> None:
        """torch can emulate bfloat16 on any GPU, and says that it is supported."""
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device", contextlib.nullcontext)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        properties = SimpleNamespace(major=major)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)
        assert load.pick_floats(CUDA) == wanted

    @pytest.mark.parametrize(("capability", "there"), [((7, 0), False), ((7, 5), True), ((9, 0), True)])
    def test_int8(self, monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], there: bool) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        if there:
            assert load.pick_format("int8", CUDA) == "int8"
            return
        with pytest.raises(MidfillError, match="int8") as caught:
            load.pick_format("int8", CUDA)
        assert "dtype" in caught.value.remedy

    def test_int4_without_its_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bitsandbytes", None)
        with pytest.raises(MidfillError, match="bitsandbytes") as caught:
            load.pick_format("int4", CUDA)
        assert "pip install" in caught.value.remedy

    def test_int4_with_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "bitsandbytes", object())
        assert load.pick_format("int4", CUDA) == "int4"


def test_four_bits_are_four_bits() -> None:
    pytest.importorskip("bitsandbytes")
    weight = torch.randn(96, 128)
    packed: Any = gpu_formats.nf4(weight)
    product = gpu_formats.Nf4Product([packed], [None], [(96, 128)], torch.float32)
    x = torch.randn(3, 128)
    error = float((product.compute(x) - x @ weight.T).norm() / (x @ weight.T).norm())
    assert 0.02 < error < 0.15
    assert product.n_bytes == 96 * 128 * (1 / 2 + 4 / 64)
