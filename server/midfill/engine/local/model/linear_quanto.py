"""Int8, float8 and four-bit weights by optimum-quanto, for devices without a kernel of ours.

These are Apple's GPUs (mps), Intel's (xpu), CPUs without numba and VNNI; and four bits on any CPU, for models whose
int8 weights leave no room there. Only weights are quantised; activations stay floats.

- int8 and float8 (e4m3): one scale per weight row. The product is quanto's: torch's own int8 kernel for bfloat16 on a
  CPU; otherwise the weights are widened at each step, which saves memory and no time.
- int4: a scale and a shift for each group of 32 weights, chosen by quanto's MaxOptimizer (its HqqOptimizer takes 30
  times as long for 3 % less error). On a CPU torch's int4 kernel multiplies; elsewhere weights are widened.

Embedding and head, on which every choice depends, are int8 in each format, and so are layers whose rows are not whole
groups: by products of ours if this CPU has them (linear_int8.py), as widening a head takes most of a step.

quanto's operations are called on plain tensors. Its tensor classes multiply four bits through autograd, which inference
mode refuses, and unpack them by an extension that a compiler on the user's machine would have to build.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

from midfill.engine.local.model.decoder import HEAD, Embedding, Linear
from midfill.engine.local.model.formats import Biases, Format, Int8Rows, Packed, Stored
from midfill.engine.local.model.int8 import is_supported
from midfill.engine.local.model.linear_int8 import Int8
from midfill.types import MidfillError

GROUP = 32  # weights that share a scale: 128 lose more than twice as much (docs/log.md)
CHUNK = 8192  # rows quantised at once: as floats they take memory besides the model
MIN_SCALE = 1e-9  # least scale: rows and groups of zeros have one, too
CPU_MULTIPLE = 16  # torch's int4 kernel takes this many outputs at once
WRONG = {"int8": 0.02, "float8": 0.06, "int4": 0.2}  # relative errors of a product that rounding cannot explain


def check(form: str, device: torch.device) -> None:
    """Check by a small product that ``form`` works on ``device``. Raises MidfillError saying what to do."""
    _load(form, device)
    generator = torch.Generator().manual_seed(1)
    weight, x = torch.randn((64, 128), generator=generator), torch.randn((3, 128), generator=generator)
    expected = functional.linear(x, weight)
    dtype = torch.float32 if device.type == "cpu" else torch.float16
    try:
        linear = Quanto(form, device, dtype).linear(["check"], [Stored(weight)], [None])
        with torch.inference_mode():
            found = linear(x.to(device, dtype)).float().cpu()
    except (RuntimeError, TypeError, NotImplementedError) as error:  # MPS has no float8
        raise _not_here(form, device, str(error).partition("\n")[0][:120]) from error
    if not float((found - expected).norm()) < WRONG[form] * float(expected.norm()):
        raise _not_here(form, device, "a product comes out wrong")


def _not_here(form: str, device: torch.device, reason: str) -> MidfillError:
    other = 'set dtype = "int8" or "auto"' if form != "int8" else 'set dtype = "auto"'
    return MidfillError(f"{form} weights do not work on {device}: {reason}", other)


def _load(form: str, device: torch.device) -> None:
    """Import optimum.quanto, which registers its operations. Raises MidfillError."""
    try:
        import optimum.quanto  # noqa: F401
    except Exception as error:  # besides ImportError, errors of a version for another torch
        missing = isinstance(error, ImportError)
        reason = "is not installed" if missing else f"does not load here ({type(error).__name__})"
        is_int8_on_cpu = form == "int8" and device.type == "cpu"
        raise MidfillError(
            f"{form} weights need optimum-quanto on {device}, which {reason}",
            "pip install 'midfill[quanto]'" + (" or numba" if is_int8_on_cpu else "") + ', or set dtype = "auto"',
        ) from error


class Quanto(Format):
    """``form`` int8, int4 or float8 on ``device``; ``dtype`` is that of activations, norms, keys and values."""

    def __init__(self, form: str, device: torch.device, dtype: torch.dtype) -> None:
        self._form, self.device = form, device
        self._ours = Int8() if device.type == "cpu" and dtype == Int8.dtype and is_supported() else None
        self.dtype = self.kv_dtype = dtype

    def linear(self, paths: Sequence[str], weights: Sequence[Stored], biases: Biases) -> Packed:
        """See Format."""
        in_features = weights[0].values.shape[1]
        form = "int8" if tuple(paths) == (HEAD,) else self._form
        if form == "int4" and in_features % GROUP:
            form = "int8"
        if form == "int8" and self._ours is not None:
            return self._ours.linear(paths, weights, biases)
        on_cpu = self.device.type == "cpu" and sum(len(one.values) for one in weights) % CPU_MULTIPLE == 0
        kind: type[Packed] = CpuInt4Linear if on_cpu else Int4Linear
        if form != "int4":
            kind = EightBitLinear if form == "int8" else Float8Linear
        return kind(paths, weights, biases, self.dtype, self.device)

    def embedding(self, weight: Stored, factor: float, head: Linear | None) -> Embedding:
        """See Format."""
        if self._ours is not None:
            return self._ours.embedding(weight, factor, head)
        if isinstance(head, EightBitLinear):  # one weight for both
            return Int8Rows(head.weight, head.scale[:, 0].float() * factor, self.dtype)
        values, scale = _eight_bits("int8", weight, self.dtype, self.device)
        return Int8Rows(values, scale[:, 0].float() * factor, self.dtype)


class EightBitLinear(Packed):
    """Int8 weights, one scale per row, times unchanged activations."""

    form = "int8"

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        pairs = [_eight_bits(self.form, weight, dtype, device) for weight in weights]
        self.weight = torch.cat([values for values, _ in pairs])
        self.scale = torch.cat([scale for _, scale in pairs])  # (out, 1)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = torch.ops.quanto.qbytes_mm(x.to(self.scale.dtype), self.weight, self.scale)
        return y


class Float8Linear(EightBitLinear):
    """The same in float8."""

    form = "float8"


class Int4Linear(Packed):
    """Four-bit weights in groups, widened at each product."""

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        codes, self.scale, self.shift = _stacked(weights, dtype, device)
        self.weight = codes[:, : GROUP // 2] + codes[:, GROUP // 2 :] * 16  # two per byte; MPS has had no shifts

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        codes = torch.cat((self.weight % 16, self.weight // 16), dim=1)  # (out * in / GROUP, GROUP)
        weight = (codes * self.scale - self.shift).view(sum(self.sizes), self.in_features)
        return functional.linear(x.to(weight.dtype), weight)


class CpuInt4Linear(Packed):
    """The same on a CPU, by torch's kernel, which reads and writes bfloat16."""

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        from optimum import quanto
        from optimum.quanto.tensor.weights.tinygemm import TinyGemmWeightQBitsTensor

        shape = torch.Size((sum(self.sizes), self.in_features))
        codes, scale, shift = _stacked(weights, torch.float32, device)
        packed = TinyGemmWeightQBitsTensor(
            quanto.qint4, 0, GROUP, shape, (self.in_features, 1), codes, (scale.bfloat16(), shift.bfloat16())
        )
        self.weight: torch.Tensor = packed._data._data
        self.scale: torch.Tensor = packed._scale_shift  # (groups of a row, out, 2)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        y = torch._weight_int4pack_mm_for_cpu(x.bfloat16(), self.weight, GROUP, self.scale)
        return y.to(x.dtype)


