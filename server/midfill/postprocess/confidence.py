"""How sure the model was of each line, and from where on a suggestion is not worth reading.

The measure is the mean log probability of a line's tokens. A weak first line hides the suggestion, a weak later one
ends it. What is weak is learned from what was taken and what was not, within bounds: no more than a part of what the
model says is ever hidden.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from midfill.types import Trigger

# Before so many tokens a line that still grows is not judged.
MIN_TOKENS = 8


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Mean log probabilities (natural) below which a first and a later line are weak."""

    first: float = -math.inf
    later: float = -math.inf


# Whoever asks gets nearly everything; what comes unasked has to be worth a look (docs/log.md).
DEFAULTS: dict[Trigger, Thresholds] = {"automatic": Thresholds(-1.2, -0.9), "invoked": Thresholds(-3.5, -1.6)}
# Learning moves a threshold so far from its default at most.
REACH = 0.6
# Of the latest suggestions no larger part is hidden than this.
MAX_HIDDEN = 0.35
MIN_OUTCOMES = 40
FEW = 0.05  # taken by so few, a suggestion is no loss


@dataclass(slots=True)
class Line:
    """One line's tokens."""

    n: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """0 where nothing is known."""
        return self.total / self.n if self.n else 0.0


@dataclass(slots=True)
class Lines:
    """A middle's lines as it grows."""

    lines: list[Line] = field(default_factory=lambda: [Line()])

    def push(self, text: str, logprobs: Sequence[float]) -> None:
        """The next piece with its tokens' log probabilities. Where several came at once, each counts for the line on
        which its share of the characters begins."""
        known = [value for value in logprobs if not math.isnan(value)]
        start, n = len(self.lines) - 1, len(known)
        for _ in range(text.count("\n")):
            self.lines.append(Line())
        for i, value in enumerate(known):
            line = self.lines[start + text.count("\n", 0, len(text) * i // n)]
            line.n, line.total = line.n + 1, line.total + value

    def first_weak(self, thresholds: Thresholds, *, finished: bool) -> int | None:
        """The number of the first line that is weak. One that still grows is judged once enough of it is there."""
        seen_first = False
        for i, line in enumerate(self.lines):
            if not line.n:
                continue
            limit = thresholds.later if seen_first else thresholds.first
            is_whole = finished or i < len(self.lines) - 1 or line.n >= MIN_TOKENS
            if is_whole and line.mean < limit:
                return i
            seen_first = True
        return None

    @property
    def confidence(self) -> float | None:
        """The geometric mean probability of the first line's tokens, 0 to 1; None where it is not known."""
        first = next((line for line in self.lines if line.n), None)
        return math.exp(first.mean) if first is not None else None


def learn(outcomes: Sequence[tuple[float, bool]], default: float, max_hidden: float = MAX_HIDDEN) -> float:
    """The threshold of first lines from (confidence 0 to 1, whether it was taken), within REACH of ``default``.

    The highest one under which hardly anything was taken, and no more than ``max_hidden`` (0 to 1) of what came. With
    few outcomes it is the default.
    """
    if len(outcomes) < MIN_OUTCOMES:
        return default
    ordered = sorted(outcomes, key=lambda outcome: (outcome[0], not outcome[1]))
    best, n_taken = default - REACH, 0
    for i in range(1, int(max_hidden * len(ordered))):
        n_taken += ordered[i - 1][1]
        if i >= MIN_OUTCOMES // 2 and n_taken <= FEW * i:
            best = math.log(max(ordered[i][0], 1e-9))
    return max(default - REACH, min(default + REACH, best))


class Gate:
    """The thresholds of one kind of trigger, and the bound on what they hide."""

    def __init__(
        self,
        trigger: Trigger,
        outcomes: Sequence[tuple[float, bool]] = (),
        default: Thresholds | None = None,
        max_hidden: float = MAX_HIDDEN,
    ) -> None:
        """``default`` is where learning begins, the trigger's own if None; ``max_hidden`` 0 to 1."""
        default = default or DEFAULTS[trigger]
        self._max_hidden = max_hidden
        self._learned = Thresholds(learn(outcomes, default.first, max_hidden), default.later)
        self._latest: deque[float] = deque(maxlen=200)

    @property
    def thresholds(self) -> Thresholds:
        """Those that hold now."""
        if len(self._latest) < MIN_OUTCOMES:
            return self._learned
        bound = sorted(self._latest)[int(self._max_hidden * len(self._latest))]
        return Thresholds(min(self._learned.first, bound), self._learned.later)

    def note(self, confidence: float | None) -> None:
        """A suggestion's first line had ``confidence``, whether it was shown or not."""
        if confidence is not None:
            self._latest.append(math.log(max(confidence, 1e-9)))
