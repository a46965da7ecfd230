"""Number formats of weights: how tensors read from files become a Linear on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch.nn import functional

from midfill.engine.local.model.decoder import Embedding, Linear, Norm

CPU = torch.device("cpu")
Biases = Sequence[torch.Tensor | None]


class Stored(NamedTuple):
    """A weight as it comes from a file: floats, or int8 with one scale per row (int8.quantise)."""

    values: torch.Tensor  # (out, in)
    scale: torch.Tensor | None = None  # (out,)

    def floats(self) -> torch.Tensor:
        """Return the weight in floating point."""
        return self.values if self.scale is None else self.values.float() * self.scale[:, None]

    def rows(self, start: int, end: int) -> Stored:
        """Return the rows from ``start`` to ``end``."""
        return Stored(self.values[start:end], None if self.scale is None else self.scale[start:end])


class Format(Protocol):
    """One number format on one device. ``dtype``: of activations; ``kv_dtype``: of keys and values."""

    dtype: torch.dtype
    kv_dtype: torch.dtype
    device: torch.device

    def linear(self, paths: Sequence[str], weights: Sequence[Stored], biases: Biases) -> Linear:
        """Return the layers ``paths`` as one Linear. Copies or packs: it does not keep its
        arguments. Raises ValueError."""
        ...

    def embedding(self, weight: Stored, factor: float, head: Linear | None) -> Embedding:
        """Return the token vectors, times ``factor``; read from the weights of ``head`` if those are the same."""
        ...


class Packed:
    """The common part of packings; subclasses pack and multiply."""

    def __init__(
        self, paths: Sequence[str], weights: Sequence[Stored], biases: Biases, dtype: torch.dtype = torch.float32,
        device: torch.device = CPU,
    ) -> None:  # fmt: skip
        """``dtype``: of activations. Raises ValueError if the packing cannot hold the weights."""
        self.paths, self.sizes = tuple(paths), [len(weight.values) for weight in weights]
        self.in_features: int = weights[0].values.shape[1]
        self.bias: torch.Tensor | None = None
        if any(bias is not None for bias in biases):
            self.bias = torch.zeros(sum(self.sizes), dtype=dtype, device=device)
            for part, bias in zip(torch.split(self.bias, self.sizes), biases, strict=True):
                if bias is not None:
                    part.copy_(bias)
        self._pack(weights, dtype, device)

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        raise NotImplementedError

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x: (rows, in) -> (rows, out_1 + out_2 + ...)."""
        if not len(x):  # a piece of a prompt that needs no logits
            return x.new_empty((0, sum(self.sizes)))
        y = self._multiply(x)
        return y if self.bias is None else y.add_(self.bias)

    def of_normed(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Return the product of ``norm(x)``."""
        return self(norm(x))

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    @property
    def n_bytes(self) -> int:
        """Bytes of the weights, scales and biases: every step reads them all."""
        held = [value for value in vars(self).values() if isinstance(value, torch.Tensor)]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)


class Float(Format):
    """Weights in ``dtype``, multiplied by activations in ``dtype``."""

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = self.kv_dtype = dtype
        self.device = device

    def linear(self, paths: Sequence[str], weights: Sequence[Stored], biases: Biases) -> FloatLinear:
        """See Format."""
        return FloatLinear(paths, weights, biases, self.dtype, self.device)

    def embedding(self, weight: Stored, factor: float, head: Linear | None) -> FloatEmbedding:
        """See Format."""
        if isinstance(head, FloatLinear):
            return FloatEmbedding(head.weight, factor)
        return FloatEmbedding(weight.floats().to(self.device, self.dtype, copy=True), factor)


class FloatLinear(Packed):
    """Unchanged weights, stacked: each is copied once, to its place on the device."""

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        self.weight = torch.empty((sum(self.sizes), self.in_features), dtype=dtype, device=device)
        for part, weight in zip(torch.split(self.weight, self.sizes), weights, strict=True):
            part.copy_(weight.floats())

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """See Packed."""
        return functional.linear(x, self.weight, self.bias)


class FloatEmbedding:
    """Rows of a matrix, which may be that of a head."""

    def __init__(self, weight: torch.Tensor, factor: float) -> None:
        self.num_embeddings, self._weight = len(weight), weight
        self._factor = None if factor == 1.0 else weight.new_tensor(factor)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """See decoder.Embedding."""
        rows = functional.embedding(ids, self._weight)
        return rows if self._factor is None else rows * self._factor


class Int8Rows:
    """Rows of an int8 embedding in the format of activations."""

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> None:
        self._weight, self._scale, self._dtype = weight, scale, dtype
        self.num_embeddings = len(weight)

    def __call__(self, ids: torch.Tensor) -> torch.Tensor:
        """See decoder.Embedding."""
        return (self._weight[ids] * self._scale[ids][..., None]).to(self._dtype)
