"""Frozen int8 layers with a way back, for CPUs that multiply int8 several times as fast as floats.

Training an adapter needs a frozen layer's product y = x W^T and, on the way back, dx = dy W. Both are the engine's
products of rows in 16 bits with int8 levels: the first is the one that serves, so the adapter is trained upon what it
will be added to; the second has the levels transposed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch

from midfill.engine.local.forward.compiled.product import CompiledKernel
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.modules import PackedLinear
from midfill.train.adapted_linear import AdaptedLinear

# Outputs that a product on the way back sums at once. A row is rounded to fewer levels the longer its sums are (152,000
# logits would leave 111), so that 32 bits hold them; longer ones are made of parts, added as floats.
DEPTH = 4096


class FrozenInt8:
    """A frozen int8 layer whose levels are packed a second time for the way back."""

    def __init__(self, linear: Int8Linear) -> None:
        """``linear``: the engine's, which has our own kernel."""
        kernel: Any = linear.kernel
        self.linear, self.in_features, self.sizes = linear, linear.in_features, linear.sizes
        self._scale = torch.from_numpy(kernel.scale)
        n_parts = -(-kernel.outputs // DEPTH)
        ends = [kernel.outputs * part // n_parts for part in range(n_parts + 1)]
        ones = torch.ones(self.in_features)
        self._back = [
            (start, end, CompiledKernel(kernel.rows(torch.arange(start, end)).T, ones)) for start, end in pairwise(ends)
        ]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See Frozen."""
        return self.linear(x)

    def gradient(self, of_y: torch.Tensor) -> torch.Tensor:
        """See Frozen."""
        total: torch.Tensor | None = None
        for start, end, kernel in self._back:
            part = kernel(of_y[:, start:end] * self._scale[start:end])
            total = part if total is None else total.add_(part)
        assert total is not None
        return total


def pass_gradients(model: torch.nn.Module) -> None:
    """Let gradients pass through the int8 layers of ``model`` (modules.build), which have our own kernels."""
    made: dict[Int8Linear, Any] = {}  # layers that read the same input share one
    for module in model.modules():
        if isinstance(module, PackedLinear):
            old: Any = module.linear
            if old not in made:
                made[old] = AdaptedLinear(FrozenInt8(old))
            module.linear = made[old]
