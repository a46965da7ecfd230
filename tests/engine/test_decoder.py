"""A Decoder computes the same as transformers, in every number format; other architectures are left to transformers."""

from __future__ import annotations

import json
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.model import int8, modules
from midfill.engine.local.model.decoder import Decoder, Norm
from midfill.engine.local.model.formats import Float, FloatLinear
from midfill.engine.local.model.read import Architecture, architecture, fits, read_decoder
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.engine.local.store import checkpoint as checkpoint_module
from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.manifest import read_manifest, weight_files, write_manifest
from midfill.types import MidfillError
from tests.engine.made import DECODERS, load_foreign, load_modules, load_rounding, load_tiny, save_int8, save_tiny

needs_int8 = pytest.mark.skipif(not int8.is_supported(), reason="this CPU has no int8 products")
IDS = [5 + i * 7 % 300 for i in range(60)]
CPU = torch.device("cpu")
ROPES: dict[str, dict[str, Any]] = {
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0},
    "llama3": {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
    "yarn of DeepSeek": {
        "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "mscale": 1.0,
        "mscale_all_dim": 0.5, "beta_fast": 8.0, "truncate": False,
    },
}  # fmt: skip


def logits(model: Any, ids: list[int] = IDS) -> torch.Tensor:
    """Return the logits of every one of ``ids``, by the pass that the engine uses."""
    slot = Slot()
    slot.begin(ids, None, None)
    with torch.inference_mode():
        return Runner(model).forward([Rows(slot, ids, range(len(ids)), len(ids))])[0].float()


def expected(folder: Path, dtype: str = "float32", ids: list[int] = IDS) -> torch.Tensor:
    """Return the logits that transformers computes."""
    with torch.inference_mode():
        return load_modules(folder, dtype)(torch.tensor([ids])).logits[0].float()  # type: ignore[no-any-return]


