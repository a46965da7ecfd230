"""What the engine should reach, and whether a run has reached it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from midfill.bench.figures import ANSWER, COLD, GENERATE, KEY, LLAMA, SESSION, TOKEN, Samples
from midfill.eval.figures import Difference


@dataclass(frozen=True, slots=True)
class Goal:
    """Our time must be at most this part of the rival's."""

    name: str
    rival: str
    metric: str
    at_most: float


GOALS = (
    Goal("TTFT, cold", LLAMA, COLD, 0.7),
    Goal("TTFT after a keystroke", LLAMA, KEY, 0.1),
    Goal("all tokens after a keystroke", LLAMA, ANSWER, 0.4),
    Goal("one token, no speculation", LLAMA, TOKEN, 1.05),
    Goal("all keystrokes in sum (5 times faster)", GENERATE, SESSION, 0.2),
)
QUALITY = "first-line exact match no worse than the exact layout's"


@dataclass(frozen=True, slots=True)
class GoalResult:
    """A goal and what was measured. ``passed`` is None if nothing was measured."""

    name: str
    goal: str
    measured: str
    value: float | None
    passed: bool | None


# The result of a bench: its figures, and its goals with their verdicts.
Measured = tuple[dict[str, Any], list[GoalResult]]


def judge(samples: Samples, quality: Difference | None) -> list[GoalResult]:
    """Return every goal's verdict."""
    return [*(_speed(goal, samples) for goal in GOALS), _quality(quality)]


def exit_code(verdicts: Sequence[GoalResult]) -> int:
    """Return 1 if a goal is missed. What was not measured is neither missed nor reached."""
    return int(any(verdict.passed is False for verdict in verdicts))


def _speed(goal: Goal, samples: Samples) -> GoalResult:
    ratio = samples.ratio(goal.metric, goal.rival)
    wanted = f"<= {goal.at_most:g} x {goal.rival}"
    if ratio is None:
        return GoalResult(goal.name, wanted, "not measured", None, None)
    return GoalResult(goal.name, wanted, f"{ratio:.3f} x", ratio, ratio <= goal.at_most)


def _quality(quality: Difference | None) -> GoalResult:
    wanted = "95 % interval of the difference reaches 0"
    if quality is None:
        return GoalResult(QUALITY, wanted, "not measured", None, None)
    says = f"{quality.b:.0%} against {quality.a:.0%} of {quality.n}, interval {quality.low:+.2f} to {quality.high:+.2f}"
    return GoalResult(QUALITY, wanted, says, quality.difference, quality.high >= 0)
