"""A model's safetensors files read tensor by tensor, verified.

A tensor that was read stays in memory only while something refers to it, so a model is never there twice: each tensor
is packed and placed on its device before the next ones are read.

Memory is private rather than a map of the file: a file that is truncated or changed under a running engine must not be
able to kill it (SIGBUS) or change its answers. The hash is computed on the bytes that are used, while they are read.
"""

from __future__ import annotations

import hashlib
import struct
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch

from midfill.engine.local.store.manifest import read_manifest
from midfill.engine.local.store.safetensors_reader import MAX_HEADER, Progress, read_header, tensor_in
from midfill.types import MidfillError

K = TypeVar("K")
# Bytes read and hashed at once. Reading into memory that was never used takes three times as long as into used memory
# (docs/log.md).
CHUNK = 8 << 20


class Checkpoint:
    """The files of one model. Raises MidfillError if one is missing or its header is unsound.

    ``shapes``: of every tensor by its name; ``spare``: names of tensors that are ignored if they are zeros.
    """

    spare: frozenset[str] = frozenset()

    def __init__(self, folder: Path, files: list[Path]) -> None:
        if not files:
            pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
            reason = "only pickled weights, which midfill never loads" if pickled else "no *.safetensors"
            raise MidfillError(f"{folder} has {reason}", "convert them to safetensors with transformers")
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise MidfillError(f"{folder} lacks {missing[0]}", "fetch or prepare the model again")
        self.folder = folder
        self._sizes = {file: file.stat().st_size for file in files}
        self._heads = {file: _read_head(file) for file in files}
        self._digests = {file: _recorded_digest(file) for file in files}
        self.shapes = {
            name: tuple(entry["shape"])
            for file, head in self._heads.items()
            for name, entry in read_header(head, file, self._sizes[file])[0].items()
        }

    def tensors(self, progress: Progress) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield every tensor with its name, in the order of the files, in the CPU's memory.

        Raises MidfillError at the end of a file whose sha256 is not the recorded one: the caller
        must then discard its tensors.
        """
        total, done = max(1, sum(self._sizes.values())), 0
        for file in self._sizes:
            for name, tensor, n_bytes in self._tensors(file):
                done += n_bytes
                if n_bytes:
                    progress("loading", done / total)
                yield name, tensor

    def groups(self, group_of: Mapping[str, K], progress: Progress) -> Iterator[tuple[K, dict[str, torch.Tensor]]]:
        """Yield tensors that are needed together, by name, as soon as the last of them was read.

        ``group_of``: the group of each name. Raises ValueError for a name without a group.
        """
        awaited = Counter(group_of[name] for name in self.shapes if name in group_of)
        waiting: dict[K, dict[str, torch.Tensor]] = {}
        for name, tensor in self.tensors(progress):
            if name not in group_of:
                raise ValueError(f"unexpected tensor {name}")
            group = group_of[name]
            found = waiting.setdefault(group, {})
            found[name] = tensor if tensor.dim() > 1 else tensor.clone()  # a view would keep a whole piece
            if len(found) == awaited[group]:
                del found, tensor
                yield group, waiting.pop(group)

    def _tensors(self, file: Path) -> Iterator[tuple[str, torch.Tensor, int]]:
        """Yield name, tensor and the number of bytes read for it (one piece of the file holds many tensors)."""
        head = self._heads[file]
        header, _ = read_header(head, file, self._sizes[file])
        entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
        digest = hashlib.sha256(head) if self._digests[file] else None
        try:
            with file.open("rb", buffering=0) as stream:
                if bytes(_read(stream, memoryview(bytearray(len(head))), file)) != head:
                    raise _unsound(file, "it changed while it was read")
                at, buffers = 0, _Buffers()  # ``at``: in the data
                for piece in _pieces(entries, file):
                    end = max(entry["data_offsets"][1] for _, entry in piece)
                    data = _read(stream, buffers.take(end - at), file)
                    if digest is not None:
                        digest.update(data)
                    n_bytes = end - at
                    for name, entry in piece:
                        yield name, tensor_in(data, entry, -at), n_bytes
                        n_bytes = 0
                    at = end
                while rest := stream.read(CHUNK):
                    if digest is not None:
                        digest.update(rest)
        except OSError as error:
            raise MidfillError(f"cannot read {file}: {error.strerror}", "prepare the model again") from error
        if digest is not None and digest.hexdigest() != self._digests[file]:
            raise MidfillError(
                f"{file} is damaged: its sha256 is not the recorded one", "run: midfill model prepare --force"
            )


class Zeros(Checkpoint):
    """A checkpoint of zeros in these shapes, without files."""

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self.shapes = shapes

    def tensors(self, progress: Progress) -> Iterator[tuple[str, torch.Tensor]]:
        """See Checkpoint."""
        return ((name, torch.zeros(shape)) for name, shape in self.shapes.items())


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of one ``file``. Raises MidfillError, naming it, if it is missing, unsound or damaged."""
    return dict(Checkpoint(file.parent, [file]).tensors(lambda stage, fraction: None))


def _recorded_digest(file: Path) -> str | None:
    """Return the sha256 of ``file`` in the manifest beside it, or None."""
    entry: dict[str, Any] = (read_manifest(file.parent) or {}).get("files", {}).get(file.name, {})
    return entry.get("sha256")


def _read_head(file: Path) -> bytearray:
    """Return the header with its length in front."""
    try:
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            return bytearray(start + stream.read(min(length, MAX_HEADER)))
    except OSError as error:
        raise MidfillError(f"cannot read {file}: {error.strerror}", "prepare the model again") from error


class _Buffers:
    """Memory for the pieces of a file. That of a small piece is used again once no tensor refers to it any more."""

    def __init__(self) -> None:
        self._kept: list[tuple[Any, weakref.ref[memoryview]]] = []  # array, and what was handed out of it

    def take(self, n: int) -> memoryview:
        """Return ``n`` bytes."""
        if n > CHUNK:
            return np.empty(n, np.uint8).data  # a bytearray would be written twice
        free = next((i for i, (_, used) in enumerate(self._kept) if used() is None), None)
        array = np.empty(CHUNK, np.uint8) if free is None else self._kept.pop(free)[0]
        data: memoryview = array.data[:n]  # torch.frombuffer refers to this very object
        self._kept.append((array, weakref.ref(data)))
        return data


def _read(stream: BinaryIO, data: memoryview, file: Path) -> memoryview:
    """Fill ``data`` with the next bytes and return it."""
    at, n = 0, len(data)
    while at < n and (got := stream.readinto(data[at : at + CHUNK])):  # type: ignore[attr-defined]
        at += got
    if at < n:
        raise _unsound(file, "it is truncated")
    return data


def _pieces(entries: list[tuple[str, Any]], file: Path) -> Iterator[list[tuple[str, Any]]]:
    """Yield ``entries`` (by place) in runs of at most CHUNK bytes: long reads, and memory is free again after each."""
    piece: list[tuple[str, Any]] = []
    start = end = 0
    for name, entry in entries:
        first, last = entry["data_offsets"]
        if first < end:
            raise _unsound(file, f"tensor {name[:80]} lies over another one")
        if piece and last - start > CHUNK:
            yield piece
            piece, start = [], end
        piece.append((name, entry))
        end = last
    if piece:
        yield piece


def _unsound(file: Path, reason: str) -> MidfillError:
    return MidfillError(f"{file} is not a valid safetensors file: {reason}", "fetch or prepare it again")
