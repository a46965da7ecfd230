"""A safetensors file written tensor by tensor, so that a model is converted without being in memory as a whole.

The header comes first in such a file and gives each tensor's place, so all shapes are known before the first number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch

_NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int8: "I8"}

Layout = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]  # of each tensor by name


class SafetensorsWriter:
    """An open file; each tensor is written in one piece or in several, starting with its first row. Raises OSError."""

    def __init__(self, file: Path, layout: Layout) -> None:
        """``layout``: float32, bfloat16 or int8. The widest come first, so that every number is aligned."""
        order = sorted(layout, key=lambda name: (-layout[name][0].itemsize, name))
        self._at: dict[str, int] = {}  # where the next piece of each goes
        self._ends: dict[str, int] = {}
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in order:
            dtype, shape = layout[name]
            start, end = end, end + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            header[name] = {"dtype": _NAMES[dtype], "shape": list(shape), "data_offsets": [start, end]}
            self._at[name], self._ends[name] = start, end
        text = json.dumps(header, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)
        self._layout, self._base = layout, 8 + len(text)
        self._stream = file.open("wb", buffering=0)
        self._write(0, memoryview(len(text).to_bytes(8, "little") + text))

    def __enter__(self) -> SafetensorsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()

    def add(self, name: str, values: torch.Tensor) -> None:
        """Write the next rows of ``name``. Raises ValueError if their kind is wrong, or there are too many."""
        if values.dtype != self._layout[name][0] or self._at[name] + values.nbytes > self._ends[name]:
            raise ValueError(f"{name} has another size or kind")
        self._write(self._base + self._at[name], bytes_of(values))
        self._at[name] += values.nbytes

    @property
    def missing(self) -> list[str]:
        """The tensors that are missing or incomplete."""
        return sorted(name for name, at in self._at.items() if at < self._ends[name])

    def _write(self, at: int, view: memoryview) -> None:
        self._stream.seek(at)
        while len(view):
            view = view[self._stream.write(view) :]


def bytes_of(values: torch.Tensor) -> memoryview:
    """Return the numbers as they lie in memory."""
    return values.contiguous().view(-1).view(torch.uint8).numpy().data
