"""The products of each kernel that this CPU can run, by arithmetic, and which of them is used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from midfill.engine.local import int8, int8_kernels
from midfill.engine.local.int8_kernels import STEPS, Fbgemm, Kernel, OneDnn

has_vnni = bool(torch.cpu._is_vnni_supported())
has_fbgemm = "fbgemm" in torch.backends.quantized.supported_engines
KERNELS = [
    pytest.param(OneDnn, marks=pytest.mark.skipif(not has_vnni, reason="this CPU has no VNNI")),
    pytest.param(Fbgemm, marks=pytest.mark.skipif(not has_fbgemm, reason="this torch has no FBGEMM")),
]


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_product_is_exact_in_whole_numbers(kernel: type[Kernel]) -> None:
    """The largest that can occur among them: nothing overflows on the way."""
    weight = torch.randint(-STEPS, STEPS + 1, (70, 4864), dtype=torch.int8)
    weight[0], weight[1] = STEPS, -STEPS
    rows = torch.randint(-STEPS, STEPS + 1, (9, 4864)).float()
    rows[0], rows[1] = STEPS, -STEPS
    share = kernel.weight_steps / STEPS
    multiplied = (weight.double() * share).round()
    expected = rows.double() @ multiplied.T
    found = kernel(weight, torch.full((70,), share))(rows.clone()).double()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_rows_are_rounded_to_the_nearest_step(kernel: type[Kernel]) -> None:
    weight = (torch.eye(64) * STEPS).to(torch.int8)
    rows = torch.linspace(-STEPS, STEPS, 64 * 5).view(5, 64)
    found = kernel(weight, torch.full((64,), 1 / STEPS))(rows.clone())
    torch.testing.assert_close(found, rows.round(), rtol=1e-6, atol=1e-6)


def test_signed_and_unsigned_activations_have_the_same_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """What AMX reads and what VNNI reads: whole numbers both, so nothing is lost on the way."""
    weight, scale = int8.quantise(torch.randn(96, 640))
    rows = torch.randn(7, 640) * 30
    found = []
    for zero in (0, 128):
        monkeypatch.setattr(int8_kernels, "zero_point", lambda zero=zero: zero)
        found.append(OneDnn(weight, scale)(rows.clone()))
    assert torch.equal(*found)


@pytest.mark.parametrize(("vnni", "engines", "expected"), [
    (True, ["fbgemm"], OneDnn), (False, ["qnnpack", "fbgemm"], Fbgemm), (False, ["qnnpack"], None),
])  # fmt: skip
def test_the_kernel_is_the_cpus(vnni: bool, engines: list[str], expected: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: vnni)
    monkeypatch.setattr(type(torch.backends.quantized), "supported_engines", engines)
    assert int8_kernels.best() is expected


class Counted:
    """A kernel that only takes note."""

    weight_steps = STEPS

    def __init__(self, weight: torch.Tensor, scale: torch.Tensor) -> None:
        pass

    def finish(self) -> None:
        pass

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


class Missing(Counted):
    """A kernel whose operation this torch does not have."""

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("didn't find engine for operation")


@pytest.mark.parametrize(("ours", "theirs", "fast"), [(0.05, 0.3, True), (90.0, 0.3, False)])
def test_a_product_that_falls_back_to_slow_loops_is_not_used(
    ours: float, theirs: float, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = iter((ours, theirs))

    def shortest_s(call: Callable[[], object]) -> float:
        call()
        return next(taken)

    monkeypatch.setattr(int8_kernels, "shortest_s", shortest_s)
    assert int8_kernels.is_fast(Counted) is fast


def test_a_product_that_this_torch_lacks_is_not_used() -> None:
    assert not int8_kernels.is_fast(Missing)
