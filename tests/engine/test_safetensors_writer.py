"""safetensors files written in pieces: the safetensors library reads them, tensors are aligned, and a file never has
more or less than its header announces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from midfill.engine.local.store.safetensors_reader import read_header
from midfill.engine.local.store.safetensors_writer import Layout, SafetensorsWriter

LAYOUT: Layout = {
    "b": (torch.int8, (3, 5)), "a": (torch.float32, (7,)), "d": (torch.bfloat16, (2, 3)), "c": (torch.int8, (1,)),
    "e": (torch.float32, ()),
}  # fmt: skip


def made(name: str) -> torch.Tensor:
    dtype, shape = LAYOUT[name]
    return (torch.randn(shape) * 50).to(dtype)


def test_as_the_library_reads_it(tmp_path: Path) -> None:
    tensors = {name: made(name) for name in LAYOUT}
    with SafetensorsWriter(tmp_path / "x", LAYOUT) as writer:
        assert writer.missing == sorted(LAYOUT)
        for name in ("b", "a", "d"):  # a row at a time, by turns
            for row in tensors[name]:
                writer.add(name, row[None])
        assert writer.missing == ["c", "e"]
        writer.add("c", tensors["c"])
        writer.add("e", tensors["e"])
        assert writer.missing == []
    found = load_file(tmp_path / "x")
    assert found.keys() == tensors.keys()
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype == tensor.dtype for name, tensor in tensors.items()
    )
    header, base = read_header((tmp_path / "x").read_bytes(), tmp_path / "x")
    for name, entry in header.items():
        assert (base + entry["data_offsets"][0]) % LAYOUT[name][0].itemsize == 0


def test_what_was_not_announced_is_refused(tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "x", LAYOUT) as writer:
        with pytest.raises(ValueError, match="b has another size or kind"):
            writer.add("b", torch.zeros((3, 5)))
        writer.add("b", torch.zeros((2, 5), dtype=torch.int8))
        with pytest.raises(ValueError, match="b has another size or kind"):
            writer.add("b", torch.zeros((2, 5), dtype=torch.int8))
        with pytest.raises(KeyError):
            writer.add("x", torch.zeros(1))
