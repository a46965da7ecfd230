"""Statistics: percentiles, and intervals by bootstrap of what is compared in pairs."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of ``values`` do not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def interval(groups: Sequence[Sequence[float]], n_resamples: int = 10_000) -> tuple[float, float]:
    """The 95 % interval of the mean over all values, by bootstrap of whole groups; the same one each time.

    Values of a group (holes of one file) resemble each other, so a group is drawn or left out as one.
    """
    return weighted_interval([(math.fsum(group), len(group)) for group in groups if group], n_resamples)


def weighted_interval(sums: Sequence[tuple[float, float]], n_resamples: int = 10_000) -> tuple[float, float]:
    """As ``interval``, of groups whose values are given in sum, with their weight in sum."""
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
class Paired:
    """Two ways of answering the same questions: how many were right, and how sure the difference is."""

    n: int
    ours: float  # share of right answers
    plain: float
    difference: float
    low: float  # 95 % interval of the difference, by bootstrap
    high: float
    p: float  # of McNemar's exact test


def compare(ours: Sequence[bool], plain: Sequence[bool], *, n_resamples: int = 10_000) -> Paired:
    """Right answers in pairs; at least one."""
    differences = [int(a) - int(b) for a, b in zip(ours, plain, strict=True)]
    n = len(differences)
    low, high = interval([[difference] for difference in differences], n_resamples)
    return Paired(n, sum(ours) / n, sum(plain) / n, sum(differences) / n, low, high, mcnemar(differences))


def mcnemar(differences: Sequence[int]) -> float:
    """Two-sided exact p: how likely so uneven a split of the pairs that differ is by chance."""
    n_better, n_worse = differences.count(1), differences.count(-1)
    n = n_better + n_worse
    tail: float = sum(math.comb(n, k) for k in range(min(n_better, n_worse) + 1)) / 2.0**n
    return min(1.0, 2 * tail)
