"""The bare product of int8 weights and int8 activations on a CPU: the fastest of torch's for the CPU at hand.

A kernel multiplies rows by a packed weight. Whole numbers are summed, so a row's sums do not depend on the rows beside
it, and every kernel here multiplies them by the scales in the same order for one row as for many (test).

- ``OneDnn``: CPUs with VNNI or AMX. It reads the weights once, whether for one token or for sixteen (docs/log.md).
- ``Fbgemm``: x86 CPUs without them (AVX2). Their instruction adds two products of an unsigned and a signed byte in
  16 bits, which 255 * 127 * 2 overflows. So weights have seven bits there, -63 to 63; seven bits of activations cost
  twice as much quality (docs/log.md).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Semaphore
from typing import Any, Protocol

import torch
from torch import nn

from midfill.engine.local.threads import n_cores

STEPS = 127  # of the largest weight of a row, and of the largest activation of one
LEAST = 4  # rows: VNNI's kernels read the weights faster for four than for one (docs/log.md)
PIECE = 1 << 16  # weights
SLOW = 20  # times float32: oneDNN's reference loops take some 500 times as long
_MIDDLE = torch.tensor(128.0)  # a Python number is made a tensor at every call, which takes longer than adding it


class Kernel(Protocol):
    """A weight (out, in) as its CPU reads it best."""

    weight_steps: int  # the largest magnitude of a weight

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        """``weight`` in STEPS steps: int8 (out, in); ``scale``: what a step is worth, (out,)."""

    def finish(self) -> None:
        """Wait until it is ready; it may begin by itself. Raises RuntimeError."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows``: float32 (tokens, in) from -STEPS to STEPS, rounded here, perhaps in place -> their products with
        the scaled weights, float32 (tokens, out)."""


class OneDnn:
    """oneDNN's ``qlinear_pointwise``.

    It has fast kernels for signed activations on AMX only. VNNI multiplies unsigned by signed bytes; elsewhere oneDNN
    falls back to reference loops, a thousand times slower. So where there is no AMX, activations are stored from 1 to
    255 with the zero at 128, which oneDNN takes off in whole numbers again: the sums are the same.
    """

    weight_steps = STEPS

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        self._packed = torch.ops.onednn.qlinear_prepack(weight, None)
        self._scale = scale
        # oneDNN is asked for the bare sums and the scales are multiplied here: its kernels for one row and for many
        # round in different orders, and a row must come out the same whoever is beside it.
        self._one = torch.ones(len(scale))
        self._zero = torch.zeros(len(scale), dtype=torch.long)
        self._zero_point = zero_point()
        few = torch.zeros((LEAST, weight.shape[1]), dtype=torch.uint8)
        self._few = [few[:n] for n in range(LEAST + 1)]  # views of one buffer: the model has one user at a time

    def finish(self) -> None:
        """See Kernel."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """See Kernel."""
        y = torch.ops.onednn.qlinear_pointwise(
            self._steps(rows), 1.0, self._zero_point, self._packed, self._one, self._zero,
            None, 1.0, 0, torch.float32, "none", [], "",
        )[: len(rows)]  # fmt: skip
        out: torch.Tensor = y.mul_(self._scale)
        return out

    def _steps(self, rows: torch.Tensor) -> torch.Tensor:
        """``rows`` as whole numbers, with the zero in its place; at least LEAST of unsigned ones."""
        rows.round_()
        if not self._zero_point:
            return rows.to(torch.int8)
        rows.add_(_MIDDLE)
        if len(rows) >= LEAST:
            return rows.to(torch.uint8)
        self._few[len(rows)].copy_(rows)
        return self._few[LEAST]


class Fbgemm:
    """FBGEMM's product of rows that it rounds itself, by one scale and one zero for all: rows come in steps."""

    weight_steps = 63
    _ZERO_POINT = 128

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        narrow = _narrowed(weight, self.weight_steps)
        scale = scale.double() * (STEPS / self.weight_steps)
        with warnings.catch_warnings():  # that later versions of torch will not know this type: see best()
            warnings.simplefilter("ignore", UserWarning)
            typed = torch._make_per_channel_quantized_tensor(
                narrow, scale, torch.zeros(len(scale), dtype=torch.long), 0
            )
        self._packing: Future[Any] | None = packing.submit(lambda: torch.ops.quantized.linear_prepack(typed, None))
        self._packed: Any = None

    def finish(self) -> None:
        """Wait until it is packed. Raises what packing raised."""
        if self._packing is not None:
            self._packed, self._packing = self._packing.result(), None

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """See Kernel."""
        if self._packing is not None:
            self.finish()
        out: torch.Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows, 1.0, self._ZERO_POINT, self._packed
        )
        return out


def _narrowed(weight: torch.Tensor, steps: int) -> torch.Tensor:
    """``weight`` in ``steps`` instead of STEPS steps; in pieces that stay in the cache as floats."""
    narrow = torch.empty_like(weight)
    rows = max(1, PIECE // weight.shape[1])
    for source, target in zip(torch.split(weight, rows), torch.split(narrow, rows), strict=True):
        target.copy_((source.float() * (steps / STEPS)).round_())
    return narrow


class _Packing:
    """Packs weights on threads of their own: FBGEMM takes one byte after another, seconds for a small model.

    Only so many at a time, since each weight is in memory twice until it is packed.
    """

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._room = Semaphore(n_cores() + 1)

    def submit(self, pack: Callable[[], Any]) -> Future[Any]:
        """Begin ``pack()``, if need be after waiting for an earlier one."""
        if self._pool is None:
            torch.backends.quantized.engine = "fbgemm"  # of the process, which multiplies quantised nothing else
            self._pool = ThreadPoolExecutor(n_cores(), "midfill-pack")
        self._room.acquire()
        future = self._pool.submit(pack)
        future.add_done_callback(lambda _: self._room.release())
        return future


packing = _Packing()


def best() -> type[OneDnn] | type[Fbgemm] | None:
    """The kernel for this CPU and this torch, or None where there is none."""
    if torch.cpu._is_vnni_supported() and hasattr(torch.ops.onednn, "qlinear_pointwise"):
        return OneDnn
    needed = ("linear_prepack", "linear_with_input_q_dq_qweight_dq_output_fp32")
    if "fbgemm" in torch.backends.quantized.supported_engines and all(
        hasattr(torch.ops.quantized, name) for name in needed
    ):
        return Fbgemm
    return None


def zero_point() -> int:
    """What stands for zero among oneDNN's activations: 0 for signed bytes (AMX), 128 for unsigned ones (VNNI)."""
    has_amx = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    return 0 if has_amx else 128


def is_fast(kernel: type[Kernel]) -> bool:
    """Whether ``kernel`` works, and takes no longer than SLOW times a product in float32. Some ten milliseconds."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randint(-STEPS, STEPS, (2048, 512), dtype=torch.int8, generator=generator)
    rows, floats = torch.randn((4, 512), generator=generator), weight.float()
    try:
        packed = kernel(weight, torch.ones(len(weight)))
        taken = shortest_s(lambda: packed(rows * STEPS / 8))
    except (RuntimeError, AttributeError, NotImplementedError):  # an operation that this build or a later one lacks
        return False
    return taken < SLOW * shortest_s(lambda: nn.functional.linear(rows, floats))


def shortest_s(call: Callable[[], object], times: int = 8) -> float:
    """Seconds of the shortest of ``times`` calls."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)
