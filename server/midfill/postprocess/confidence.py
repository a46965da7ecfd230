"""How sure the model was of each line, and where a suggestion is no longer worth reading.

The measure of a line is the mean log probability of its tokens. A weak first line hides the suggestion, a weak later
one ends it. What counts as weak is learned from what was accepted and what was not, within bounds: at most a part of
the model's output is ever hidden.

The first line also ends where it has become improbable that all of it is right: where the product of its tokens'
probabilities falls below a bound. The user accepts the words that the model is sure of, and the next suggestion begins
at the doubt.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from midfill.postprocess.habits import NO_SHIFTS, groups_of
from midfill.types import Trigger

# A growing line is not judged before it has this many tokens.
MIN_TOKENS = 8
# A line is shown while it grows once it is judged. That is earlier if it exceeds the threshold by this much.
EARLY_TOKENS, EARLY_MARGIN = 3, 0.7


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Mean log probabilities (natural) below which a first and a later line are weak; ``total``: the log probability
    of the first line up to a token, below which the line ends before that token."""

    first: float = -math.inf
    later: float = -math.inf
    total: float = -math.inf


# Explicit requests show nearly everything; automatic suggestions have to be worth a look (docs/log.md).
DEFAULTS: dict[Trigger, Thresholds] = {
    "automatic": Thresholds(-1.2, -0.9, math.log(0.2)),
    "invoked": Thresholds(-3.5, -1.6),
}
# Learning moves a threshold at most this far from its default.
REACH = 0.6
# At most this part of the latest suggestions is hidden.
MAX_HIDDEN = 0.35
MIN_OUTCOMES = 40
FEW = 0.05  # if this few were accepted, hiding a suggestion loses nothing


@dataclass(slots=True)
class LineScore:
    """One line's tokens."""

    n: int = 0
    total: float = 0.0

    @property
    def mean(self) -> float:
        """Mean log probability; 0 if nothing is known."""
        return self.total / self.n if self.n else 0.0


@dataclass(slots=True)
class Lines:
    """The lines of a growing middle."""

    lines: list[LineScore] = field(default_factory=lambda: [LineScore()])
    n_passed: int = 0  # strong lines that may have been shown: they are not judged again
    text: str = ""
    doubt: int | None = None  # where in the text the first token begins that `Thresholds.total` leaves out
    _total: float = 0.0  # log probability of the first line so far

    def push(self, text: str, logprobs: Sequence[float], offsets: Sequence[int] = (), least: float = -math.inf) -> None:
        """Take the next piece with its tokens' log probabilities.

        ``offsets``: where in ``text`` each token begins; if unknown, each has an equal share of the characters.
        ``least``: `Thresholds.total`. A token counts for the line on which it begins.
        """
        n = len(logprobs)
        starts = offsets if len(offsets) == n else [len(text) * i // n for i in range(n)]
        first = len(self.lines) - 1
        for _ in range(text.count("\n")):
            self.lines.append(LineScore())
        for start, value in zip(starts, logprobs, strict=True):
            if not math.isnan(value):
                self._take(self.lines[first + text.count("\n", 0, start)], text[:start], value, least)
        self.text += text

    def _take(self, line: LineScore, before: str, value: float, least: float) -> None:
        if self.doubt is None and "\n" not in (self.text + before).lstrip():
            self._total += value
            if self._total < least:
                self.doubt = len(self.text) + len(before)
                if line.n:
                    return
        elif self.doubt is not None:
            return
        line.n, line.total = line.n + 1, line.total + value

    def first_weak(self, thresholds: Thresholds, *, finished: bool) -> int | None:
        """Return the number of the first weak line. A growing line is judged once enough of it is there."""
        seen_first = False
        for i, line in enumerate(self.lines):
            if not line.n:
                continue
            limit = thresholds.later if seen_first else thresholds.first
            if i < self.n_passed:
                seen_first = True
                continue
            is_whole = finished or i < len(self.lines) - 1 or line.n >= MIN_TOKENS or self.doubt is not None
            if is_whole and line.mean < limit:
                return i
            seen_first = True
        return None

    def n_strong(self, thresholds: Thresholds) -> int:
        """Return how many lines from the first one on are not weak; once a line is judged, that stays."""
        while self.n_passed < len(self.lines) and self._is_strong(self.n_passed, thresholds):
            self.n_passed += 1
        is_begun = self.n_passed == len(self.lines) - 1 and not self.lines[-1].n
        return self.n_passed + is_begun

    def _is_strong(self, i: int, thresholds: Thresholds) -> bool:
        line, is_whole = self.lines[i], i < len(self.lines) - 1
        if not line.n:
            return is_whole
        is_later = any(earlier.n for earlier in self.lines[:i])
        limit = thresholds.later if is_later else thresholds.first
        if line.mean < limit:
            return False
        is_early = line.n >= EARLY_TOKENS and line.mean >= limit + EARLY_MARGIN
        # With one more token the line's mean is still above the limit, or the line ends before that token.
        is_early |= not is_later and thresholds.total >= limit * (line.n + 1)
        return is_whole or line.n >= MIN_TOKENS or is_early or limit == -math.inf

    @property
    def confidence(self) -> float | None:
        """The geometric mean of the probabilities of the first line's tokens, 0 to 1; None if unknown."""
        first = next((line for line in self.lines if line.n), None)
        return math.exp(first.mean) if first is not None else None


def learn(outcomes: Sequence[tuple[float, bool]], default: float, max_hidden: float = MAX_HIDDEN) -> float:
    """Return the threshold of first lines from (confidence 0 to 1, whether it was accepted), within REACH of
    ``default``.

    It is the highest one under which hardly any was accepted and at most ``max_hidden`` (0 to 1) of all fall. With few
    outcomes it is the default.
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


class AdaptiveThresholds:
    """The thresholds of one kind of trigger, and the bound on what they hide."""

    def __init__(
        self,
        trigger: Trigger,
        outcomes: Sequence[tuple[float, bool]] = (),
        default: Thresholds | None = None,
        max_hidden: float = MAX_HIDDEN,
        shifts: Mapping[str, float] = NO_SHIFTS,
    ) -> None:
        """``default`` is where learning begins, the trigger's own if None; ``max_hidden`` 0 to 1; ``shifts``: those of
        ``habits.AcceptanceHabits``."""
        default = default or DEFAULTS[trigger]
        self._max_hidden, self._shifts, self._default = max_hidden, shifts, default.first
        self._learned = replace(default, first=learn(outcomes, default.first, max_hidden))
        self._latest: deque[float] = deque(maxlen=200)

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds in effect, on the average of all places."""
        return self._bounded(self._learned)

    def at(self, language: str, scope: str) -> Thresholds:
        """Return the thresholds in effect at a place: within the same bounds, shifted by what the user takes there."""
        shift = sum(self._shifts.get(group, 0.0) for group in groups_of(language, scope))
        if not shift:
            return self.thresholds
        first = max(self._default - REACH, min(self._default + REACH, self._learned.first + shift))
        return self._bounded(replace(self._learned, first=first))

    def _bounded(self, thresholds: Thresholds) -> Thresholds:
        if len(self._latest) < MIN_OUTCOMES:
            return thresholds
        bound = sorted(self._latest)[int(self._max_hidden * len(self._latest))]
        return replace(thresholds, first=min(thresholds.first, bound))

    def note(self, confidence: float | None) -> None:
        """Record that a suggestion's first line had ``confidence``, whether it was shown or not."""
        if confidence is not None:
            self._latest.append(math.log(max(confidence, 1e-9)))
