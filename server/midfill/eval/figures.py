"""Statistics: percentiles, and bootstrap intervals of paired comparisons."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that at least ``share`` of ``values`` do not exceed; None for no values."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def interval(groups: Sequence[Sequence[float]], n_resamples: int = 10_000) -> tuple[float, float]:
    """Return the 95 % interval of the mean over all values, by a bootstrap of whole groups; the same interval each
    time.

    Values of a group (holes of one file) resemble each other, so a group is drawn or left out as a whole.
    """
    return weighted_interval([(math.fsum(group), len(group)) for group in groups if group], n_resamples)


def weighted_interval(sums: Sequence[tuple[float, float]], n_resamples: int = 10_000) -> tuple[float, float]:
    """Like ``interval``, for groups that are given as the sum of their values and the sum of their weights."""
    rng = random.Random(0)  # noqa: S311 - the same interval each time
    means = []
    for _ in range(n_resamples):
        drawn = rng.choices(sums, k=len(sums))
        means.append(sum(total for total, _ in drawn) / sum(n for _, n in drawn))
    low, high = percentile(means, 0.025), percentile(means, 0.975)
    assert low is not None
    assert high is not None
    return low, high


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of the same questions, answered in two ways; ``low`` to ``high`` is the 95 % interval of b - a."""

    kind: str
    metric: str
    n: int
    a: float
    b: float
    difference: float
    low: float
    high: float

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes "no difference"."""
        return self.low > 0 or self.high < 0


def compared(kind: str, metric: str, pairs: Sequence[tuple[str, float, float]], n_resamples: int = 2000) -> Difference:
    """Return the difference over at least one (group, a, b); groups are those of ``interval``."""
    groups: dict[str, list[float]] = {}
    for group, a, b in pairs:
        groups.setdefault(group, []).append(b - a)
    low, high = interval(list(groups.values()), n_resamples)
    mean_a, mean_b = statistics.fmean(a for _, a, _ in pairs), statistics.fmean(b for _, _, b in pairs)
    return Difference(kind, metric, len(pairs), mean_a, mean_b, mean_b - mean_a, low, high)
