"""Our GGUF reader against the gguf package's, damaged files, and conversion against transformers' own."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from midfill.engine.local.model import int8
from midfill.engine.local.store import convert
from midfill.engine.local.store.convert import convert_gguf
from midfill.engine.local.store.gguf_file import GgufFile
from midfill.engine.local.store.manifest import INT8
from midfill.types import MidfillError
from tests.engine.made import load_modules, load_tiny
from tests.tokenizers_made import describe

KINDS = ("F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_K", "Q6_K")


def no_progress(stage: str, fraction: float) -> None:
    """Nobody watches."""


def write(file: Path, architecture: str = "llama", tensors: dict[str, tuple[Any, str]] | None = None) -> Path:
    """A GGUF file with a little of everything."""
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_string("a.string", "é 😀")
    writer.add_array("a.list", ["x", "", "yy"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_float32("a.float", 0.5)
    writer.add_bool("a.bool", True)
    chance = np.random.default_rng(0)
    for name in KINDS if tensors is None else ():
        rows = chance.standard_normal((3, 512)).astype(np.float32)
        kind = gguf.GGMLQuantizationType[name]
        raw = gguf.quantize(rows, kind) if name not in ("Q4_K", "Q6_K") else _random_blocks(chance, kind)
        writer.add_tensor(f"t.{name}", raw, raw_dtype=kind)
    for name, (values, kind_name) in (tensors or {}).items():
        writer.add_tensor(name, values, raw_dtype=gguf.GGMLQuantizationType[kind_name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _random_blocks(chance: np.random.Generator, kind: gguf.GGMLQuantizationType) -> Any:
    """Return random bytes with a scale that is a number: the package cannot quantise these types."""
    _, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = chance.integers(0, 256, (3, 2, size), dtype=np.uint8)
    scale = np.frombuffer(np.float16(0.01).tobytes(), dtype=np.uint8)
    at = slice(0, 2) if kind.name == "Q4_K" else slice(size - 2, size)
    blocks[..., at] = scale
    if kind.name == "Q4_K":
        blocks[..., 2:4] = scale
    return blocks.reshape(3, -1)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return write(tmp_path / "x.gguf")


def test_the_same_as_the_package_reads(sound: Path) -> None:
    ours, theirs = GgufFile(sound), gguf.GGUFReader(sound)
    assert ours.architecture == "llama"
    assert ours.metadata["a.string"] == "é 😀"
    assert ours.metadata["a.list"] == ["x", "", "yy"]
    assert ours.metadata["a.numbers"] == [1, -2, 3]
    assert (ours.metadata["a.float"], ours.metadata["a.bool"]) == (0.5, True)
    assert [tensor.name for tensor in ours.tensors] == [tensor.name for tensor in theirs.tensors]
    for mine, other in zip(ours.tensors, theirs.tensors, strict=True):
        values = ours.values(mine)
        assert mine.shape == tuple(reversed(other.shape.tolist())) == values.shape
        wanted = gguf.dequantize(other.data, other.tensor_type).reshape(values.shape)
        assert np.isfinite(values).all()
        np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize("length", [0, 1, 24, 31, 32, 60, 100, 200, -40, -3000])
def test_truncated(sound: Path, length: int) -> None:
    sound.write_bytes(sound.read_bytes()[:length])
    with pytest.raises(MidfillError, match=r"x\.gguf is not a sound GGUF file") as caught:
        GgufFile(sound)
    assert caught.value.remedy


def header(n_tensors: int = 0, n_values: int = 0, version: int = 3, magic: bytes = b"GGUF", rest: bytes = b"") -> bytes:
    return struct.pack("<4sIQQ", magic, version, n_tensors, n_values) + rest + bytes(64)


def string(text: bytes) -> bytes:
    return struct.pack("<Q", len(text)) + text


def tensor(*dims: int, kind: int = 0, offset: int = 0) -> bytes:
    return string(b"t") + struct.pack(f"<I{len(dims)}Q", len(dims), *dims) + struct.pack("<IQ", kind, offset)


@pytest.mark.parametrize(
    "content",
    [
        header(magic=b"GGML"), header(version=1), header(n_tensors=1 << 60), header(n_values=1 << 60),
        header(n_values=1, rest=struct.pack("<Q", 1 << 62)),
        header(n_values=1, rest=string(b"k") + struct.pack("<I", 99)),
        header(n_values=1, rest=string(b"k") + struct.pack("<IIQ", 9, 9, 1)),
        header(n_values=1, rest=string(b"k") + struct.pack("<IIQ", 9, 0, 1 << 60)),
        header(n_values=1, rest=string(b"k") + struct.pack("<IIQ", 9, 8, 9_999_999)),
        header(n_values=1, rest=string(b"\xff\xfe") + struct.pack("<IB", 0, 1)),
        header(n_values=1, rest=string(b"general.alignment") + struct.pack("<II", 4, 0)),
        header(n_tensors=1, rest=tensor()), header(n_tensors=1, rest=tensor(*[1] * 9)),
        header(n_tensors=1, rest=tensor(1 << 40, 1 << 40)), header(n_tensors=1, rest=tensor(0)),
        header(n_tensors=1, rest=tensor(4, kind=250)), header(n_tensors=1, rest=tensor(1 << 20)),
        header(n_tensors=1, rest=tensor(4, offset=1 << 62)), header(n_tensors=1, rest=tensor(33, kind=8)),
    ],
)  # fmt: skip
def test_malformed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(MidfillError, match=r"x\.gguf is not a sound GGUF file"):
        GgufFile(tmp_path / "x.gguf")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bits_flipped_anywhere_never_do_worse_than_a_refusal(sound: Path, data: st.DataObject) -> None:
    whole = bytearray(sound.read_bytes())
    for at in data.draw(st.lists(st.integers(0, 700), min_size=1, max_size=4)):
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    damaged = sound.with_name("damaged.gguf")
    damaged.write_bytes(whole)
    try:
        file = GgufFile(damaged)
        for found in file.tensors:
            file.values(found)
    except MidfillError:
        return


def tiny_gguf(file: Path, architecture: str) -> Path:
    """Write a random model of two layers with llama.cpp's names of tensors."""
    chance = torch.Generator().manual_seed(1)
    hidden, heads, kv_heads, inner, size = 64, 4, 2, 96, 400
    vocabulary = sorted(describe("qwen2.5-coder")["model"]["vocab"].items(), key=lambda item: int(item[1]))
    tokens = [token for token, _ in vocabulary] + [f"<extra_{i}>" for i in range(size - len(vocabulary))]

    def random(*shape: int) -> Any:
        return (torch.randn(shape, generator=chance) * 0.2).bfloat16().float().numpy()

    tensors: dict[str, tuple[Any, str]] = {
        "token_embd.weight": (random(size, hidden), "F32"),
        "output_norm.weight": (random(hidden), "F32"),
        "output.weight": (random(size, hidden), "F32"),
    }
    for i in range(2):
        shapes = {
            "attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_q": (hidden, hidden), "attn_output": (hidden, hidden),
            "attn_k": (hidden // heads * kv_heads, hidden), "attn_v": (hidden // heads * kv_heads, hidden),
            "ffn_gate": (inner, hidden), "ffn_up": (inner, hidden), "ffn_down": (hidden, inner),
        }  # fmt: skip
        tensors |= {f"blk.{i}.{name}.weight": (random(*shape), "F32") for name, shape in shapes.items()}
        if architecture == "qwen2":
            for name in ("attn_q", "attn_k", "attn_v"):
                tensors[f"blk.{i}.{name}.bias"] = (random(shapes[name][0]), "F32")
    writer = gguf.GGUFWriter(file, architecture)
    writer.add_block_count(2)
    writer.add_context_length(512)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(vocabulary) + [3] * (size - len(vocabulary)))
    writer.add_token_merges([" ".join(pair) for pair in describe("qwen2.5-coder")["model"]["merges"]])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(0)
    for name, (values, _) in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_conversion_gives_the_model_transformers_reads(tmp_path: Path, architecture: str) -> None:
    file, out = tiny_gguf(tmp_path / "tiny.gguf", architecture), tmp_path / "out"
    out.mkdir()
    figures = convert_gguf(file, out, no_progress, floats=True)
    loaded, ours = load_tiny(out), load_modules(out)
    assert figures["parameters"] == loaded.parameters
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=file.name, dtype=torch.float32).eval()
    ids = torch.arange(40)[None] * 7 % 400
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, atol=1e-4, rtol=1e-4)
    assert loaded.tokenizer.decode(loaded.tokenizer.encode("def f(a):\n    return 1")) == "def f(a):\n    return 1"


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_pieces_are_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, architecture: str) -> None:
    """A tensor that no architecture changes is never whole in memory, and the files are the same."""
    file = tiny_gguf(tmp_path / "tiny.gguf", architecture)
    monkeypatch.setattr(int8, "is_supported", lambda: True)
    whole, sizes = {}, list[int]()
    values = GgufFile.values

    def read(*arguments: Any) -> Any:
        found = values(*arguments)
        sizes.append(found.size)
        return found

    monkeypatch.setattr(GgufFile, "values", read)
    for piece in (1 << 40, 1000):
        monkeypatch.setattr(convert, "PIECE", piece)
        out = tmp_path / str(piece)
        out.mkdir()
        sizes.clear()
        convert_gguf(file, out, no_progress, floats=True)
        whole[piece] = {path.name: path.read_bytes() for path in out.glob("*.safetensors")}
    assert set(whole[1000]) == {"model.safetensors", INT8}
    assert whole[1000] == whole[1 << 40]
    moved = 64 * 64 if architecture == "llama" else 0  # its queries and keys change places
    looked_at = 64 * 64  # for two copies of one matrix
    assert max(sizes) <= max(1000, moved, looked_at)


