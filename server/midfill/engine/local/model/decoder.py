"""A decoder as a value: its layers and their weights. The passes in ``forward/`` compute it.

Pre-norm layers with rotary positions, grouped-query attention and a gated MLP: Llama, Mistral, Qwen2, Qwen3, Gemma.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch.nn import functional

HEAD = "lm_head"


class Linear(Protocol):
    """One or several weight matrices that read the same input, packed in some number format.

    ``paths`` are the names of the layers in the checkpoint, which adapters use too; ``sizes`` are their output sizes.
    """

    paths: tuple[str, ...]
    sizes: list[int]
    in_features: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (rows, in_features) -> (rows, sizes[0] + sizes[1] + ...), biases added."""
        ...

    def of_normed(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Return the product of ``norm(x)``; a packing may do both in fewer operations."""
        ...

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights, scales and biases: every step reads them all."""
        ...


class Embedding(Protocol):
    """The token vectors. ``num_embeddings``: the number of ids."""

    num_embeddings: int

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (rows,) -> (rows, hidden)."""
        ...


@dataclass(frozen=True)
class Norm:
    """Root mean square norm (Zhang and Sennrich 2019, arXiv:1910.07467); ``weight`` is what the input is multiplied by.

    The weight is in float32 if the activations' format would round it (Gemma's is one more than the stored value).
    """

    weight: torch.Tensor
    eps: float

    @classmethod
    def of(cls, stored: torch.Tensor, offset: float, eps: float, dtype: torch.dtype) -> Norm:
        """Return the norm with the weight ``stored`` + ``offset``, for activations in ``dtype``."""
        weight = stored.float() + offset
        rounded = weight.to(dtype)
        return cls(rounded if torch.equal(rounded.float(), weight) else weight, eps)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (..., features)."""
        if self.weight.dtype == x.dtype:
            return functional.rms_norm(x, (x.shape[-1],), self.weight, self.eps)
        return functional.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps).to(x.dtype)

    @functools.cached_property
    def of_sum(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The weight and the root of epsilon, both scaled for a sum of squares instead of their mean."""
        n = self.weight.numel()
        return self.weight * n**0.5, self.weight.new_tensor((self.eps * n) ** 0.5)


@dataclass(frozen=True, slots=True)
class Rope:
    """Rotary positions (RoPE, Su et al. 2021, arXiv:2104.09864); the two values of a pair are half a head apart.

    ``frequencies``: (head_dim / 2,) in radians per position, float32; ``scale``: of cosines and sines (YaRN).
    """

    frequencies: torch.Tensor
    scale: float = 1.0

    def __call__(self, positions: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """positions: (rows,) -> cosines and sines, (rows, head_dim)."""
        angles = positions[:, None].float() * self.frequencies
        both = torch.cat((angles, angles), dim=-1)
        cos, sin = both.cos(), both.sin()
        if self.scale != 1.0:
            cos, sin = cos * self.scale, sin * self.scale
        return cos.to(dtype), sin.to(dtype)


@dataclass(frozen=True, slots=True)
class Layer:
    """The weights and constants of one layer."""

    before_attention: Norm
    qkv: Linear
    q_norm: Norm | None  # applied to each head
    k_norm: Norm | None
    head_dim: int
    scale: float  # of attention scores
    window: int | None  # how many positions a query sees; None: all before it
    attention_output: Linear
    before_mlp: Norm
    gate_up: Linear
    activation: Callable[[torch.Tensor], torch.Tensor]
    down: Linear

    @property
    def linears(self) -> tuple[Linear, Linear, Linear, Linear]:
        """The products in the order in which they are computed."""
        return self.qkv, self.attention_output, self.gate_up, self.down


@dataclass(frozen=True, slots=True)
class Decoder:
    """A model. ``kv_dtype``: the format of its keys and values; ``device`` holds all weights."""

    embedding: Embedding
    layers: tuple[Layer, ...]
    norm: Norm
    head: Linear
    rope: Rope
    kv_dtype: torch.dtype
    device: torch.device
    max_positions: int  # the number of positions it was made for

    @property
    def linears(self) -> Iterator[Linear]:
        """Every product, layer by layer, then the head."""
        for layer in self.layers:
            yield from layer.linears
        yield self.head

    @property
    def module_names(self) -> list[str]:
        """The names transformers gives to the model's parts; adapters name the parts they change by them."""
        names = {"", "model", "model.embed_tokens", "model.layers", "model.norm", "model.rotary_emb"}
        for number, layer in enumerate(self.layers):
            parts = ["", ".self_attn", ".mlp", ".mlp.act_fn", ".input_layernorm", ".post_attention_layernorm"]
            parts += [".self_attn.q_norm", ".self_attn.k_norm"] if layer.q_norm is not None else []
            names |= {f"model.layers.{number}{part}" for part in parts}
        return sorted(names.union(*(linear.paths for linear in self.linears)))
