"""The products of each kernel that this CPU can run, by arithmetic, and which of them is used."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from midfill.engine.local.model import int8, int8_kernels
from midfill.engine.local.model.int8_kernels import LEVELS, Kernel, OneDnn

pytest.importorskip("numba")

from midfill.engine.local.forward.compiled.product import CompiledKernel

has_vnni = bool(torch.cpu._is_vnni_supported())
KERNELS = [
    pytest.param(OneDnn, marks=pytest.mark.skipif(not has_vnni, reason="this CPU has no VNNI")),
    CompiledKernel,
]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("size", [(70, 4864), (64, 64), (9, 30), (1, 4)])
def test_the_product_is_exact_in_whole_numbers(kernel: type[Kernel], size: tuple[int, int]) -> None:
    """The largest that can occur among them: nothing overflows on the way."""
    outputs, inputs = size
    weight = torch.randint(-LEVELS, LEVELS + 1, size, dtype=torch.int8)
    weight[0], weight[-1] = LEVELS, -LEVELS
    packed = kernel(weight, torch.ones(outputs))
    rows = torch.randint(-packed.levels, packed.levels + 1, (9, inputs)).float()
    rows[:, 0] = packed.levels  # so that a step is one
    rows[0], rows[1] = packed.levels, -packed.levels
    expected = rows.double() @ weight.double().T
    torch.testing.assert_close(packed(rows.clone()).double(), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_are_rounded_to_the_nearest_step(kernel: type[Kernel]) -> None:
    weight = (torch.eye(64) * LEVELS).to(torch.int8)
    packed = kernel(weight, torch.full((64,), 1 / LEVELS))
    rows = torch.linspace(-packed.levels, packed.levels, 64 * 5).view(5, 64)
    rows[:, 0] = packed.levels
    found = packed(rows.clone())
    torch.testing.assert_close(found, rows.round(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_row_is_multiplied_by_its_factor(kernel: type[Kernel]) -> None:
    packed, rows = kernel(torch.randint(-9, 9, (24, 32), dtype=torch.int8), torch.rand(24)), torch.randn(5, 32)
    factor = torch.rand(5, 1)
    torch.testing.assert_close(packed(rows.clone(), factor.clone()), packed(rows.clone()) * factor)


def test_packed_weights_are_read_row_by_row() -> None:
    weight = torch.randint(-LEVELS, LEVELS + 1, (21, 30), dtype=torch.int8)
    packed = CompiledKernel(weight, torch.ones(21))
    for ids in (torch.tensor([[0, 20, 7, 8]]), torch.arange(21), torch.tensor(3)):
        assert torch.equal(packed.rows(ids), weight[ids])


def test_signed_and_unsigned_activations_have_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """AMX reads signed activations, VNNI unsigned ones: both are whole numbers, so nothing is lost."""
    weight, scale = int8.quantise(torch.randn(96, 640))
    rows = torch.randn(7, 640) * 30
    found = []
    for amx in (True, False):
        monkeypatch.setattr(int8_kernels, "has_amx", lambda amx=amx: amx)
        found.append(OneDnn(weight, scale)(rows.clone()))
    assert torch.equal(*found)


@pytest.mark.parametrize(("vnni", "amx", "numba", "expected"), [
    (True, True, True, OneDnn), (True, False, True, CompiledKernel), (True, False, False, OneDnn),
    (False, False, True, CompiledKernel), (False, False, False, None),
])  # fmt: skip
def test_the_kernel_is_the_cpus(
    vnni: bool, amx: bool, numba: bool, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    monkeypatch.setattr(int8_kernels, "has_amx", lambda: amx)
    monkeypatch.setattr(int8_kernels, "_compiled_kernel", lambda: CompiledKernel if numba else None)
    monkeypatch.setattr(int8_kernels, "works", lambda kernel: True)
    assert int8_kernels.best.__wrapped__() is expected


def test_the_next_kernel_is_taken_where_the_first_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    monkeypatch.setattr(int8_kernels, "has_amx", lambda: False)
    monkeypatch.setattr(int8_kernels, "works", lambda kernel: kernel is OneDnn)
    assert int8_kernels.best.__wrapped__() is OneDnn


class Plain:
    """A kernel that multiplies in float32."""

    levels = LEVELS

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        self._weight = weight.float() * scale[:, None]

    def __call__(self, rows: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        return rows @ self._weight.T


class Wrong(Plain):
    """A kernel with an error in it."""

    def __call__(self, rows: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        return super().__call__(rows) * 1.1


class Missing(Plain):
    """A kernel whose operation this torch does not have."""

    def __call__(self, rows: torch.Tensor, factor: torch.Tensor | None = None) -> torch.Tensor:
        raise RuntimeError("didn't find engine for operation")


@pytest.mark.parametrize(("ours", "theirs", "fast", "n_looks"), [
    ([0.05], [0.3], True, 1),
    ([90.0] * 2, [0.3] * 2, False, 2),
    ([9.0] * 6, [0.3] * 6, False, 6),
    ([9.0, 9.0, 0.05], [0.3, 4.0, 0.4], True, 3),  # a busy machine, for a moment
])  # fmt: skip
def test_a_product_that_falls_back_to_slow_loops_is_not_used(
    ours: list[float], theirs: list[float], fast: bool, n_looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = itertools.chain.from_iterable(zip(ours, theirs, strict=True))
    n_timed = 0

    def shortest_s(call: Callable[[], object]) -> float:
        nonlocal n_timed
        n_timed += 1
        call()
        return next(taken)

    monkeypatch.setattr(int8_kernels, "shortest_s", shortest_s)
    assert int8_kernels.works(Plain) is fast
    assert n_timed == 2 * n_looks


@pytest.mark.parametrize("kernel", [Missing, Wrong])
def test_a_product_that_does_not_come_out_is_not_used(kernel: type[Kernel]) -> None:
    assert not int8_kernels.works(kernel)


def test_a_failing_compiler_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(CompiledKernel, "__init__", fail)
    assert not int8_kernels.works(CompiledKernel)
