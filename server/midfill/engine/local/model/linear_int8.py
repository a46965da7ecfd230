"""Int8 weights on a CPU: half of bfloat16's memory traffic, and products of whole numbers.

Each weight row has one scale, each activation row another: x / absmax(x) in 127 or more levels, product of whole
numbers, times both scales. One scale for a whole call (torch's stock dynamic quantisation) loses quality; one scale
per row keeps it, and makes a row's result independent of the rows beside it. The kernels for each CPU are in
int8_kernels. Activations stay float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from midfill.engine.local.model import int8_kernels
from midfill.engine.local.model.decoder import Linear, Norm
from midfill.engine.local.model.formats import CPU, Biases, Format, Packed, Stored
from midfill.engine.local.model.int8 import quantise


class Int8(Format):
    """Int8 weights and activations on a CPU. Keys and values are in bfloat16: half the memory to read, and the loss is
    far smaller than that of rounded activations."""

    dtype, kv_dtype, device = torch.float32, torch.bfloat16, CPU

    def linear(self, paths: Sequence[str], weights: Sequence[Stored], biases: Biases) -> Int8Linear:
        """See Format."""
        return Int8Linear(paths, weights, biases)

    def embedding(self, weight: Stored, factor: float, head: Linear | None) -> Int8Embedding:
        """See Format."""
        return Int8Embedding(weight, factor, head)


class Int8Linear(Packed):
    """Eight-bit weights, one scale per row, times rounded activations, one scale per token."""

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        pairs = [_quantised(weight) for weight in weights]
        values = pairs[0][0] if len(pairs) == 1 else torch.cat([part for part, _ in pairs])  # kernels copy it
        kernel = int8_kernels.best()
        if kernel is None:
            raise ValueError("this CPU has no int8 products")
        self.kernel = kernel(values, torch.cat([scale for _, scale in pairs]))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See Packed."""
        return super().__call__(x.float())

    def of_normed(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Return the product of x / sqrt(sum(x²) + least²) * weight. The roots only change the rows' scales:
        no normed row is ever written."""
        weight, least = norm.of_sum
        root = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        y = self.kernel(x * weight, torch.hypot(root, least).reciprocal_())
        return y if self.bias is None else y.add_(self.bias)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        return self.kernel(x)

    @property
    def n_bytes(self) -> int:
        """One byte per weight, and the scales."""
        return sum(self.sizes) * (self.in_features + 4)


class Int8Embedding:
    """Rows of an int8 embedding as float32. If a ``head`` has the same weights and its packing can be read, rows come
    from there: the weights are then in memory once."""

    def __init__(self, weight: Stored, factor: float, head: Linear | None) -> None:
        values, scale = _quantised(weight)
        self.num_embeddings = len(values)
        self._scale = scale * factor
        kernel: Any = getattr(head, "kernel", None)
        if hasattr(kernel, "rows"):
            self._rows = kernel.rows
        else:
            copy = values.clone()
            self._rows = lambda ids: copy[ids]

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """See decoder.Embedding."""
        rows: torch.Tensor = self._rows(ids).float()
        return rows.mul_(self._scale[ids][..., None])


def _quantised(weight: Stored) -> tuple[torch.Tensor, torch.Tensor]:
    return quantise(weight.values) if weight.scale is None else (weight.values, weight.scale)
