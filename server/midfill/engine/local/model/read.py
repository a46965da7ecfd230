"""Reads ``config.json`` and tensors as a Decoder, without transformers.

A table holds the differences between the families; the defaults are those of their configurations in transformers. For
anything unknown the result is None, and the model runs through transformers' own modules (modules.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from midfill.engine.local.model.decoder import HEAD, Decoder, Layer, Linear, Norm, Rope
from midfill.engine.local.model.formats import Format, Stored
from midfill.engine.local.model.int8 import SCALE_SUFFIX
from midfill.engine.local.model.rope import read_rope
from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.safetensors_reader import Progress

EMBEDDING, LAST_NORM = "model.embed_tokens", "model.norm"
ATTENTION_NORM, MLP_NORM = "input_layernorm", "post_attention_layernorm"
QKV = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
OUTPUT = ("self_attn.o_proj",)
GATE_UP = ("mlp.gate_proj", "mlp.up_proj")
DOWN = ("mlp.down_proj",)
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": functional.silu, "swish": functional.silu, "gelu": functional.gelu,
    "gelu_pytorch_tanh": lambda x: functional.gelu(x, approximate="tanh"),
}  # fmt: skip
# The values that config.json may leave out.
DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"max_position_embeddings": 2048},
    "mistral": {"max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096},
    "qwen2": {"max_position_embeddings": 32_768, "num_key_value_heads": 32, "sliding_window": 4096},
    "qwen3": {
        "max_position_embeddings": 32_768, "num_key_value_heads": 32, "head_dim": 128, "sliding_window": 4096,
    },
    "gemma": {
        "max_position_embeddings": 8192, "num_key_value_heads": 16, "head_dim": 256, "tie_word_embeddings": True,
        "hidden_act": "gelu_pytorch_tanh",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Architecture:
    """The shape of a decoder before it has weights."""

    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    windows: tuple[int | None, ...]  # one for each layer
    eps: float
    activation: str
    rope: Rope
    tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    qk_norms: bool
    norm_offset: float
    embedding_factor: float
    max_positions: int

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor by its name in the files."""
        attention, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        linears = {
            QKV[0]: (attention, self.hidden, self.qkv_bias), QKV[1]: (kv, self.hidden, self.qkv_bias),
            QKV[2]: (kv, self.hidden, self.qkv_bias), OUTPUT[0]: (self.hidden, attention, self.output_bias),
            GATE_UP[0]: (self.inner, self.hidden, self.mlp_bias), GATE_UP[1]: (self.inner, self.hidden, self.mlp_bias),
            DOWN[0]: (self.hidden, self.inner, self.mlp_bias),
        }  # fmt: skip
        norms = {ATTENTION_NORM: self.hidden, MLP_NORM: self.hidden}
        if self.qk_norms:
            norms |= {"self_attn.q_norm": self.head_dim, "self_attn.k_norm": self.head_dim}
        found: dict[str, tuple[int, ...]] = {
            f"{EMBEDDING}.weight": (self.vocabulary, self.hidden), f"{LAST_NORM}.weight": (self.hidden,),
        }  # fmt: skip
        if not self.tied:
            found[f"{HEAD}.weight"] = (self.vocabulary, self.hidden)
        for number in range(len(self.windows)):
            for name, (n_out, n_in, has_bias) in linears.items():
                found[f"model.layers.{number}.{name}.weight"] = (n_out, n_in)
                if has_bias:
                    found[f"model.layers.{number}.{name}.bias"] = (n_out,)
            found |= {f"model.layers.{number}.{name}.weight": (size,) for name, size in norms.items()}
        return found


