"""Frozen int8 layers that gradients pass through, for CPUs that multiply int8 several times as fast as floats.

Training an adapter needs a frozen layer's product y = x W^T and, on the way back, dx = dy W. Both are the engine's
products of rows in 16 bits with int8 levels: the first is the one that serves, so the adapter is trained upon what it
will be added to; the second has the levels transposed. The adapter's own part (Hu et al. 2021, arXiv:2106.09685) stays
in float32. It is computed beside the product: peft's separate operations took as long as all products (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from peft import PeftModel

from midfill.engine.local.forward.compiled.product import CompiledKernel
from midfill.engine.local.model.linear_int8 import Int8Linear
from midfill.engine.local.model.modules import PackedLinear
from midfill.train.dropout import WindowDropout, window

# Outputs that a product on the way back sums at once. A row is rounded to fewer levels the longer its sums are (152,000
# logits would leave 111), so that 32 bits hold them; longer ones are made of parts, added as floats.
DEPTH = 4096
ADAPTER = "default"  # peft's name of the adapter that is trained


class Int8WithGradient(Int8Linear):
    """An int8 layer whose levels are packed a second time for the way back, with the adapter's layers on it."""

    def __init__(self, linear: Int8Linear) -> None:
        """``linear``: the engine's, which has our own kernel."""
        kernel: Any = linear.kernel
        self.__dict__ |= vars(linear)
        self.loras: list[Any] = [None] * len(self.sizes)  # peft's layers
        self._scale = torch.from_numpy(kernel.scale)
        n_parts = -(-kernel.outputs // DEPTH)
        ends = [kernel.outputs * part // n_parts for part in range(n_parts + 1)]
        ones = torch.ones(self.in_features)
        self._back = [
            (start, end, CompiledKernel(kernel.rows(torch.arange(start, end)).T, ones)) for start, end in pairwise(ends)
        ]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See Packed. With what the adapter adds."""
        at = [i for i, layer in enumerate(self.loras) if layer is not None]
        layers = [self.loras[i] for i in at]
        mask, scale = None, 0.0
        if layers:
            dropout, scale = layers[0].lora_dropout[ADAPTER], layers[0].scaling[ADAPTER]
            if isinstance(dropout, WindowDropout) and dropout.training:
                mask = window(dropout.p, x.shape)  # the same for all layers that read x
        a = [layer.lora_A[ADAPTER].weight for layer in layers]
        b = [layer.lora_B[ADAPTER].weight for layer in layers]
        y: torch.Tensor = _AdaptedLinear.apply(x, self, at, scale, mask, *a, *b)  # type: ignore[no-untyped-call]
        return y

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Return the layer's output without the adapter."""
        return super().__call__(x)

    def gradient(self, of_y: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the product's x, (rows, in), from that of its output, (rows, out_1 + out_2 + ...)."""
        total: torch.Tensor | None = None
        for start, end, kernel in self._back:
            part = kernel(of_y[:, start:end] * self._scale[start:end])
            total = part if total is None else total.add_(part)
        assert total is not None
        return total


class _AdaptedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, linear: Int8WithGradient, at: Sequence[int], scale: float, mask: torch.Tensor | None,
        *weights: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """See Int8WithGradient. ``at``: which of its parts have an adapter's layer; ``weights``: the a of all these,
        (rank, in), then the b, (out, rank)."""
        y, low = linear.product(x), None
        ctx.linear, ctx.at, ctx.scale, ctx.mask = linear, at, scale, mask
        if at:
            a, b = weights[: len(at)], weights[len(at) :]
            low = (x if mask is None else x * mask) @ torch.cat(a).T  # (rows, all ranks)
            for part, its_low, its_b in zip(_parts(y, ctx), low.chunk(len(at), 1), b, strict=True):
                part.addmm_(its_low, its_b.T, alpha=scale)
        ctx.save_for_backward(x if at else None, low, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, of_y: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of x and of the weights."""
        x, low, *weights = ctx.saved_tensors
        of_x = ctx.linear.gradient(of_y) if ctx.needs_input_grad[0] else None
        if not ctx.at:
            return of_x, None, None, None, None
        n, parts = len(ctx.at), _parts(of_y, ctx)
        of_low = torch.cat([part @ b for part, b in zip(parts, weights[n:], strict=True)], 1).mul_(ctx.scale)
        of_a = (of_low.T @ (x if ctx.mask is None else x * ctx.mask)).chunk(n)
        of_b = [(part.T @ its_low).mul_(ctx.scale) for part, its_low in zip(parts, low.chunk(n, 1), strict=True)]
        if of_x is not None:
            added = of_low @ torch.cat(weights[:n])
            of_x = of_x.add_(added) if ctx.mask is None else of_x.addcmul_(added, ctx.mask)
        return of_x, None, None, None, None, *of_a, *of_b


def _parts(y: torch.Tensor, ctx: Any) -> list[torch.Tensor]:
    parts = torch.split(y, ctx.linear.sizes, 1)
    return [parts[i] for i in ctx.at]


def pass_gradients(model: torch.nn.Module) -> None:
    """Let gradients pass through the int8 layers of ``model`` (modules.build), which have our own kernels."""
    made: dict[Int8Linear, Int8WithGradient] = {}  # layers that read the same input share one
    for module in model.modules():
        if isinstance(module, PackedLinear):
            old: Any = module.linear
            if old not in made:
                made[old] = Int8WithGradient(old)
            module.linear = made[old]


def compute_beside(model: PeftModel) -> None:
    """Have the products of ``model`` add what the adapter's layers on them do."""
    for module in model.modules():
        base: Any = getattr(module, "base_layer", None)
        if isinstance(base, PackedLinear) and isinstance(base.linear, Int8WithGradient):
            base.linear.loras[base.index] = module
            module.forward = lambda x, base=base: base(x)
