"""Triton's kernels compared with torch's operations. test_triton_kernels.py runs this in a process of its own, with
Triton's interpreter; tests/gpu runs it on a GPU."""

from __future__ import annotations

import importlib
import math
from typing import Any

import pytest
import torch
from torch.nn import functional

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# The interpreter computes with numpy, which has no bfloat16: there it truncates instead of rounding, and multiplies
# bits.
DTYPES = [torch.float32, torch.bfloat16 if DEVICE == "cuda" else torch.float16]


@pytest.fixture(scope="module")
def kernels() -> Any:
    """The module."""
    return importlib.import_module("midfill.engine.local.forward.triton_kernels")


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))).to(DEVICE, dtype)


def close(found: torch.Tensor, wanted: torch.Tensor, dtype: torch.dtype) -> None:
    """Check for equality to the last bit or two of ``dtype``."""
    tolerance = 1e-5 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(found.float(), wanted.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "features"), [(1, 64), (3, 96)])
def test_residual_and_norm(kernels: Any, dtype: torch.dtype, n: int, features: int) -> None:
    x, delta, weight = random(n, features, dtype=dtype), random(n, features, dtype=dtype) * 2, random(features)
    total = x + delta
    for added in (None, delta):
        stream = x.clone()
        found = kernels.add_norm(stream, added, weight, 1e-6)
        wanted = x if added is None else total
        assert torch.equal(stream, wanted)
        close(found, functional.rms_norm(wanted.float(), (features,), weight, 1e-6), dtype)
        assert found.dtype == dtype


@pytest.mark.parametrize("kind", ["SILU", "GELU_TANH", "GELU"])
@pytest.mark.parametrize("inner", [96, 1500])
def test_activations(kernels: Any, kind: str, inner: int) -> None:
    activation: Any = {
        "SILU": functional.silu, "GELU": functional.gelu,
        "GELU_TANH": lambda x: functional.gelu(x, approximate="tanh"),
    }[kind]  # fmt: skip
    gate_up = random(3, 2 * inner) * 3
    found = kernels.gate(gate_up, getattr(kernels, kind))
    close(found, activation(gate_up[:, :inner]) * gate_up[:, inner:], torch.float32)


@pytest.mark.parametrize("with_norms", [False, True])
@pytest.mark.parametrize(("n_heads", "n_kv", "dim"), [(4, 4, 16), (6, 2, 64)])
def test_positions(kernels: Any, n_heads: int, n_kv: int, dim: int, *, with_norms: bool) -> None:
    """Each row's keys and values go to a position of their own, and nothing else changes."""
    from types import SimpleNamespace

    n, length = 3, 40
    qkv, angles = random(n, (n_heads + 2 * n_kv) * dim), random(n, dim // 2)
    cos, sin = torch.cat((angles, angles), 1).cos(), torch.cat((angles, angles), 1).sin()
    keys, values = random(n_kv, length, dim), random(n_kv, length, dim) + 1
    before = keys.clone(), values.clone()
    at = torch.tensor([5, 6, 39], device=DEVICE)
    norms = [SimpleNamespace(weight=random(dim) + i, eps=1e-6 * (i + 1)) for i in range(2)]
    found = kernels.rotate(qkv, cos, sin, at, keys, values, n_heads, tuple(norms) if with_norms else None)
    heads = qkv.view(n, -1, dim)
    parts = [heads[:, :n_heads], heads[:, n_heads : n_heads + n_kv]]
    if with_norms:
        parts = [functional.rms_norm(p, (dim,), w.weight, w.eps) for p, w in zip(parts, norms, strict=True)]
    turned = []
    for part in parts:
        a, b = torch.split(part, dim // 2, -1)
        turned.append(part * cos[:, None] + torch.cat((-b, a), -1) * sin[:, None])
    close(found, turned[0], torch.float32)
    for buffer, was, new in ((keys, before[0], turned[1]), (values, before[1], heads[:, n_heads + n_kv :])):
        was[:, at] = new.transpose(0, 1)
        close(buffer, was, torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("window", [None, 7, 300])
@pytest.mark.parametrize(("n_heads", "n_kv"), [(4, 4), (6, 2)])
@pytest.mark.parametrize("first", [0, 1, 62, 255, 256, 700])
def test_attention_reads_up_to_each_row(
    kernels: Any, n_heads: int, n_kv: int, first: int, window: int | None, dtype: torch.dtype
) -> None:
    """Five rows, three of the sequence and two past the capacity; everything after the sequence is NaN."""
    dim, capacity, n = 16, 800, 3
    length = capacity + 17
    q = random(5, n_heads, dim, dtype=dtype) * 3
    keys, values = random(n_kv, length, dim, dtype=dtype), random(n_kv, length, dim, dtype=dtype)
    keys[:, first + n :], values[:, first + n :] = math.nan, math.nan
    positions = torch.tensor([*range(first, first + n), capacity, capacity + 1], device=DEVICE)
    found = kernels.attend(q, keys, values, positions, capacity, 0.3, window)
    assert found.shape == (5, n_heads * dim)
    group = n_heads // n_kv
    for row in range(n):
        low, end = max(0, first + row + 1 - (window or 10_000)), first + row + 1
        k, v = (t[:, low:end].float().repeat_interleave(group, 0) for t in (keys, values))
        scores = torch.einsum("hd,hnd->hn", q[row].float(), k) * 0.3
        wanted = torch.einsum("hn,hnd->hd", scores.softmax(-1), v)
        close(found[row].view(n_heads, dim), wanted, dtype)
