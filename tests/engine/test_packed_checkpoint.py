"""GPTQ and AWQ checkpoints: the same logits as the floats that their codes represent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from midfill.engine.local.model import int8
from midfill.engine.local.model.decoder import Decoder
from midfill.engine.local.store.manifest import INDEX
from midfill.engine.local.store.models import float_bytes
from midfill.engine.local.store.packed_checkpoint import packing_of
from midfill.types import MidfillError
from tests.engine.made import Gptq, load_foreign, load_modules, load_tiny, save_gptq, save_tiny
from tests.engine.test_adapters import with_adapter

IDS = torch.randint(5, 90, (1, 24), generator=torch.Generator().manual_seed(1))
AWQ_PLACES = (0, 2, 4, 6, 1, 3, 5, 7)  # of eight outputs, which is in each place of a number


@dataclass(frozen=True)
class Awq:
    """The same as made.Gptq, in AWQ's layout."""

    config: ClassVar = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"}

    def parts(self, weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """The tensors of a layer with ``weight``, (out, in), and what they stand for."""
        grouped = weight.float().view(len(weight), -1, 32)
        least, most = grouped.amin(2).clamp(max=0), grouped.amax(2).clamp(min=0)
        scales = ((most - least) / 15).half()
        zeros = (-least / scales.float()).round()
        codes = ((grouped / scales.float()[..., None]).round() + zeros[..., None]).clamp(0, 15)
        stands_for = ((codes - zeros[..., None]) * scales.float()[..., None]).view_as(weight)
        parts = {"qweight": self._packed(codes.view_as(weight).T), "qzeros": self._packed(zeros.T)}
        return {**parts, "scales": scales.T.contiguous()}, stands_for

    def _packed(self, codes: torch.Tensor) -> torch.Tensor:
        numbers, words = codes.numpy().astype(np.uint32), np.zeros((len(codes), codes.shape[1] // 8), np.uint32)
        for column in range(words.shape[1]):
            for place, output in enumerate(AWQ_PLACES):
                words[:, column] |= numbers[:, 8 * column + output] << np.uint32(4 * place)
        return torch.from_numpy(words.view(np.int32))


def logits(loaded: Any) -> torch.Tensor:
    return with_adapter(loaded, None, IDS)


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize(
    "packing",
    [
        *(Gptq(act_order=act_order, version=version) for act_order in (False, True) for version in (1, 2)),
        Gptq(bits=8), Gptq(bits=2, version=2), Gptq(group_size=-1), Gptq(has_index=False), Awq(),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("kind", ["qwen2", "llama"])
def test_it_is_what_it_stands_for(kind: str, packing: Gptq | Awq, tmp_path: Path) -> None:
    before = logits(load_tiny(save_tiny(kind, tmp_path / "floats")))
    folder = save_gptq(tmp_path / "floats", tmp_path / "packed", packing)
    floats, packed = load_tiny(tmp_path / "floats"), load_tiny(folder)
    assert isinstance(packed.model, Decoder)
    assert packed.parameters == floats.parameters
    assert torch.equal(logits(packed), logits(floats))
    assert not torch.equal(before, logits(floats))


def test_files_are_smaller_by_what_they_say(tmp_path: Path) -> None:
    """Training asks how much memory floats will take."""
    big: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 1024, "head_dim": 64}
    floats = save_tiny("llama", tmp_path / "floats", **big)
    folder = save_gptq(floats, tmp_path / "packed", Gptq())
    in_sixteen_bits = (floats / "model.safetensors").stat().st_size // 2
    assert (folder / "model.safetensors").stat().st_size < 0.5 * in_sixteen_bits
    assert in_sixteen_bits < float_bytes(folder) < 3 * in_sixteen_bits


@pytest.mark.parametrize("form", ["int8", "bfloat16"])
def test_in_other_number_formats(form: str, tmp_path: Path) -> None:
    if form == "int8" and not int8.is_supported():
        pytest.skip("this CPU multiplies no int8")
    folder = save_gptq(save_tiny("qwen2", tmp_path / "floats"), tmp_path / "packed", Gptq(act_order=True))
    assert torch.equal(logits(load_tiny(folder, form)), logits(load_tiny(tmp_path / "floats", form)))


def test_transformers_modules(tmp_path: Path) -> None:
    """As training has them, and models that are not read as a decoder; with biases of zeros beside."""
    folder = save_gptq(save_tiny("llama", tmp_path / "floats"), tmp_path / "packed", Gptq())
    changed(folder, lambda state: state.update({"model.layers.0.mlp.up_proj.bias": torch.zeros(96)}))
    with torch.inference_mode():
        found, expected = (load_modules(one)(IDS).logits for one in (folder, tmp_path / "floats"))
    assert torch.equal(found, expected)
    other = save_gptq(save_tiny("starcoder2", tmp_path / "other"), tmp_path / "packed2", Gptq())
    assert torch.equal(logits(load_tiny(other)), logits(load_tiny(tmp_path / "other")))
    with torch.inference_mode():
        assert load_foreign(folder) is not None


def test_parts_of_a_layer_in_several_files(tmp_path: Path) -> None:
    folder = save_gptq(save_tiny("qwen2", tmp_path / "floats"), tmp_path / "packed", Gptq())
    state = load_file(folder / "model.safetensors")
    halves = [{n: t for n, t in state.items() if n.endswith((".qzeros", ".g_idx")) == is_first} for is_first in (1, 0)]
    (folder / "model.safetensors").unlink()
    where = dict[str, str]()
    for number, half in enumerate(halves):
        save_file(half, folder / f"part-{number}.safetensors")
        where |= dict.fromkeys(half, f"part-{number}.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": where}), "utf-8")
    assert torch.equal(logits(load_tiny(folder)), logits(load_tiny(tmp_path / "floats")))


@pytest.mark.parametrize(("value", "is_refused"), [(0.0, False), (0.5, True)])
def test_a_bias_that_the_model_has_not(value: float, is_refused: bool, tmp_path: Path) -> None:
    """Writers put biases of zeros there; another one would change the model."""
    folder = save_gptq(save_tiny("qwen2", tmp_path / "floats"), tmp_path / "packed", Gptq())
    changed(folder, lambda state: state.update({"model.layers.1.mlp.down_proj.bias": torch.full((64,), value)}))
    if is_refused:
        with pytest.raises(MidfillError, match="do not fit"):
            load_tiny(folder)
        return
    packed = load_tiny(folder)
    assert isinstance(packed.model, Decoder)
    assert torch.equal(logits(packed), logits(load_tiny(tmp_path / "floats")))


LAYER = "model.layers.1.mlp.up_proj"


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop(f"{LAYER}.scales"),
        lambda state: state.pop(f"{LAYER}.qzeros"),
        lambda state: state[f"{LAYER}.g_idx"].fill_(7),
        lambda state: state[f"{LAYER}.g_idx"].fill_(-1),
        lambda state: state.update({f"{LAYER}.g_idx": torch.zeros(3, dtype=torch.int32)}),
        lambda state: state.update({f"{LAYER}.scales": state[f"{LAYER}.scales"][:1].contiguous()}),
        lambda state: state.update({f"{LAYER}.qweight": state[f"{LAYER}.qweight"].long()}),
        lambda state: state.update({f"{LAYER}.qweight": state[f"{LAYER}.qweight"][:-1].contiguous()}),
    ],
)
def test_parts_that_do_not_fit(damage: Callable[[dict[str, torch.Tensor]], Any], tmp_path: Path) -> None:
    folder = save_gptq(save_tiny("qwen2", tmp_path / "floats"), tmp_path / "packed", Gptq())
    with pytest.raises(MidfillError, match="do not fit"):
        load_tiny(changed(folder, damage))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"quant_method": "fp8"}, "quantised by fp8"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"bits": 4}, "something unknown"),
        ("gptq", "something unknown"),
        ({"quant_method": "gptq", "bits": 3, "group_size": 128}, "3 bits"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "marlin"}, "marlin"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemv"}, "gemv"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 0}, "group_size"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(said: Any, told: str, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "m")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": said}), "utf-8")
    with pytest.raises(MidfillError, match=told) as caught:
        load_tiny(folder)
    assert "GGUF" in caught.value.remedy


def test_zeros_less_one_were_subtracted_from_whole_numbers() -> None:
    """A zero of 0 borrowed from its neighbours, and gets it back."""
    from midfill.engine.local.store.packed_checkpoint import Packing, unpack

    ones, zeros = 0x11111111, 0x00000003  # of eight outputs the first has 3
    parts = {
        "qweight": torch.full((1, 8), 0x55555555, dtype=torch.int32),
        "qzeros": torch.tensor([[zeros - ones]], dtype=torch.int32),
        "scales": torch.ones((1, 8), dtype=torch.float16),
    }
    found = unpack(parts, Packing("gptq", 4, -1, less_one=True))
    assert found[:, 0].tolist() == [2, 5, 5, 5, 5, 5, 5, 5]


def test_floats_have_no_packing() -> None:
    assert packing_of({"model_type": "llama"}) is None
    assert packing_of({"quantization_config": None}) is None
