"""Where suggestions are taken and where not: a dependence that was planted is found, and nothing else."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from midfill.postprocess import AdaptiveThresholds, PostProcessor
from midfill.postprocess.confidence import DEFAULTS, MIN_OUTCOMES, REACH
from midfill.postprocess.habits import MIN_OF_GROUP, MIN_SETTLED, AcceptanceHabits, learn_shifts
from tests.support import at

Row = dict[str, Any]


def rows(n: int, comment: float = 0.0, go: float = 0.0, seed: int = 1, slope: float = 1.5) -> list[Row]:
    """Return ``n`` suggestions; in comments and in Go, the log odds of taking one are other by so much."""
    rng = random.Random(seed)
    found = []
    for _ in range(n):
        scope, language = rng.choice(("code", "code", "comment")), rng.choice(("python", "python", "go"))
        logprob, n_chars = -rng.expovariate(2.0), rng.randrange(1, 90)
        odds = 1.0 + slope * logprob + comment * (scope == "comment") + go * (language == "go")
        taken = rng.random() < 1 / (1 + math.exp(-odds))
        outcome = rng.choice(("accepted", "typed", "partial")) if taken else "rejected"
        found.append({"confidence": math.exp(logprob), "outcome": outcome, "language": language, "scope": scope,
                      "n_chars": n_chars})  # fmt: skip
    return found


def test_what_was_planted_is_found() -> None:
    found = learn_shifts(rows(500, comment=-2.0))
    assert found["scope comment"] - found["scope code"] == pytest.approx(2.0 / 1.5, abs=0.6)
    assert abs(found["language go"] - found["language python"]) < 0.4
    found = learn_shifts(rows(500, go=2.0))
    assert found["language go"] - found["language python"] == pytest.approx(-2.0 / 1.5, abs=0.6)
    assert abs(found["scope comment"] - found["scope code"]) < 0.4


def test_on_the_average_nothing_shifts() -> None:
    known = rows(500, comment=-2.0, go=1.0)
    found = learn_shifts(known)
    shifts = [found[f"language {row['language']}"] + found[f"scope {row['scope']}"] for row in known]
    assert sum(shifts) / len(shifts) == pytest.approx(0.0, abs=0.001)


def test_what_does_not_depend_on_the_place_hardly_ever_shifts() -> None:
    n_acting = sum(bool(learn_shifts(rows(400, seed=seed))) for seed in range(40))
    assert n_acting <= 8


@pytest.mark.parametrize(
    "known",
    [
        rows(MIN_SETTLED - 1, comment=-4.0),
        [],
        [{**row, "scope": "code", "language": "go"} for row in rows(300, comment=-4.0)],  # one group only
        [{**row, "scope": "comment" if n < MIN_OF_GROUP - 1 else "code", "language": "go"}
         for n, row in enumerate(rows(300))],
        [{**row, "outcome": "rejected"} for row in rows(300)],
        [{**row, "outcome": "accepted"} for row in rows(300)],
        [{**row, "confidence": 0.9} for row in rows(300, comment=-4.0)],  # confidence says nothing
        rows(500, comment=-3.0, slope=-1.0),  # or the wrong thing
    ],
)  # fmt: skip
def test_too_little_to_learn_from(known: list[Row]) -> None:
    assert learn_shifts(known) == {}


def test_odd_records_do_no_harm() -> None:
    odd = [{"confidence": 0.0, "outcome": "typed", "language": None, "scope": "", "n_chars": 0}] * 5
    assert learn_shifts(odd * 40) == {}
    assert learn_shifts([*odd, *rows(500, comment=-2.0)])["scope comment"] > 0.5


def gate(shifts: dict[str, float], n_latest: int = 0) -> AdaptiveThresholds:
    found = AdaptiveThresholds("automatic", shifts=shifts)
    for n in range(n_latest):
        found.note(math.exp(-0.5 - n / n_latest))
    return found


@pytest.mark.parametrize(
    ("shift", "n_latest", "moved"),
    [(0.3, 0, 0.3), (-0.3, 0, -0.3), (5.0, 0, REACH), (-5.0, 0, -REACH), (5.0, 200, 0.05)],
)
def test_how_far_a_threshold_moves(shift: float, n_latest: int, moved: float) -> None:
    """Never past its reach, and never so far that more than a part of the latest suggestions is hidden."""
    assert n_latest == 0 or n_latest > MIN_OUTCOMES
    subject, usual = gate({"scope comment": shift}, n_latest), DEFAULTS["automatic"]
    assert subject.at("python", "comment").first == pytest.approx(usual.first + moved, abs=0.01)
    for other in ("block", "statement", "string"):
        assert subject.at("python", other) == subject.thresholds
    assert subject.at("python", "comment").later == usual.later


def test_it_decides_what_is_shown() -> None:
    """The same confidence is enough in code and not in a comment."""
    subject = gate({"scope comment": 0.5, "language go": -0.2})
    for buffer, text in (("total = ‸\n", "add(1)"), ("# total ‸\n", "")):
        processor = PostProcessor(at(buffer), gate=subject)
        processor.note("add(1)", (-0.9,))
        assert processor.shown("add(1)", finished=True) == text


def test_habits_of_rows() -> None:
    known = rows(500, comment=-2.0)
    found = AcceptanceHabits.of(known)
    assert found.outcomes[0] == (known[0]["confidence"], known[0]["outcome"] != "rejected")
    assert found.shifts == learn_shifts(known)
    assert AcceptanceHabits.of([]) == AcceptanceHabits([])
