"""Percentiles, exact tests, and intervals that know which values belong together."""

from __future__ import annotations

import pytest

from midfill.eval.figures import interval, mcnemar, percentile


@pytest.mark.parametrize(("values", "share", "expected"), [
    ([], 0.5, None),
    ([3.0], 0.95, 3.0),
    ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
    ([float(n) for n in range(1, 101)], 0.95, 95.0),
])  # fmt: skip
def test_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


@pytest.mark.parametrize(("better", "worse", "p"), [
    (0, 0, 1.0),
    (1, 1, 1.0),
    (0, 5, 2 / 32),
    (5, 0, 2 / 32),
    (1, 5, 14 / 64),
])  # fmt: skip
def test_mcnemar(better: int, worse: int, p: float) -> None:
    assert mcnemar([1] * better + [-1] * worse + [0] * 7) == pytest.approx(p)


@pytest.mark.parametrize(("groups", "low", "high"), [
    ([[1.0, 1.0], [1.0]], 1.0, 1.0),
    ([[0.0]] * 50 + [[1.0]] * 50, 0.40, 0.60),
    ([[0.0, 0.0], [1.0, 1.0], []], 0.0, 1.0),  # two independent values say little, however often they are repeated
    ([[0.0] * 50, [1.0] * 50], 0.0, 1.0),
])  # fmt: skip
def test_interval(groups: list[list[float]], low: float, high: float) -> None:
    found = interval(groups, 2000)
    assert found == pytest.approx((low, high), abs=0.02)
    assert found == interval(groups, 2000)
