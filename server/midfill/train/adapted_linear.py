"""Frozen linear layers on a CPU with the adapter's own part computed beside their product.

Peft adds an adapter (Hu et al. 2021, arXiv:2106.09685) by operations of its own: a float32 copy of the input, dropout,
two products, a scale, a sum and a copy back, for each layer. They took as long as the products of the frozen weights or
longer (docs/log.md). Here layers that read the same input are one product and share one dropout mask, and the adapter
is multiplied in the format of the activations; its weights, their gradients' sums and the optimiser stay in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from peft import PeftModel
from torch import nn

from midfill.engine.local.model.formats import FloatLinear, Stored
from midfill.engine.local.model.modules import FUSED, PackedLinear
from midfill.train.dropout import WindowDropout, window

ADAPTER = "default"  # peft's name of the adapter that is trained


class Frozen(Protocol):
    """Frozen layers that read the same input, with a way back. ``sizes``: their outputs."""

    in_features: int
    sizes: list[int]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (rows, in) -> (rows, out_1 + out_2 + ...)."""
        ...

    def gradient(self, of_y: torch.Tensor) -> torch.Tensor:
        """Return the gradient of x, (rows, in), from that of the output, (rows, out_1 + out_2 + ...)."""
        ...


class FrozenFloats:
    """Frozen layers of floats, stacked."""

    def __init__(self, linear: FloatLinear) -> None:
        self.linear, self.in_features, self.sizes = linear, linear.in_features, linear.sizes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See Frozen."""
        return self.linear(x)

    def gradient(self, of_y: torch.Tensor) -> torch.Tensor:
        """See Frozen."""
        return of_y @ self.linear.weight


class AdaptedLinear:
    """Frozen layers with the adapter's layers on them."""

    def __init__(self, frozen: Frozen) -> None:
        self.frozen, self.in_features, self.sizes = frozen, frozen.in_features, frozen.sizes
        self.loras: list[Any] = [None] * len(self.sizes)  # peft's layers

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (rows, in) -> (rows, out_1 + out_2 + ...), with what the adapter adds."""
        at = [i for i, layer in enumerate(self.loras) if layer is not None]
        layers = [self.loras[i] for i in at]
        mask, scale = None, 0.0
        if layers:
            dropout, scale = layers[0].lora_dropout[ADAPTER], layers[0].scaling[ADAPTER]
            if isinstance(dropout, WindowDropout) and dropout.training:
                mask = window(dropout.p, x.shape, x.dtype)  # the same for all layers that read x
        a = [layer.lora_A[ADAPTER].weight for layer in layers]
        b = [layer.lora_B[ADAPTER].weight for layer in layers]
        y: torch.Tensor = _Adapted.apply(x, self.frozen, at, scale, mask, *a, *b)  # type: ignore[no-untyped-call]
        return y


class _Adapted(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, frozen: Frozen, at: Sequence[int], scale: float, mask: torch.Tensor | None,
        *weights: torch.Tensor,
    ) -> torch.Tensor:  # fmt: skip
        """See AdaptedLinear. ``at``: which of the layers have an adapter's; ``weights``: the a of all these,
        (rank, in), then the b, (out, rank)."""
        y, low = frozen(x), None
        ctx.frozen, ctx.at, ctx.scale, ctx.mask = frozen, at, scale, mask
        if at:
            weights = tuple(weight.to(x.dtype) for weight in weights)
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
        of_x = ctx.frozen.gradient(of_y) if ctx.needs_input_grad[0] else None
        if not ctx.at:
            return of_x, None, None, None, None
        n, parts = len(ctx.at), _parts(of_y, ctx)
        of_low = torch.cat([part @ b for part, b in zip(parts, weights[n:], strict=True)], 1).mul_(ctx.scale)
        of_a = (of_low.T @ (x if ctx.mask is None else x * ctx.mask)).float().chunk(n)
        lows = low.chunk(n, 1)
        of_b = [(part.T @ its_low).float().mul_(ctx.scale) for part, its_low in zip(parts, lows, strict=True)]
        if of_x is not None:
            added = of_low @ torch.cat(weights[:n])
            of_x = of_x.add_(added) if ctx.mask is None else of_x.addcmul_(added, ctx.mask)
        return of_x, None, None, None, None, *of_a, *of_b


def _parts(y: torch.Tensor, ctx: Any) -> list[torch.Tensor]:
    parts = torch.split(y, ctx.frozen.sizes, 1)
    return [parts[i] for i in ctx.at]


def stack(model: nn.Module) -> None:
    """Replace the frozen float layers of ``model`` by stacks, which then hold their weights. The head stays, as its
    weights may be the embedding's."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    for parent in list(model.modules()):
        linears = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
        linears = {name: child for name, child in linears.items() if child is not head}
        groups: list[tuple[str, ...]] = [group for group in FUSED if linears.keys() >= set(group)]
        groups += [(name,) for name in linears if not any(name in group for group in groups)]
        for group in groups:
            layers = [linears[name] for name in group]
            weight, biases = layers[0].weight, [layer.bias for layer in layers]
            floats = FloatLinear(group, [Stored(one.weight) for one in layers], biases, weight.dtype, weight.device)
            adapted: Any = AdaptedLinear(FrozenFloats(floats))
            packed = [PackedLinear(adapted, index, weight.dtype, weight.device) for index in range(len(group))]
            for name, layer in zip(group, packed, strict=True):
                layer.share(packed[0])
                setattr(parent, name, layer)


def compute_beside(model: PeftModel) -> None:
    """Have the products of ``model`` add what the adapter's layers on them do."""
    for module in model.modules():
        base: Any = getattr(module, "base_layer", None)
        if isinstance(base, PackedLinear) and isinstance(base.linear, AdaptedLinear):
            base.linear.loras[base.index] = module
            module.forward = lambda x, base=base: base(x)