def test_int8_is_that_of_the_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8, "is_supported", lambda: True)
    convert_gguf(tiny_gguf(tmp_path / "tiny.gguf", "qwen2"), tmp_path, no_progress, floats=True)
    floats, packed = load_file(tmp_path / "model.safetensors"), load_file(tmp_path / INT8)
    for name, tensor in floats.items():
        if name.endswith("norm.weight") or name.endswith("bias"):
            assert torch.equal(packed[name], tensor.float())
        else:
            weight, scale = int8.quantise(tensor)
            assert torch.equal(packed[name], weight)
            assert torch.equal(packed[name + int8.SCALE_SUFFIX], scale)


@pytest.mark.parametrize("lost", ["blk.1.ffn_up.weight", "blk.0.attn_q.weight", "output_norm.weight"])
def test_a_tensor_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf", "llama")
    read = GgufFile._read

    def without(self: GgufFile) -> Any:
        metadata, tensors = read(self)
        return metadata, tuple(tensor for tensor in tensors if tensor.name != lost)

    monkeypatch.setattr(GgufFile, "_read", without)
    with pytest.raises(MidfillError, match=r"does not fit its architecture: model\.") as caught:
        convert_gguf(file, tmp_path, no_progress)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("architecture", "message"),
    [("of-nobody", "has architecture 'of-nobody'"), ("llama", "cannot be converted|does not fit its architecture")],
)
def test_a_file_that_is_no_model(tmp_path: Path, architecture: str, message: str) -> None:
    file, out = write(tmp_path / "x.gguf", architecture), tmp_path / "out"
    out.mkdir()
    with pytest.raises(MidfillError, match=message) as caught:
        convert_gguf(file, out, no_progress)
    assert caught.value.remedy
