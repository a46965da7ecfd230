"""A decoder's step of few rows in one slot, with Triton's kernels between the products (triton_kernels.py).

The same computation as in eager.py, in fewer launches, for CUDA graphs: a residual is added in the kernel of the next
norm, keys and values are stored at their positions by the kernel that rotates, and attention reads the length of the
sequence from the device. Imported only if Triton is installed.
"""

from __future__ import annotations

import torch

from midfill.engine.local.forward import triton_kernels as kernels
from midfill.engine.local.forward.eager import linear_with_adapter
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.model.decoder import Decoder, Layer
from midfill.engine.local.model.read import ACTIVATIONS
from midfill.engine.local.sequence.kv_cache import Slot

KINDS = {"silu": kernels.SILU, "gelu_pytorch_tanh": kernels.GELU_TANH, "gelu": kernels.GELU}
_KIND_OF = {ACTIVATIONS[name]: kind for name, kind in KINDS.items() if name in ACTIVATIONS}


def is_possible(decoder: Decoder) -> bool:
    """Whether the kernels support this decoder's layers."""
    return all(
        layer.activation in _KIND_OF
        and layer.head_dim >= kernels.MIN_DOT
        and layer.head_dim & (layer.head_dim - 1) == 0
        and (layer.q_norm is None) == (layer.k_norm is None)
        for layer in decoder.layers
    )


def forward(
    decoder: Decoder, ids: torch.Tensor, positions: torch.Tensor, slot: Slot, adapter: Adapter | None
) -> torch.Tensor:  # fmt: skip
    """ids, positions: (rows,). Returns the logits of every row: (rows, vocabulary). Positions at or after the slot's
    capacity belong to padding rows."""
    x = decoder.embedding(ids)
    cos, sin = decoder.rope(positions, x.dtype)
    delta: torch.Tensor | None = None  # still to be added to x
    for number, layer in enumerate(decoder.layers):
        delta = _layer(layer, number, x, delta, cos, sin, positions, slot, adapter)
    normed = kernels.add_norm(x, delta, decoder.norm.weight, decoder.norm.eps)
    return linear_with_adapter(decoder.head, normed, adapter)


def _layer(
    layer: Layer, number: int, x: torch.Tensor, delta: torch.Tensor | None, cos: torch.Tensor, sin: torch.Tensor,
    positions: torch.Tensor, slot: Slot, adapter: Adapter | None,
) -> torch.Tensor:  # fmt: skip
    """Return what ``layer`` adds to x, (rows, hidden); ``delta`` is added to x first."""
    keys, values = slot.keys[number], slot.values[number]
    normed = kernels.add_norm(x, delta, layer.before_attention.weight, layer.before_attention.eps)
    qkv = linear_with_adapter(layer.qkv, normed, adapter)
    norms = (layer.q_norm, layer.k_norm) if layer.q_norm is not None else None
    q = kernels.rotate(qkv, cos, sin, positions, keys, values, layer.qkv.sizes[0] // layer.head_dim, norms)
    attended = kernels.attend(q, keys, values, positions, slot.capacity, layer.scale, layer.window).to(x.dtype)
    more = linear_with_adapter(layer.attention_output, attended, adapter)
    normed = kernels.add_norm(x, more, layer.before_mlp.weight, layer.before_mlp.eps)
    gated = kernels.gate(linear_with_adapter(layer.gate_up, normed, adapter), _KIND_OF[layer.activation])
    return linear_with_adapter(layer.down, gated, adapter)
