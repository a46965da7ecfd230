"""Percentiles, and intervals and differences that know which values belong together."""

from __future__ import annotations

import pytest

from midfill.eval.figures import Difference, compared, interval, percentile


@pytest.mark.parametrize(("values", "share", "expected"), [
    ([], 0.5, None),
    ([3.0], 0.95, 3.0),
    ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
    ([float(n) for n in range(1, 101)], 0.95, 95.0),
])  # fmt: skip
def test_percentile(values: list[float], share: float, expected: float | None) -> None:
    assert percentile(values, share) == expected


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


def test_compared() -> None:
    """Twenty of forty became right; as two files they are two values."""
    apart = compared("all", "right", [(str(n), 0.0, float(n % 2)) for n in range(40)])
    assert (apart.n, apart.a, apart.b, apart.difference, apart.is_sure) == (40, 0.0, 0.5, 0.5, True)
    assert 0.3 < apart.low < 0.5 < apart.high < 0.7
    together = compared("all", "right", [(str(n % 2), 0.0, float(n % 2)) for n in range(40)])
    assert together == Difference("all", "right", 40, 0.0, 0.5, 0.5, 0.0, 1.0)
    assert not together.is_sure
    assert compared("all", "right", [("a", 1.0, 0.0)]).is_sure
