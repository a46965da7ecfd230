"""What was measured, and the statistics over it."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

OURS = "midfill"
EXACT = "midfill, exact layout"
LLAMA = "llama.cpp"
GENERATE = "generate()"
CONTENDERS = (OURS, EXACT, LLAMA, GENERATE)

TOKEN = "token_s"  # noqa: S105 - one token, without speculation
COLD = "ttft_cold_s"
KEY = "ttft_key_s"
ANSWER = "answer_key_s"
SESSION = "session_s"  # all the answers after a keystroke, one after another


def prefill(n_tokens: int) -> str:
    """The metric of a prompt of ``n_tokens`` that nobody has seen."""
    return f"prefill_{n_tokens}_s"


@dataclass(slots=True)
class Samples:
    """Seconds by metric and contender; one value a turn."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, metric: str, contender: str, value: float) -> None:
        """One more turn."""
        self.values.setdefault(metric, {}).setdefault(contender, []).append(value)

    def p50(self, metric: str, contender: str) -> float | None:
        """The median, or None where nothing was measured."""
        found = self.values.get(metric, {}).get(contender)
        return statistics.median(found) if found else None

    def ratio(self, metric: str, rival: str) -> float | None:
        """Our median over the rival's; for SESSION our sum over the rival's. Less than 1: we are faster."""
        if metric == SESSION:
            ours, theirs = (sum(self.values.get(ANSWER, {}).get(name, ())) for name in (OURS, rival))
            return ours / theirs if ours and theirs else None
        mine, other = self.p50(metric, OURS), self.p50(metric, rival)
        return mine / other if mine is not None and other else None


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least ``share`` of ``values`` do not exceed; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


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
    rng = random.Random(0)  # noqa: S311 - the same interval each time
    means = [sum(rng.choices(differences, k=n)) / n for _ in range(n_resamples)]
    low, high = percentile(means, 0.025), percentile(means, 0.975)
    assert low is not None
    assert high is not None
    return Paired(n, sum(ours) / n, sum(plain) / n, sum(differences) / n, low, high, mcnemar(differences))


def mcnemar(differences: Sequence[int]) -> float:
    """Two-sided exact p: how likely so uneven a split of the pairs that differ is by chance."""
    n_better, n_worse = differences.count(1), differences.count(-1)
    n = n_better + n_worse
    tail: float = sum(math.comb(n, k) for k in range(min(n_better, n_worse) + 1)) / 2.0**n
    return min(1.0, 2 * tail)
