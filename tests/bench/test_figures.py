"""Medians, ratios, paired intervals, and what becomes of the goals."""

from __future__ import annotations

import pytest

from midfill.bench.figures import (
    ANSWER,
    COLD,
    GENERATE,
    KEY,
    LLAMA,
    OURS,
    SESSION,
    TOKEN,
    Samples,
    prefill,
)  # fmt: skip
from midfill.bench.goals import GOALS, exit_code, judge
from midfill.eval.figures import Difference, compared

Seconds = dict[str, dict[str, list[float]]]


def samples(values: Seconds) -> Samples:
    made = Samples()
    for metric, row in values.items():
        for name, found in row.items():
            for value in found:
                made.add(metric, name, value)
    return made


def quality_of(ours: list[bool], plain: list[bool]) -> Difference:
    pairs = enumerate(zip(plain, ours, strict=True))
    return compared("all", "first_line", [(str(at), float(a), float(b)) for at, (a, b) in pairs], 10_000)


def test_ratio_of_medians() -> None:
    made = samples({prefill(256): {OURS: [1.0, 9.0, 2.0], LLAMA: [4.0, 4.0, 40.0]}})
    assert made.p50("prefill_256_s", OURS) == 2.0
    assert made.ratio("prefill_256_s", LLAMA) == 0.5
    assert made.ratio("prefill_256_s", GENERATE) is None
    assert made.ratio(KEY, LLAMA) is None


def test_ratio_of_a_session_is_of_sums() -> None:
    made = samples({ANSWER: {OURS: [1.0, 1.0, 4.0], GENERATE: [10.0, 10.0, 10.0]}})
    assert made.ratio(SESSION, GENERATE) == pytest.approx(0.2)


@pytest.mark.parametrize(("better", "worse", "is_worse"), [
    (0, 0, False),
    (2, 3, False),
    (0, 1, False),
    (0, 12, True),
    (12, 0, False),
])  # fmt: skip
def test_worse_means_the_whole_interval(better: int, worse: int, is_worse: bool) -> None:
    ours = [True] * better + [False] * worse + [True] * (30 - better - worse)
    plain = [False] * better + [True] * worse + [True] * (30 - better - worse)
    paired = quality_of(ours, plain)
    assert paired.n == 30
    assert paired.difference == pytest.approx((better - worse) / 30)
    assert paired.low <= paired.difference <= paired.high
    assert (paired.high < 0) is is_worse
    assert quality_of(ours, plain) == paired  # the same interval each time
    (quality,) = [verdict for verdict in judge(Samples(), paired) if verdict.name.startswith("first-line")]
    assert quality.passed is not is_worse


def test_goals_reached() -> None:
    ours = {goal.metric: {OURS: [goal.at_most], goal.rival: [1.0]} for goal in GOALS if goal.metric != SESSION}
    made = samples(ours)
    made.add(ANSWER, GENERATE, 2.0)
    verdicts = judge(made, quality_of([True], [True]))
    assert [verdict.passed for verdict in verdicts] == [True] * 6
    assert exit_code(verdicts) == 0


@pytest.mark.parametrize(("metric", "rival", "ratio"), [
    (COLD, LLAMA, 0.71),
    (KEY, LLAMA, 0.11),
    (ANSWER, LLAMA, 0.41),
    (ANSWER, GENERATE, 0.21),
    (TOKEN, LLAMA, 1.06),
])  # fmt: skip
def test_goals_missed(metric: str, rival: str, ratio: float) -> None:
    verdicts = judge(samples({metric: {OURS: [ratio], rival: [1.0]}}), None)
    (missed,) = [verdict for verdict in verdicts if verdict.passed is False]
    assert missed.measured == f"{ratio:.3f} x"
    assert exit_code(verdicts) == 1


def test_what_is_not_measured_is_not_reached() -> None:
    verdicts = judge(samples({KEY: {OURS: [0.1]}}), None)
    assert {(verdict.measured, verdict.passed) for verdict in verdicts} == {("not measured", None)}
    assert exit_code(verdicts) == 0
