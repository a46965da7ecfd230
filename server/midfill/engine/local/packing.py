"""A prepared model's weights packed for the CPU's products while the rest of the engine is still being imported.

Packing needs torch and the file, and takes as long as the import of transformers, which needs neither.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from midfill.engine.local import int8
from midfill.engine.local.weights import read_safetensors
from midfill.types import MidfillError


@dataclass(slots=True)
class Packed:
    """A model's weights: products, the tensors that are in none, and the number of all."""

    products: int8.Products
    rest: dict[str, torch.Tensor]
    n_weights: int


@dataclass(slots=True)
class _Packing:
    file: Path
    sha256: str | None
    bits: int
    thread: threading.Thread | None = None
    listeners: list[Callable[[int], None]] = field(default_factory=list)
    packed: Packed | None = None
    error: Exception | None = None

    def run(self) -> None:
        """For a thread of its own."""
        try:
            with torch.inference_mode():
                self.packed = _pack(self.file, self.sha256, self.bits, self._on_bytes)
        except (MidfillError, ValueError, RuntimeError) as error:
            self.error = error

    def _on_bytes(self, n: int) -> None:
        for listener in self.listeners:
            listener(n)


_ahead: list[_Packing] = []


def ahead(file: Path, sha256: str | None, bits: int) -> None:
    """Begin to read and pack ``file``, for the ``packed`` that comes. Whatever is wrong with it is told then."""
    if not int8.is_supported():
        return
    packing = _Packing(file, sha256, bits)
    packing.thread = threading.Thread(target=packing.run, name="midfill-packing", daemon=True)
    _ahead.append(packing)
    packing.thread.start()


def packed(file: Path, sha256: str | None, bits: int, on_bytes: Callable[[int], None]) -> Packed:
    """``file``, read, checked and packed. Raises MidfillError, and ValueError where it does not fit together."""
    waiting = [packing for packing in _ahead if (packing.file, packing.sha256, packing.bits) == (file, sha256, bits)]
    _ahead.clear()  # what else was begun is not wanted any more
    if not waiting:
        return _pack(file, sha256, bits, on_bytes)
    packing = waiting[0]
    assert packing.thread is not None
    packing.listeners.append(on_bytes)
    packing.thread.join()
    if packing.error is not None:
        raise packing.error
    assert packing.packed is not None
    return packing.packed


def pack(state: dict[str, torch.Tensor], bits: int) -> Packed:
    """``state`` (of int8.quantise_state), packed. Raises ValueError."""
    n_weights = sum(tensor.numel() for name, tensor in state.items() if not name.endswith(int8.SCALE_SUFFIX))
    return Packed(int8.pack(state, bits=bits), state, n_weights)


def _pack(file: Path, sha256: str | None, bits: int, on_bytes: Callable[[int], None]) -> Packed:
    return pack(read_safetensors(file, sha256=sha256, on_bytes=on_bytes), bits)
