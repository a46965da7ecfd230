"""A decoder's forward pass in torch's operations, with nothing between the products.

Besides the products of a small model, transformers' modules spend much of a step in Python and in small operations
(docs/log.md); here the same computation is written once.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from midfill.engine.local.forward.attention import Attends
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.model.decoder import Decoder, Layer, Linear, Norm


def forward(
    decoder: Decoder, ids: torch.Tensor, positions: torch.Tensor, keep: torch.Tensor, step: Attends,
    adapter: Adapter | None, check: Callable[[], None],
) -> torch.Tensor:  # fmt: skip
    """ids, positions: (rows,). Returns the logits of the rows ``keep``: (kept, vocabulary).

    ``check`` is called before each layer and may raise.
    """
    x = decoder.embedding(ids)
    cos, sin = (part[:, None] for part in decoder.rope(positions, x.dtype))
    sin[..., : sin.shape[-1] // 2].neg_()  # rotating halves is then a roll and one multiplication
    for number, layer in enumerate(decoder.layers):
        check()
        x = _layer(layer, number, x, cos, sin, step, adapter, decoder.kv_dtype)
    if not len(keep):
        return torch.empty((0, 0))
    return linear_with_adapter(decoder.head, decoder.norm(x[keep]), adapter)


def _layer(
    layer: Layer, number: int, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, step: Attends,
    adapter: Adapter | None, kv_dtype: torch.dtype,
) -> torch.Tensor:  # fmt: skip
    """Return x, (rows, hidden), after ``layer``."""
    n, sizes = len(x), layer.qkv.sizes
    y = _linear_of_normed(layer.qkv, x, layer.before_attention, adapter)
    n_rotated, n_heads = sizes[0] + sizes[1], sizes[0] // layer.head_dim
    qk = y[:, :n_rotated].view(n, -1, layer.head_dim)
    if layer.q_norm is not None and layer.k_norm is not None:
        qk = torch.cat((layer.q_norm(qk[:, :n_heads]), layer.k_norm(qk[:, n_heads:])), dim=1)
    qk = torch.addcmul(qk * cos, qk.roll(layer.head_dim // 2, -1), sin).transpose(0, 1)  # (heads, rows, dim)
    v = y[:, n_rotated:].view(n, -1, layer.head_dim).transpose(0, 1)
    qk, v = qk.to(kv_dtype), v.to(kv_dtype)
    attended = step.attend(number, qk[:n_heads], qk[n_heads:], v, layer.scale, layer.window, None).to(x.dtype)
    x = linear_with_adapter(layer.attention_output, attended.reshape(n, -1), adapter).add_(x)
    gate_up = _linear_of_normed(layer.gate_up, x, layer.before_mlp, adapter)
    gate, up = torch.split(gate_up, layer.gate_up.sizes, dim=1)
    return linear_with_adapter(layer.down, layer.activation(gate).mul_(up), adapter).add_(x)


def linear_with_adapter(linear: Linear, x: torch.Tensor, adapter: Adapter | None) -> torch.Tensor:
    """x: (rows, in) -> (rows, out), plus what ``adapter`` adds."""
    y = linear(x)
    return y if adapter is None else adapter.add_to(y, x, linear.paths, linear.sizes)


def _linear_of_normed(linear: Linear, x: torch.Tensor, norm: Norm, adapter: Adapter | None) -> torch.Tensor:
    return linear.of_normed(x, norm) if adapter is None else linear_with_adapter(linear, norm(x), adapter)