def distance(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def decoder_of(folder: Path, dtype: str = "float32") -> Decoder:
    model = load_tiny(folder, dtype).model
    assert isinstance(model, Decoder)
    return model


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("kind", DECODERS)
class TestFamilies:
    """Each family against transformers."""

    def test_float32(self, kind: str, tied: bool, tmp_path: Path) -> None:
        folder = save_tiny(kind, tmp_path / "m", tie_word_embeddings=tied)
        found = logits(decoder_of(folder))
        torch.testing.assert_close(found, expected(folder), atol=1e-4, rtol=1e-4)

    def test_bfloat16(self, kind: str, tied: bool, tmp_path: Path) -> None:
        """As near to float32 as transformers' own bfloat16 is."""
        folder = save_tiny(kind, tmp_path / "m", tie_word_embeddings=tied)
        exact = expected(folder)
        assert distance(logits(decoder_of(folder, "bfloat16")), exact) < 1.25 * distance(
            expected(folder, "bfloat16"), exact
        )

    @needs_int8
    def test_int8(self, kind: str, tied: bool, tmp_path: Path) -> None:
        folder = save_tiny(kind, tmp_path / "m", tie_word_embeddings=tied)
        with torch.inference_mode():
            exact = load_rounding(folder)(torch.tensor([IDS])).logits[0]
        assert distance(logits(decoder_of(folder, "int8")), exact) < 0.05

    def test_through_transformers_modules(self, kind: str, tied: bool, tmp_path: Path) -> None:
        """The foreign pass, which such a model does not take, computes the same."""
        folder = save_tiny(kind, tmp_path / "m", tie_word_embeddings=tied)
        foreign = load_foreign(folder)
        assert not isinstance(foreign, Decoder)
        torch.testing.assert_close(logits(foreign), expected(folder), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rope", ROPES)
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_scaled_rope(kind: str, rope: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / "m", rope_parameters={"rope_theta": 10_000.0, **ROPES[rope]})
    wanted = expected(folder)
    torch.testing.assert_close(logits(decoder_of(folder)), wanted, atol=1e-4, rtol=1e-4)
    plain = expected(save_tiny(kind, tmp_path / "plain"))
    assert (distance(plain, wanted) > 0.01) == (rope != "dynamic")


@pytest.mark.parametrize("kind", DECODERS)
def test_rope_as_old_files_write_it(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / "m")
    rewrite(folder, rope_parameters=None, rope_theta=500.0, rope_scaling={"type": "linear", "factor": 2.0})
    torch.testing.assert_close(logits(decoder_of(folder)), expected(folder), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("qwen3", {"attention_bias": True}),
        ("gemma", {"attention_bias": True}),
        ("llama", {"hidden_act": "gelu", "head_dim": 24}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 1, "layer_types": None}),
        ("qwen3", {"use_sliding_window": True, "sliding_window": 9,
                   "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}),
        ("mistral", {"sliding_window": None}),
    ],
)  # fmt: skip
def test_what_families_may_have(kind: str, changes: dict[str, Any], tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / "m", **changes)
    torch.testing.assert_close(logits(decoder_of(folder)), expected(folder), atol=1e-4, rtol=1e-4)


def rewrite(folder: Path, **changes: Any) -> None:
    """Write config.json with ``changes``; None removes a key."""
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize("kind", DECODERS)
def test_what_a_configuration_leaves_out_is_transformers_default(kind: str, tmp_path: Path) -> None:
    """A checkpoint with transformers' default sizes, but with few and narrow layers."""
    named = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 32,
             "vocab_size": 120}  # fmt: skip
    theirs = modules.read_config(tmp_path, {"model_type": kind, **named})
    ours = architecture({"model_type": kind, **named})
    assert ours is not None
    with torch.device("meta"):
        state = AutoModelForCausalLM.from_config(theirs).state_dict()
    if theirs.tie_word_embeddings:
        state.pop("lm_head.weight")
    assert ours.shapes() == {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert (ours.max_positions, ours.eps) == (theirs.max_position_embeddings, theirs.rms_norm_eps)
    assert set(ours.windows) == {getattr(theirs, "sliding_window", None)}
    assert (ours.tied, ours.activation) == (theirs.tie_word_embeddings, theirs.hidden_act)


PLAIN: dict[str, Any] = {
    "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 120,
}  # fmt: skip


@pytest.mark.parametrize("change", [
    {"model_type": "starcoder2"}, {"hidden_act": "relu6"}, {"hidden_size": None}, {"num_key_value_heads": 3},
    {"rope_parameters": {"rope_type": "longrope", "rope_theta": 1e4}}, {"partial_rotary_factor": 0.5},
    {"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, {"rope_scaling": {"type": "linear"}},
    {"use_sliding_window": True, "layer_types": ["chunked_attention"] * 2}, {"use_bidirectional_attention": True},
])  # fmt: skip
def test_what_is_left_to_transformers(change: dict[str, Any]) -> None:
    assert architecture(PLAIN) is not None
    assert architecture({k: v for k, v in (PLAIN | change).items() if v is not None}) is None


@pytest.mark.parametrize("kind", ["gemma3", "starcoder2"])
def test_other_architectures_run_through_transformers(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / "m")
    model = load_tiny(folder).model
    assert not isinstance(model, Decoder)
    torch.testing.assert_close(logits(model), expected(folder), atol=1e-4, rtol=1e-4)


def test_tensors_of_another_layout_are_left_to_transformers(tmp_path: Path) -> None:
    """Names without "model." in front are those of a checkpoint without a head."""
    folder = save_tiny("llama", tmp_path / "m", tie_word_embeddings=True)
    state = load_file(folder / "model.safetensors")
    save_file({name.removeprefix("model."): t for name, t in state.items()}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    assert not fits(wanted(folder), Checkpoint(folder, weight_files(folder)))
    assert not isinstance(load_tiny(folder).model, Decoder)


@pytest.mark.parametrize("broken", ["missing", "extra", "shape"])
@pytest.mark.parametrize("dtype", ["float32", pytest.param("int8", marks=needs_int8)])
def test_weights_that_do_not_fit(broken: str, dtype: str, tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "base")
    weights, name = load_file(folder / "model.safetensors"), "model.layers.1.mlp.up_proj.weight"
    if broken == "missing":
        del weights[name]
    elif broken == "extra":
        weights["model.layers.1.mlp.side_proj.weight"] = torch.zeros(2, 2)
    else:
        weights[name] = weights[name][:-1].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MidfillError, match=r"do not fit"):
        load_tiny(folder, dtype)


def test_a_head_and_frequencies_that_are_not_needed(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path / "m", tie_word_embeddings=True)
    wanted = logits(decoder_of(folder))
    state = load_file(folder / "model.safetensors")
    state |= {"lm_head.weight": state["model.embed_tokens.weight"].clone(),
              "model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(8)}  # fmt: skip
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert torch.equal(logits(decoder_of(folder)), wanted)


@pytest.mark.parametrize("name", DECODERS)
def test_the_numbers_of_a_model(name: str, tmp_path: Path) -> None:
    folder = save_tiny(name, tmp_path / "m")
    ours, theirs = load_tiny(folder), load_modules(folder)
    assert ours.parameters == sum(p.numel() for p in theirs.parameters())
    assert ours.vocabulary == theirs.config.vocab_size
    assert ours.max_context == theirs.config.max_position_embeddings
    assert set(ours.model.module_names) == {path for path, _ in theirs.named_modules()}


def wanted(folder: Path) -> Architecture:
    found = architecture(json.loads((folder / "config.json").read_text()))
    assert found is not None
    return found


class Counting(Float):
    """Keeps the linear layers that are made, on a device without memory."""

    def __init__(self) -> None:
        super().__init__(torch.bfloat16, torch.device("meta"))
        self.made: list[FloatLinear] = []

    def linear(self, *arguments: Any) -> FloatLinear:
        self.made.append(super().linear(*arguments))
        return self.made[-1]


def test_on_the_device_weights_are_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte that is allocated there: each weight once, and no copy of several weights together."""
    made = 0
    originals = {name: getattr(torch, name) for name in ("empty", "zeros", "cat", "stack")}

    def counted(name: str) -> Any:
        def make(*arguments: Any, **settings: Any) -> torch.Tensor:
            nonlocal made
            found: torch.Tensor = originals[name](*arguments, **settings)
            if found.device.type == "meta":
                made += found.nbytes
            return found

        return make

    folder = save_tiny("qwen2", tmp_path / "m", tie_word_embeddings=True)
    for name in originals:
        monkeypatch.setattr(torch, name, counted(name))
    form = Counting()
    checkpoint = Checkpoint(folder, weight_files(folder))
    decoder, n = read_decoder(wanted(folder), checkpoint, form, lambda *_: None)
    norms = (3 * 2 + 1) * 64 * 2
    assert made <= 1.1 * 2 * n
    assert sum(linear.n_bytes for linear in decoder.linears) + norms == 2 * n
    embedding: Any = decoder.embedding
    assert any(embedding._weight is linear.weight for linear in form.made)


def test_in_memory_a_file_is_never_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that were packed are freed before the next ones are read."""
    monkeypatch.setattr(checkpoint_module, "CHUNK", 40_000)
    pieces, most, places = list[weakref.ref[memoryview]](), 0, set[int]()
    read = checkpoint_module._read

    def noted(stream: Any, data: memoryview, file: Path) -> memoryview:
        nonlocal most
        if isinstance(data.obj, np.ndarray):  # not the header
            pieces.append(weakref.ref(data))
            most = max(most, sum(len(piece) for ref in pieces if (piece := ref()) is not None))
            places.add(id(data.obj))
        return read(stream, data, file)

    monkeypatch.setattr(checkpoint_module, "_read", noted)
    folder = save_tiny("llama", tmp_path / "m")
    decoder_of(folder)
    assert len(pieces) > 5
    assert len(places) < len(pieces) / 2  # memory is used again
    assert most < (folder / "model.safetensors").stat().st_size / 2


def test_memory_is_used_again_once_no_tensor_refers_to_it() -> None:
    buffers = checkpoint_module._Buffers()
    tensor = torch.frombuffer(buffers.take(100), dtype=torch.uint8).fill_(1)
    part, other = tensor[:8].view(torch.int64), buffers.take(50)
    del tensor
    third = buffers.take(100)
    assert len({id(view.obj) for view in (other, third)}) == 2
    other[:], third[:] = bytes(50), bytes(100)
    assert part.item() == 0x0101010101010101
    place = part.data_ptr()
    del part
    assert torch.frombuffer(buffers.take(8), dtype=torch.int64).data_ptr() == place


def test_a_norm_is_not_rounded_where_that_loses_something() -> None:
    stored = torch.randn(64).bfloat16()
    gemmas, plain = (Norm.of(stored, offset, 1e-6, torch.bfloat16) for offset in (1.0, 0.0))
    assert (gemmas.weight.dtype, plain.weight.dtype) == (torch.float32, torch.bfloat16)
    x = torch.randn(5, 64)
    normed = x.bfloat16().float() / (x.bfloat16().float().square().mean(-1, keepdim=True) + 1e-6).sqrt()
    found = gemmas(x.bfloat16())
    assert found.dtype == torch.bfloat16
    exact = normed * (1 + stored.float())
    torch.testing.assert_close(found.float(), exact, atol=0, rtol=2**-8)  # rounded once, as the result
    twice = (normed * (1 + stored).float()).bfloat16().float()
    assert float((twice - exact).norm()) > 1.2 * float((found.float() - exact).norm())


@needs_int8
@pytest.mark.parametrize("kind", ["qwen2", "gemma"])
def test_a_prepared_int8_file_gives_the_same(kind: str, tmp_path: Path) -> None:
    folder = save_tiny(kind, tmp_path / kind)
    direct = logits(decoder_of(folder, "int8"))
    save_int8(folder)
    (folder / "model.safetensors").unlink()
    assert torch.equal(logits(decoder_of(folder, "int8")), direct)


def test_a_manifest_of_an_earlier_version_still_loads(tmp_path: Path) -> None:
    """It recorded whether the model could be built without transformers."""
    folder = save_tiny("llama", tmp_path / "m")
    write_manifest(folder, "m", {"kind": "gguf"}, {"bare": True})
    assert read_manifest(folder) is not None
    decoder_of(folder)


def test_only_what_cannot_be_a_decoder_imports_transformers(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from midfill.engine.local.model.load import load; "
        "[load(Path(folder), 'm', device='cpu', dtype=dtype, progress=lambda *_: None) "
        "for folder in sys.argv[1:] for dtype in ('float32', 'bfloat16')]; "
        "print([name for name in ('transformers', 'torch._dynamo', 'peft') if name in sys.modules])"
    )
    folders = [str(save_tiny(kind, tmp_path / kind)) for kind in DECODERS]
    done = subprocess.run([sys.executable, "-c", program, *folders], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


@needs_int8
@pytest.mark.model
def test_the_embedded_model_is_loaded_without_transformers(embedded_folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from midfill.engine.local.engine import LocalEngine; "
        "from midfill.engine.local.model.load import load; from midfill.engine.local.forward.runner import Runner; "
        "loaded = load(Path(sys.argv[1]), 'embedded', device='cpu', progress=lambda *_: None); "
        "assert Runner(loaded.model).find_rotation() is not None; "
        "print(loaded.number_format, [name for name in ('transformers', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(embedded_folder)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "int8 []", done.stderr
