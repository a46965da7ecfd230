"""A strict reader of GGUF files: metadata and the tensor table, with every length checked before it is used.

The format is described in ggml's docs/gguf.md. The ``gguf`` package reads the same, but spends seconds to wrap each of
300,000 vocabulary strings in arrays; midfill uses it only for the hard part, the dequantisation of blocks.
"""

from __future__ import annotations

import math
import mmap
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

from midfill.types import MidfillError

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_MAX_COUNT = 10_000_000


class GgufError(MidfillError):
    """The file is not a sound GGUF file."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(f"{file.name} is not a sound GGUF file: {reason}", "fetch the file again")


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """The place of a tensor in the file. ``shape`` is in torch's order, slowest dimension first."""

    name: str
    shape: tuple[int, ...]
    kind: gguf.GGMLQuantizationType
    start: int
    n_bytes: int


class GgufFile:
    """An open GGUF file. Raises GgufError for any inconsistency."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stream, self._reading = file.open("rb", buffering=0), threading.Lock()
        size = file.stat().st_size
        if size < 32:
            raise GgufError(file, "it is too short")
        self._data = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)  # for the header only
        self._size = size
        self._at = 0
        try:
            self.metadata, self.tensors = self._read()
        except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise GgufError(file, f"damaged header ({type(error).__name__})") from error

    @property
    def architecture(self) -> str:
        """The value of ``general.architecture``."""
        return str(self.metadata.get("general.architecture", ""))

    def values(self, tensor: GgufTensor, rows: range | None = None) -> npt.NDArray[np.float32]:
        """Return the tensor's numbers as float32, in its shape; only ``rows`` of a matrix if given."""
        shape, start, n_bytes = tensor.shape, tensor.start, tensor.n_bytes
        if rows is not None:
            row_bytes = n_bytes // shape[0]
            shape, start, n_bytes = (len(rows), *shape[1:]), start + rows.start * row_bytes, len(rows) * row_bytes
        raw = np.empty(n_bytes, np.uint8)  # read, not mapped: used pages of a map stay in memory
        with self._reading:
            self._stream.seek(start)
            at = 0
            while at < n_bytes and (n := self._stream.readinto(raw.data[at:])):
                at += n
        if at < n_bytes:
            raise GgufError(self.file, f"tensor {tensor.name[:80]} ends outside the file (truncated?)")
        if tensor.kind == gguf.GGMLQuantizationType.F32:
            return raw.view(np.float32).reshape(shape)
        try:
            blocks = raw.reshape(math.prod(shape[:-1]), -1)
            return np.asarray(gguf.dequantize(blocks, tensor.kind), dtype=np.float32).reshape(shape)
        except NotImplementedError:
            raise MidfillError(
                f"{self.file.name} is quantised as {tensor.kind.name}, which cannot be read", "use another quantisation"
            ) from None

    def _read(self) -> tuple[dict[str, Any], tuple[GgufTensor, ...]]:
        magic, version, n_tensors, n_values = self._unpack("<4sIQQ")
        if magic != b"GGUF" or version not in (2, 3):
            raise GgufError(self.file, "it has no GGUF 2 or 3 header")
        if n_tensors > _MAX_COUNT or n_values > _MAX_COUNT:
            raise GgufError(self.file, "absurd counts")
        metadata: dict[str, Any] = {}
        for _ in range(n_values):
            key = self._string()
            metadata[key] = self._value(self._unpack("<I")[0])
        table = [self._entry() for _ in range(n_tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
            raise GgufError(self.file, "absurd alignment")
        base = -(-self._at // alignment) * alignment
        return metadata, tuple(self._tensors(table, base))

    def _tensors(self, table: list[tuple[str, tuple[int, ...], int, int]], base: int) -> Iterator[GgufTensor]:
        for name, shape, kind_id, offset in table:
            kind = gguf.GGMLQuantizationType(kind_id)
            block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
            count = math.prod(shape)
            if shape[-1] % block or base + offset + count // block * block_bytes > self._size:
                raise GgufError(self.file, f"tensor {name[:80]} ends outside the file (truncated?)")
            yield GgufTensor(name, shape, kind, base + offset, count // block * block_bytes)

    def _entry(self) -> tuple[str, tuple[int, ...], int, int]:
        name = self._string()
        (n_dims,) = self._unpack("<I")
        if not 1 <= n_dims <= 8:
            raise GgufError(self.file, f"tensor {name[:80]} has {n_dims} dimensions")
        dims = self._unpack(f"<{n_dims}Q")
        if not 0 < math.prod(dims) <= 1 << 40:
            raise GgufError(self.file, f"tensor {name[:80]} is empty or absurdly large")
        kind, offset = self._unpack("<IQ")
        return name, tuple(reversed(dims)), kind, offset

    def _unpack(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return values

    def _string(self) -> str:
        (length,) = self._unpack("<Q")
        if length > self._size - self._at:
            raise GgufError(self.file, "a string ends outside the file")
        text = self._data[self._at : self._at + length].decode("utf-8")
        self._at += length
        return text

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._unpack(_SCALARS[kind])[0]
        if kind == _STRING:
            return self._string()
        if kind != _ARRAY:
            raise GgufError(self.file, f"unknown value type {kind}")
        element, count = self._unpack("<IQ")
        if count > _MAX_COUNT:
            raise GgufError(self.file, "absurd array length")
        if element == _STRING:
            return [self._string() for _ in range(count)]
        if element not in _SCALARS:
            raise GgufError(self.file, f"unknown array type {element}")
        return list(self._unpack(f"<{count}{_SCALARS[element][1]}"))
