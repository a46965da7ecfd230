"""The bare product of int8 weights and rounded activations on a CPU, by the fastest kernel for this CPU.

A kernel multiplies rows by a packed weight. It sums whole numbers, so a row's sums do not depend on the rows beside it,
and every kernel multiplies them by the scales in the same order for one row as for many (tested).

- ``OneDnn``: on CPUs with AMX, whose products of eight-bit numbers are far faster than all others; and on CPUs with
  VNNI if numba is missing.
- ``compiled.product.CompiledKernel``, our own: every other CPU that numba knows.
"""

from __future__ import annotations

import functools
import logging
import math
import time
from collections.abc import Callable
from typing import Protocol

import torch
from torch import nn

log = logging.getLogger(__name__)
LEVELS = 127  # for the largest weight of a row
MANY = 32  # from this many rows on, writing their magnitudes takes longer than reading the rows twice
_LEVELS = torch.tensor(
    float(LEVELS)
)  # a tensor, as torch would make one of a Python number at every call, which takes longer than dividing
MIN_ROWS = 4  # rows: VNNI's kernels read the weights faster for four than for one (docs/log.md)
SLOW = 20  # times float32: oneDNN's reference loops take some 500 times as long
MUCH_SLOWER = 100
LOOKS, LOOK_AGAIN_S = 6, 0.02
WRONG = 0.02  # relative error of a product that rounding cannot explain
_MIDDLE = torch.tensor(128.0)


class Kernel(Protocol):
    """A weight (out, in) in the layout that its CPU reads best."""

    levels: int  # the number that the largest activation of a row is scaled to

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        """``weight`` in LEVELS levels: int8 (out, in); ``scale``: the value of one level, (out,)."""

    def __call__(self, rows: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """``rows``: float32 (tokens, in), rounded with one scale per row. Returns their products with the scaled
        weights, each times its ``factor`` (tokens, 1): float32 (tokens, out)."""


class OneDnn:
    """oneDNN's ``qlinear_pointwise``.

    It has fast kernels for signed activations on AMX only. VNNI multiplies unsigned by signed bytes; elsewhere oneDNN
    falls back to reference loops, a thousand times slower. So without AMX, activations are stored from 1 to 255 with
    the zero at 128, which oneDNN subtracts again in whole numbers: the sums are the same.
    """

    levels = LEVELS

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(weight, None)
        self._scale = scale / LEVELS
        # oneDNN returns the bare sums and the scales are multiplied here: its kernels for one row and for many round in
        # different orders, and a row's result must not depend on the rows beside it.
        self._one = torch.ones(len(scale))
        self._zero = torch.zeros(len(scale), dtype=torch.long)
        self._zero_point = 0 if has_amx() else 128
        few = torch.zeros((MIN_ROWS, weight.shape[1]), dtype=torch.uint8)
        self._few = [few[:n] for n in range(MIN_ROWS + 1)]  # views of one buffer: the model has one user at a time

    def __call__(self, rows: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        """See Kernel."""
        largest = _largest(rows)
        y = torch.ops.onednn.qlinear_pointwise(
            self._levels(rows * torch.div(_LEVELS, largest)), 1.0, self._zero_point, self._packed, self._one,
            self._zero, None, 1.0, 0, torch.float32, "none", [], "",
        )[: len(rows)]  # fmt: skip
        out: torch.Tensor = y.mul_(self._scale).mul_(largest if factor is None else largest.mul_(factor))
        return out

    def _levels(self, rows: torch.Tensor) -> torch.Tensor:
        """Return ``rows`` as whole numbers, with the zero in its place; at least MIN_ROWS of unsigned ones."""
        rows.round_()
        if not self._zero_point:
            return rows.to(torch.int8)
        rows.add_(_MIDDLE)
        if len(rows) >= MIN_ROWS:
            return rows.to(torch.uint8)
        self._few[len(rows)].copy_(rows)
        return self._few[MIN_ROWS]


def _largest(rows: torch.Tensor) -> torch.Tensor:
    """Return the largest magnitude of each row, (tokens, 1)."""
    if len(rows) < MANY:
        return rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12)
    return torch.maximum(rows.amax(dim=1, keepdim=True), rows.amin(dim=1, keepdim=True).neg_()).clamp_(min=1e-12)


@functools.cache
def best() -> type[Kernel] | None:
    """Return the kernel for this CPU and this torch, or None if none works. Each is tried, as a
    slow fallback looks the same."""
    has_one_dnn = torch.cpu._is_vnni_supported() and hasattr(torch.ops.onednn, "qlinear_pointwise")
    own = None if has_one_dnn and has_amx() else _compiled_kernel()
    for kernel in (own, OneDnn if has_one_dnn else None):
        if kernel is not None and works(kernel):
            return kernel
    return None


def _compiled_kernel() -> type[Kernel] | None:
    """Return our own kernel if numba is installed and may keep what it compiles, else None."""
    try:
        from midfill.engine.local.forward.compiled.product import CompiledKernel
    except ImportError:
        return None
    except Exception as error:  # noqa: BLE001 - any error of numba or its libraries: there are other kernels
        log.warning("the compiled products cannot be used: %s", error)
        return None
    return CompiledKernel


def has_amx() -> bool:
    """Whether the CPU multiplies matrices of signed bytes."""
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def works(kernel: type[Kernel]) -> bool:
    """Whether ``kernel`` multiplies correctly, and takes at most SLOW times as long as a product in float32.
    Takes some ten milliseconds."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-LEVELS, LEVELS, (2048, 512), dtype=torch.int8, generator=generator)
    rows, floats = torch.randn((4, 512), generator=generator), weight.float()
    expected = nn.functional.linear(rows, floats)
    try:
        packed = kernel(weight, torch.ones(len(weight)))
        if float((packed(rows) - expected).norm()) > WRONG * float(expected.norm()):
            return False
        return _is_fast(lambda: packed(rows), lambda: nn.functional.linear(rows, floats))
    except Exception as error:  # noqa: BLE001 - an operation that this build or a later one lacks, a failing compiler
        log.warning("%s cannot be used: %s", kernel.__name__, str(error)[:200])
        return False


def _is_fast(call: Callable[[], object], other: Callable[[], object]) -> bool:
    """Whether ``call`` takes at most SLOW times as long as ``other``.

    The answer decides for as long as the engine lives, and on a busy machine a few calls may all be slow: so it is no
    only after several looks, or two if ``call`` takes much longer.
    """
    taken = others = math.inf
    for look in range(LOOKS):
        time.sleep(LOOK_AGAIN_S if look else 0)
        taken, others = min(taken, shortest_s(call)), min(others, shortest_s(other))
        if taken < SLOW * others:
            return True
        if look and taken > MUCH_SLOWER * others:
            return False
    return False


def shortest_s(call: Callable[[], object], times: int = 8) -> float:
    """Return the seconds of the shortest of ``times`` calls."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)
