"""Checkpoints with linear layers of a few bits: GPTQ (Frantar et al. 2022, arXiv:2210.17323) and AWQ (Lin et al. 2023,
arXiv:2306.00978), read as the floats that they represent.

A layer is ``qweight`` (codes), ``qzeros`` and ``scales`` (of each group of inputs and each output) and, in GPTQ,
``g_idx`` (the group of each input: act-order puts any inputs into one group). A weight is (code - zero) times scale.
Codes are packed into int32, the first in the lowest bits: GPTQ's along the inputs, its zeros and all of AWQ's along the
outputs, AWQ's in an order of its own.

GPTQ has two conventions. Files of version 1, which say "gptq" or nothing, hold zeros minus one, subtracted from whole
packed numbers; "gptq_v2" holds them unchanged.

transformers reads such a checkpoint by optimum.gptq, which needs gptqmodel: no wheel, its own version of torch, kernels
that a C++ compiler builds at the first use. The weights read here are packed like any other model's (model/formats.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local.store.checkpoint import Checkpoint
from midfill.engine.local.store.safetensors_reader import Progress
from midfill.types import MidfillError

PARTS = ("qweight", "qzeros", "scales", "g_idx")
WORD = 32  # bits of a packed number
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # the place in a packed number of each output's code
OUTPUTS = 1024  # outputs unpacked at once
REMEDY = "choose the same model in floats, as GGUF or as GPTQ in 2, 4 or 8 bits"


@dataclass(frozen=True, slots=True)
class Packing:
    """How the numbers are packed. ``bits``: of a code; ``less_one``: whether zeros are stored minus one."""

    method: str
    bits: int
    group_size: int  # -1: a row is one group
    less_one: bool = False


def packing_of(config: Mapping[str, Any]) -> Packing | None:
    """Return the packing of quantised weights in ``config`` (of config.json), None: they are floats.

    Raises MidfillError if this module cannot read their kind.
    """
    said = config.get("quantization_config")
    if not said:
        return None
    method = str(said.get("quant_method", "")) if isinstance(said, dict) else ""
    if method not in ("gptq", "awq"):
        raise MidfillError(f"the model's weights are quantised by {method or 'something unknown'}", REMEDY)
    layout = str(said.get("checkpoint_format") or said.get("format") or said.get("version") or method).lower()
    bits = said.get("bits", said.get("w_bit", 4))
    known = {"gptq": ("gptq", "gptq_v2"), "awq": ("awq", "gemm")}[method]
    if layout not in known or bits not in ((2, 4, 8) if method == "gptq" else (4,)):
        raise MidfillError(f"the model's weights are {method} in {bits} bits, laid out as {layout}", REMEDY)
    group_size = said.get("group_size", said.get("q_group_size", 128))
    if type(group_size) is not int or group_size == 0:
        raise MidfillError("the model's quantization_config says no group_size", REMEDY)
    return Packing(method, bits, group_size, less_one=layout == "gptq")


class PackedCheckpoint(Checkpoint):
    """As Checkpoint, with ``weight`` in float32 in place of each packed layer's parts."""

    def __init__(self, folder: Path, files: list[Path], packing: Packing) -> None:
        super().__init__(folder, files)
        self._packing = packing
        stored = self.shapes
        paths = {name.rpartition(".")[0] for name in stored if name.endswith(".qweight")}
        self._parts = {path: {part for part in PARTS if f"{path}.{part}" in stored} for path in paths}
        # Some writers add a bias of zeros to layers that have none.
        self.spare = frozenset(name for path in paths if (name := f"{path}.bias") in stored)
        hidden = {f"{path}.{part}" for path, parts in self._parts.items() for part in parts}
        self.shapes = {name: shape for name, shape in stored.items() if name not in hidden}
        self.shapes |= {f"{path}.weight": self._shape(stored[f"{path}.qweight"]) for path in paths}

    def _shape(self, packed: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape, (out, in), of the weight whose ``qweight`` has the shape ``packed``."""
        if len(packed) != 2:
            return packed
        n = WORD // self._packing.bits
        return (packed[1], packed[0] * n) if self._packing.method == "gptq" else (packed[1] * n, packed[0])

    def tensors(self, progress: Progress) -> Iterator[tuple[str, torch.Tensor]]:
        """See Checkpoint. A layer comes as soon as the last of its parts was read. Raises ValueError
        if they do not fit each other."""
        waiting: dict[str, dict[str, torch.Tensor]] = {}
        for name, tensor in super().tensors(progress):
            path, _, part = name.rpartition(".")
            if part not in self._parts.get(path, ()):
                yield name, tensor
                continue
            found = waiting.setdefault(path, {})
            found[part] = tensor.clone()  # a view would keep a whole piece of the file in memory
            if len(found) == len(self._parts[path]):
                del tensor
                yield f"{path}.weight", unpack(waiting.pop(path), self._packing)


def unpack(parts: Mapping[str, torch.Tensor], packing: Packing) -> torch.Tensor:
    """Return the weight of a layer, (out, in) in float32. Raises ValueError, KeyError."""
    packed, zeros, scales = parts["qweight"], parts["qzeros"], parts["scales"].float()
    if packed.dtype != torch.int32 or zeros.dtype != torch.int32:
        raise ValueError("codes are not packed into int32")
    if packing.less_one:
        zeros = zeros + _ones(packing.bits)  # wraps around, as the subtraction did
    zeros = _codes(zeros, packing.bits, 1)  # (groups, out)
    if packing.method == "awq":
        codes, zeros = _codes(packed, packing.bits, 1), _in_order(zeros)
        codes = _in_order(codes)
    else:
        codes = _codes(packed, packing.bits, 0)  # (in, out)
    n_in, n_out = codes.shape
    group_of = _groups(parts.get("g_idx"), n_in, packing.group_size)
    if zeros.shape != scales.shape or scales.shape[1] != n_out or not int(group_of.min()) >= 0:
        raise ValueError("the parts of a packed layer do not fit each other")
    if int(group_of.max()) >= len(scales):
        raise ValueError("an input is in a group that has no scale")
    weight = torch.empty((n_out, n_in))
    for at in range(0, n_out, OUTPUTS):
        some = slice(at, at + OUTPUTS)
        levels = codes[:, some].float() - zeros[:, some].float()[group_of]
        weight[some] = (levels * scales[:, some][group_of]).t()
    return weight


def _ones(bits: int) -> int:
    """Return one in each place of a packed number, as a signed int32."""
    return sum(1 << at for at in range(0, WORD, bits))


def _codes(packed: torch.Tensor, bits: int, dim: int) -> torch.Tensor:
    """Return the numbers in ``packed``, (rows, columns), unpacked along ``dim``, in uint8."""
    places = [(packed >> at & (1 << bits) - 1).to(torch.uint8) for at in range(0, WORD, bits)]
    return torch.stack(places, dim + 1).flatten(dim, dim + 1)


def _in_order(codes: torch.Tensor) -> torch.Tensor:
    """Return AWQ's codes, each at its output."""
    return codes.view(len(codes), -1, len(AWQ_ORDER))[:, :, list(AWQ_ORDER)].flatten(1)


def _groups(stored: torch.Tensor | None, n_in: int, group_size: int) -> torch.Tensor:
    """Return the group of each input."""
    if stored is not None and stored.shape != (n_in,):
        raise ValueError("g_idx has another number of inputs")
    size = group_size if group_size > 0 else n_in
    return torch.arange(n_in) // size if stored is None else stored.long()
