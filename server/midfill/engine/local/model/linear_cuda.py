"""Int8 and four-bit weights on a CUDA device, for models that do not fit it otherwise.

int8: one scale per weight row, one per activation row, as on a CPU (linear_int8.py), and the same prepared file. The
product is the tensor cores' own int8 one, which reads each weight once, as int8. Libraries that keep int8 weights
beside bfloat16 activations (optimum-quanto, torchao) widen every weight again at each step unless a compiler fuses that
away: they save memory and cost time.

int4: NF4 in blocks of 64 (QLoRA, Dettmers et al. 2023, arXiv:2305.14314) by the kernels of bitsandbytes. Embedding and
head, on which every choice depends, keep eight bits, and so do layers whose rows are not whole blocks.

Weights come to the device tensor by tensor and are quantised there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from midfill.engine.local.model.decoder import HEAD, Embedding, Linear
from midfill.engine.local.model.formats import Biases, Format, Int8Rows, Packed, Stored
from midfill.engine.local.model.int8 import quantise
from midfill.engine.local.model.int8_kernels import LEVELS
from midfill.types import MidfillError

# cuBLAS multiplies int8 matrices of more than 16 rows, and of sizes that are multiples of eight.
MIN_ROWS, MULTIPLE = 32, 8
NF4_BLOCK = 64
# Rows quantised at once: as float32 they take some memory besides the model.
CHUNK = 8192


def check(form: str, device: torch.device) -> None:
    """Check that ``form`` works on ``device``. Raises MidfillError saying what to install or to choose."""
    if form == "float8":
        raise MidfillError("float8 weights are not for CUDA devices", 'set dtype = "int8", which is faster there')
    if form == "int8" and torch.cuda.get_device_capability(device) < (7, 5):
        raise MidfillError("this GPU has no int8 tensor cores", 'set dtype = "float16" or "int4"')
    if form == "int4":
        _bitsandbytes()


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes
    except Exception as error:  # besides ImportError, errors from loading its CUDA libraries
        reason = (
            "is not installed" if isinstance(error, ImportError) else f"does not load here ({type(error).__name__})"
        )
        raise MidfillError(
            f"four-bit weights on a GPU need bitsandbytes, which {reason}",
            'pip install "bitsandbytes>=0.50", or set dtype = "int8"',
        ) from error
    return bitsandbytes


class CudaQuantised(Format):
    """``form`` int8 or int4 on ``device``; ``dtype`` is that of activations, norms, keys and values."""

    def __init__(self, form: str, device: torch.device, dtype: torch.dtype) -> None:
        self._form, self.device = form, device
        self.dtype = self.kv_dtype = dtype

    def linear(self, paths: Sequence[str], weights: Sequence[Stored], biases: Biases) -> Packed:
        """See Format."""
        in_features = weights[0].values.shape[1]
        if self._form == "int4" and tuple(paths) != (HEAD,) and in_features % NF4_BLOCK == 0:
            return Nf4Linear(paths, weights, biases, self.dtype, self.device)
        return CudaInt8Linear(paths, weights, biases, self.dtype, self.device)

    def embedding(self, weight: Stored, factor: float, head: Linear | None) -> Embedding:
        """See Format."""
        if isinstance(head, CudaInt8Linear):  # one weight for both
            return Int8Rows(head.weight[: sum(head.sizes)], head.scale[0] * LEVELS * factor, self.dtype)
        values, scale = _int8(weight, self.device)
        return Int8Rows(values, scale * factor, self.dtype)


class CudaInt8Linear(Packed):
    """Eight-bit weights, one scale per row, times eight-bit activations, one scale per token."""

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        if self.in_features % MULTIPLE:
            raise ValueError(f"int8 rows of {self.in_features} weights are no multiple of {MULTIPLE}")
        n = sum(self.sizes)
        self.weight = torch.zeros((n + -n % MULTIPLE, self.in_features), dtype=torch.int8, device=device)
        self.scale = torch.empty((1, n), device=device)  # value of one level of a product, (1, out)
        at = 0
        for weight in weights:
            values, scale = _int8(weight, device)
            self.weight[at : at + len(values)] = values
            self.scale[0, at : at + len(values)] = scale / LEVELS
            at += len(values)

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        largest = torch.linalg.vector_norm(x, torch.inf, dim=1, keepdim=True, dtype=torch.float32).clamp_(min=1e-12)
        levels = (x * (LEVELS / largest)).round_().to(torch.int8)
        n = len(x)
        if n < MIN_ROWS:
            levels = nn.functional.pad(levels, (0, 0, 0, MIN_ROWS - n))
        sums = torch._int_mm(levels, self.weight.t())[:n, : self.scale.shape[1]]
        return (sums * (largest * self.scale)).to(x.dtype)  # type: ignore[no-any-return]


class Nf4Linear(Packed):
    """Four-bit weights times unchanged activations."""

    def _pack(self, weights: Sequence[Stored], dtype: torch.dtype, device: torch.device) -> None:
        library = _bitsandbytes()
        self._matmul, n = library.matmul_4bit, sum(self.sizes) * self.in_features
        self.weight = torch.empty((n // 2, 1), dtype=torch.uint8, device=device)  # two weights per byte
        self.scale = torch.empty(n // NF4_BLOCK, device=device)  # one for each block
        at = 0
        for weight in weights:  # blocks do not cross rows, so that neighbouring layers are one
            packed, absmax = nf4(weight.floats().to(device, dtype))
            self.weight[at // 2 : at // 2 + len(packed), 0] = packed
            self.scale[at // NF4_BLOCK : at // NF4_BLOCK + len(absmax)] = absmax
            at += 2 * len(packed)
        self._state = library.functional.QuantState(
            absmax=self.scale, shape=torch.Size((sum(self.sizes), self.in_features)), blocksize=NF4_BLOCK,
            quant_type="nf4", code=library.functional.get_4bit_type("nf4", device=device), dtype=dtype,
        )  # fmt: skip
        self._dtype = dtype

    def _multiply(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self._matmul(x.to(self._dtype), self.weight.t(), quant_state=self._state)
        return y


def _int8(weight: Stored, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    if weight.scale is not None:
        return weight.values.to(device), weight.scale.to(device)
    pieces = [quantise(piece.to(device)) for piece in torch.split(weight.values, CHUNK)]
    return torch.cat([values for values, _ in pieces]), torch.cat([scale for _, scale in pieces])


def nf4(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, columns) -> two weights per byte (rows * columns / 2,), one scale per block (rows * columns / 64,)."""
    packed, state = _bitsandbytes().functional.quantize_4bit(
        weight.contiguous(), blocksize=NF4_BLOCK, quant_type="nf4", compress_statistics=False
    )
    return packed.flatten(), state.absmax
