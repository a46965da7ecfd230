"""The headers and tensors of safetensors files, checked; and the small files beside them."""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local.store.manifest import read_manifest
from midfill.types import MidfillError

Progress = Callable[[str, float], None]

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
MAX_HEADER = 100_000_000


def check_small_files(folder: Path) -> None:
    """Check that the files beside the weights of a prepared ``folder`` are those that were recorded.

    Raises MidfillError naming the first that is not: a tokenizer or configuration of another model loads without an
    error and gives nonsense answers. Weights are compared while they are read.
    """
    recorded = (read_manifest(folder) or {}).get("files", {})
    for name in sorted(name for name in recorded if not name.endswith(".safetensors")):
        if (problem := compare(folder, name, recorded[name])) is not None:
            raise MidfillError(problem, "run: midfill model prepare --force")


def compare(folder: Path, name: str, recorded: dict[str, Any]) -> str | None:
    """Return what is wrong with the file ``name`` of ``folder``, None: nothing."""
    file = folder / name
    try:
        if file.stat().st_size != recorded.get("size"):
            return f"{file} is truncated or another file: its size is not the recorded one"
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    except OSError as error:
        return f"cannot read {file}: {error.strerror}"
    if digest.hexdigest() != recorded.get("sha256"):
        return f"{file} is damaged: its sha256 is not the recorded one"
    return None


def tensor_in(data: bytearray | memoryview, entry: dict[str, Any], base: int) -> torch.Tensor:
    """Return the tensor of a header's ``entry``, whose offsets count from ``base`` of
    ``data``; it shares that memory."""
    dtype, shape, (start, end) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
    if end == start:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(data, dtype=torch.uint8, count=end - start, offset=base + start)
    aligned = (base + start) % dtype.itemsize == 0
    return (flat if aligned else flat.clone()).view(dtype).view(shape)


def read_header(
    data: bytes | bytearray, file: Path, size: int | None = None
) -> tuple[dict[str, dict[str, Any]], int]:  # fmt: skip
    """Return the checked header of a safetensors file, and the offset at which its data begins. Raises MidfillError.

    ``size``: of the whole file, if ``data`` is only its beginning.
    """
    size = len(data) if size is None else size

    def bad(reason: str) -> MidfillError:
        return MidfillError(f"{file} is not a valid safetensors file: {reason}", "fetch or prepare it again")

    if len(data) < 8:
        raise bad("it is truncated")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(MAX_HEADER, size - 8, len(data) - 8):
        raise bad("its header is longer than the file")
    try:
        header = json.loads(bytes(data[8 : 8 + length]))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            start, end = entry["data_offsets"]
            dtype, shape = _DTYPES[entry["dtype"]], entry["shape"]
            sound = all(type(n) is int and n >= 0 for n in (start, end, *shape)) and start <= end
            sound = sound and max(shape, default=0) < 1 << 48
            if not sound or end - start != math.prod(shape) * dtype.itemsize:
                raise bad(f"tensor {name[:80]} has a wrong size")
            if 8 + length + end > size:
                raise bad(f"tensor {name[:80]} ends outside the file (truncated?)")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise bad(f"damaged header ({type(error).__name__})") from error
    return header, 8 + length