def architecture(config: Mapping[str, Any]) -> Architecture | None:
    """Return the architecture that ``config`` (of config.json) describes, or None if this
    module cannot read its kind."""
    family = config.get("model_type")
    if family not in DEFAULTS:
        return None
    said = {**DEFAULTS[family], **{key: value for key, value in config.items() if value is not None}}
    if "sliding_window" in config and config["sliding_window"] is None:
        said["sliding_window"] = None
    try:
        hidden, heads = int(said["hidden_size"]), int(said["num_attention_heads"])
        kv_heads = int(said.get("num_key_value_heads", heads))
        head_dim, max_positions = int(said.get("head_dim", hidden // heads)), int(said["max_position_embeddings"])
        rope = read_rope(said, head_dim, max_positions)
        activation = str(said.get("hidden_act", "silu"))
        if family == "gemma" and activation == "gelu":  # Gemma's first configurations mean the tanh form
            activation = "gelu_pytorch_tanh"
        if rope is None or activation not in ACTIVATIONS or heads % kv_heads or said.get("use_bidirectional_attention"):
            return None
        has_bias = bool(said.get("attention_bias", False)) and family != "mistral"
        return Architecture(
            hidden, int(said["intermediate_size"]), heads, kv_heads, head_dim, int(said["vocab_size"]),
            _windows(family, said), float(said.get("rms_norm_eps", 1e-6)), activation, rope,
            tied=bool(said.get("tie_word_embeddings", False)),
            qkv_bias=family == "qwen2" or has_bias,
            output_bias=family != "qwen2" and has_bias,
            mlp_bias=family == "llama" and bool(said.get("mlp_bias", False)),
            qk_norms=family == "qwen3",
            norm_offset=1.0 if family == "gemma" else 0.0,
            embedding_factor=hidden**0.5 if family == "gemma" else 1.0,
            max_positions=max_positions,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _windows(family: str, said: Mapping[str, Any]) -> tuple[int | None, ...]:
    """Return how many positions each layer sees; None: all."""
    n, window = int(said["num_hidden_layers"]), said.get("sliding_window")
    if family == "mistral":
        return (window,) * n
    if family not in ("qwen2", "qwen3") or not said.get("use_sliding_window") or not window:
        return (None,) * n
    kinds = said.get("layer_types")
    if kinds is None:
        first = int(said.get("max_window_layers", 28))
        kinds = ["sliding_attention" if number >= first else "full_attention" for number in range(n)]
    if len(kinds) != n or not set(kinds) <= {"sliding_attention", "full_attention"}:
        raise ValueError("layers of another kind")
    return tuple(int(window) if kind == "sliding_attention" else None for kind in kinds)


def fits(wanted: Architecture, checkpoint: Checkpoint) -> bool:
    """Whether ``checkpoint`` holds exactly the tensors of ``wanted``, in int8 with their scales or in floats."""
    expected = wanted.shapes()
    left_out = _left_out(wanted, checkpoint)
    found = {name: shape for name, shape in checkpoint.shapes.items() if name not in left_out}
    scales = {name for name in found if name.endswith(SCALE_SUFFIX)}
    return {name: shape for name, shape in found.items() if name not in scales} == expected and all(
        found[name] == expected.get(name.removesuffix(SCALE_SUFFIX), ())[:1] for name in scales
    )


def _left_out(wanted: Architecture, checkpoint: Checkpoint) -> set[str]:
    """Return the tensors to ignore: a tied head that is in the files all the same, frequencies
    in old files, biases of zeros."""
    tied = {name for name in checkpoint.shapes if wanted.tied and name.startswith(f"{HEAD}.")}
    frequencies = {name for name in checkpoint.shapes if name.endswith("rotary_emb.inv_freq")}
    return tied | frequencies | (checkpoint.spare - wanted.shapes().keys())


def read_decoder(
    wanted: Architecture, checkpoint: Checkpoint, form: Format, progress: Progress
) -> tuple[Decoder, int]:  # fmt: skip
    """Return the decoder with the weights of ``checkpoint``, which ``fits``, and their number.

    Tensors are read, packed and placed one after another. Raises MidfillError if files are damaged, ValueError
    if ``form`` cannot hold them.
    """
    reader = _WeightCollector(wanted, form)
    for paths, found in checkpoint.groups(_groups(wanted, checkpoint), progress):
        reader.take(paths, found)
    return reader.decoder(), reader.parameters


def _groups(wanted: Architecture, checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """Return, by tensor name, the paths of the layers that are packed together; () for ignored tensors."""
    groups: dict[str, tuple[str, ...]] = {}
    for number in range(len(wanted.windows)):
        for names in (QKV, OUTPUT, GATE_UP, DOWN):
            paths = tuple(f"model.layers.{number}.{name}" for name in names)
            groups |= dict.fromkeys(paths, paths)
    left_out = _left_out(wanted, checkpoint)
    return {
        name: () if name in left_out else groups.get(path := name.rpartition(".")[0], (path,))
        for name in checkpoint.shapes
    }


class _WeightCollector:
    """Collects packed layers and norms by the paths they have in the files."""

    def __init__(self, wanted: Architecture, form: Format) -> None:
        self._wanted, self._form = wanted, form
        self._linears: dict[tuple[str, ...], Linear] = {}
        self._norms: dict[str, Norm] = {}
        self._embedding: Any = None
        self.parameters = 0

    def take(self, paths: tuple[str, ...], found: dict[str, torch.Tensor]) -> None:
        """Pack the tensors of the layers ``paths``."""
        if not paths:
            if wrong := [name for name, tensor in found.items() if name.endswith(".bias") and tensor.any()]:
                raise ValueError(f"unexpected tensor {wrong[0]}")
            return
        self.parameters += sum(t.numel() for name, t in found.items() if not name.endswith(SCALE_SUFFIX))
        wanted, first = self._wanted, found[f"{paths[0]}.weight"]
        if first.dim() == 1:
            norm = Norm.of(first, wanted.norm_offset, wanted.eps, self._form.dtype)
            self._norms[paths[0]] = Norm(norm.weight.to(self._form.device), norm.eps)
            return
        weights = [Stored(found[f"{path}.weight"], found.get(f"{path}.weight{SCALE_SUFFIX}")) for path in paths]
        if paths == (EMBEDDING,):
            head = self._linear((HEAD,), weights, [None]) if wanted.tied else None
            self._embedding = self._form.embedding(weights[0], wanted.embedding_factor, head)
        else:
            self._linear(paths, weights, [found.get(f"{path}.bias") for path in paths])

    def _linear(self, paths: tuple[str, ...], weights: list[Stored], biases: list[torch.Tensor | None]) -> Linear:
        linear = self._linears[paths] = self._form.linear(paths, weights, biases)
        return linear

    def decoder(self) -> Decoder:
        """Return the decoder, once all layers were taken."""
        wanted, form = self._wanted, self._form
        rope = Rope(wanted.rope.frequencies.to(form.device), wanted.rope.scale)
        layers = tuple(self._layer(f"model.layers.{i}.", window) for i, window in enumerate(wanted.windows))
        return Decoder(
            self._embedding, layers, self._norms[LAST_NORM], self._linears[HEAD,], rope, form.kv_dtype, form.device,
            wanted.max_positions,
        )  # fmt: skip

    def _layer(self, prefix: str, window: int | None) -> Layer:
        def linear(names: tuple[str, ...]) -> Linear:
            return self._linears[tuple(prefix + name for name in names)]

        wanted = self._wanted
        return Layer(
            before_attention=self._norms[prefix + ATTENTION_NORM],
            qkv=linear(QKV),
            q_norm=self._norms.get(f"{prefix}self_attn.q_norm"),
            k_norm=self._norms.get(f"{prefix}self_attn.k_norm"),
            head_dim=wanted.head_dim,
            scale=wanted.head_dim**-0.5,
            window=window,
            attention_output=linear(OUTPUT),
            before_mlp=self._norms[prefix + MLP_NORM],
            gate_up=linear(GATE_UP),
            activation=ACTIVATIONS[wanted.activation],
            down=linear(DOWN),
        )