def _eight_bits(
    form: str, weight: Stored, dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return the weight (out, in) in ``form`` and its scales (out, 1)."""
    if form == "int8" and weight.scale is not None:  # prepared
        return weight.values.to(device), weight.scale.to(device, dtype)[:, None]
    from optimum import quanto

    kind, optimizer = quanto.qtypes["qint8" if form == "int8" else "qfloat8_e4m3fn"], quanto.AbsmaxOptimizer()
    pairs = []
    for piece in _pieces(weight, device):
        scale = optimizer(piece, kind, axis=0).clamp_(min=MIN_SCALE)
        pairs.append((torch.ops.quanto.quantize_symmetric(piece, kind.dtype, 0, scale), scale.to(dtype)))
    return torch.cat([values for values, _ in pairs]), torch.cat([scale for _, scale in pairs])


def _stacked(
    weights: Sequence[Stored], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # fmt: skip
    """Return codes from 0 to 15, (out * in / GROUP, GROUP), and scales and shifts, (out * in / GROUP, 1): a weight is
    its code times the scale, minus the shift."""
    from optimum import quanto

    optimizer, found = quanto.MaxOptimizer(), []
    for weight in weights:
        for piece in _pieces(weight, device):
            scale, shift = optimizer(piece, quanto.qint4, 0, GROUP)
            scale = scale.clamp(min=MIN_SCALE)
            codes = torch.ops.quanto.quantize_affine(piece, 4, 0, GROUP, scale, shift)
            found.append((codes, scale.to(dtype), shift.to(dtype)))
    codes, scales, shifts = (torch.cat(parts) for parts in zip(*found, strict=True))
    return codes, scales, shifts


def _pieces(weight: Stored, device: torch.device) -> list[torch.Tensor]:
    """Return ``weight`` in float32 on ``device``, in pieces of CHUNK rows."""
    return [weight.rows(at, at + CHUNK).floats().to(device).float() for at in range(0, len(weight.values), CHUNK)]
