"""Int8 and four-bit weights as a GPU has them, on the CPU: torch and bitsandbytes have the same operations there."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward.cuda_setup import static_decoder
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import read_adapter
from midfill.engine.local.model import int8, load
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.model.formats import Stored
from midfill.engine.local.model.linear_cuda import CudaInt8Linear, CudaQuantised, Nf4Linear
from midfill.engine.local.model.load import LoadedModel
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.types import MidfillError
from tests.engine.made import CONFIGS, DECODERS, load_tiny, save_int8, save_tiny
from tests.engine.test_adapters import save_adapter, with_adapter
from tests.engine.test_decode import answer, prompt

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")


@pytest.fixture(params=["int8", "int4"])
def form(request: pytest.FixtureRequest) -> str:
    if request.param == "int4":
        pytest.importorskip("bitsandbytes")
    return str(request.param)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], LoadedModel]:
    """As load does for a CUDA device, its weights in float32 where they are not quantised."""

    def make(folder: Path, form: str) -> LoadedModel:
        with monkeypatch.context() as patch:
            patch.setattr(load, "pick_format", lambda *_: form)
            patch.setattr(load, "make_format", lambda *_: CudaQuantised(form, CPU, torch.float32))
            return load_tiny(folder)

    return make


@pytest.mark.parametrize("kind", CONFIGS)
def test_the_model_stays_close_to_the_float_one(
    kind: str, form: str, build: Callable[[Path, str], LoadedModel], tmp_path: Path
) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    plain, quantised = load_tiny(folder), build(folder, form)
    assert quantised.parameters == plain.parameters
    ids = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(1))
    a, b = with_adapter(plain, None, ids), with_adapter(quantised, None, ids)
    assert float((a - b).norm() / a.norm()) < (0.08 if form == "int8" else 0.5)
    if not isinstance(quantised.model, Decoder):
        assert not any(type(module) is nn.Linear for module in quantised.model.modules())


@pytest.mark.parametrize("kind", DECODERS)
def test_steps_of_fixed_shape(
    kind: str, form: str, build: Callable[[Path, str], LoadedModel], tmp_path: Path
) -> None:  # fmt: skip
    loaded = build(save_tiny(kind, tmp_path / kind), form)
    dynamic, fixed = Runner(loaded.model), Runner(loaded.model)
    fixed.static = static_decoder(fixed, 256, loaded.max_context, 1, free=1 << 40, graphs=False)
    with torch.inference_mode():
        for length in (1, 30):
            ids = prompt(length, seed=length)
            assert answer(fixed, fixed.static.slots[0], ids) == answer(dynamic, Slot(), ids)


def test_an_int8_product_equals_the_arithmetic_it_stands_for() -> None:
    weights, bias, x = [torch.randn(n, 128) for n in (96, 40)], torch.randn(96), torch.randn(20, 128)
    packed = [int8.quantise(weight) for weight in weights]
    largest = x.abs().amax(dim=1, keepdim=True)
    levels = (x * (127 / largest)).round()
    wanted = torch.cat([(levels @ values.float().T) * scale * largest / 127 for values, scale in packed], dim=1)
    wanted[:, :96] += bias
    found = CudaInt8Linear("ab", [Stored(*each) for each in packed], [bias, None], torch.float32, CPU)(x)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("n", [1, 2, 17, 32, 40])
def test_an_int8_product_whatever_its_rows(n: int) -> None:
    weight, bias, x = torch.randn(44, 64), torch.randn(44), torch.randn(n, 64)
    product = CudaInt8Linear(["a"], [Stored(weight)], [bias], torch.float32, CPU)
    found = product(x)
    assert found.shape == (n, 44)
    assert float((found - (x @ weight.T + bias)).norm() / found.norm()) < 0.02
    torch.testing.assert_close(product(x[:1]), found[:1])
    assert product(x[:0]).shape == (0, 44)


def test_a_prepared_file_serves_as_well(build: Callable[[Path, str], LoadedModel], tmp_path: Path) -> None:
    folder = save_tiny("gemma", tmp_path / "base")
    direct = build(folder, "int8")
    save_int8(folder)
    ids = torch.arange(5, 40)[None]
    assert torch.equal(with_adapter(direct, None, ids), with_adapter(build(folder, "int8"), None, ids))


def test_adapters_beside_them(form: str, build: Callable[[Path, str], LoadedModel], tmp_path: Path) -> None:
    """As they are beside transformers' modules with the same weights."""
    folder = save_tiny("gemma", tmp_path / "base")
    save_adapter(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), tmp_path / "adapter")
    loaded = build(folder, form)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "architecture", lambda config: None)
        modules_ = Runner(build(folder, form).model)
    runner = Runner(loaded.model)
    adapter = read_adapter("x", tmp_path / "adapter", loaded.model, loaded.base_names)
    with torch.inference_mode():
        plain = answer(runner, Slot(), prompt(20), n=1)
        assert answer(runner, Slot(), prompt(20), adapter=adapter) == answer(
            modules_, Slot(), prompt(20), adapter=adapter
        )
        assert answer(runner, Slot(), prompt(20), n=1) == plain


class TestChoosing:
    """What pick_format returns for a CUDA device; there is no such device here."""

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

    @pytest.mark.parametrize(
        ("kind", "chosen", "floats", "told"),
        [
            ("gemma", "float16", "float16", True),
            ("gemma", "int4", "float16", True),
            ("gemma", "int4", "bfloat16", False),
            ("llama", "float16", "float16", False),
        ],
    )
    def test_gemma_in_float16_is_told_of(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str, chosen: str, floats: str,
        told: bool,
    ) -> None:  # fmt: skip
        monkeypatch.setattr(load, "pick_floats", lambda device: floats)
        load._warn_of_overflow({"model_type": kind}, chosen, CUDA)
        assert ("overflow" in caplog.text) == told

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
    product = Nf4Linear(["a"], [Stored(weight)], [None], torch.float32, CPU)
    x = torch.randn(3, 128)
    error = float((product(x) - x @ weight.T).norm() / (x @ weight.T).norm())
    assert 0.02 < error < 0.15
    assert product.n_bytes == 96 * 128 * (1 / 2 + 4 / 64)
