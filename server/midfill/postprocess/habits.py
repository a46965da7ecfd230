"""Where the user takes suggestions and where not: what shifts the threshold of a first line, learned from the records.

The chance that a suggestion is taken is fitted to its confidence, its length, its language and whether it stands in
code, a comment or a string (a logistic regression; the weights of languages and places are held small). A place where
less is taken than confidence alone says needs more confidence. Nothing shifts before there are ``MIN_SETTLED``
suggestions with an outcome, nor unless language and place foretell the newest fifth of them better than confidence and
length alone. No source text is needed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

MIN_SETTLED = 500  # suggestions with a known outcome: with 200, chance shifted one user in ten (docs/log.md)
MIN_OF_GROUP = 25  # of a language or place, and of all others
NEWEST = 0.2  # share of the suggestions that decides whether the groups foretell anything
MIN_GAIN = 0.01  # nats per suggestion that they must be better by
HELD = 3.0  # how small the weights of groups are held: the inverse variance of a normal prior
MIN_SLOPE = 0.2  # of the log odds by confidence: with less, confidence says nothing that could be shifted
MIN_CONFIDENCE = 0.02  # confidence: less counts as this much, so that a few odd records do not decide
N_STEPS = 12  # of Newton's method
TEXTS = frozenset({"comment", "string", "docstring"})
NO_SHIFTS: Mapping[str, float] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AcceptanceHabits:
    """What became of earlier suggestions of one kind of trigger: (confidence 0 to 1, whether it was not rejected), and
    by group how much more of the mean log probability a first line needs there."""

    outcomes: Sequence[tuple[float, bool]] = ()
    shifts: Mapping[str, float] = field(default_factory=lambda: NO_SHIFTS)

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> AcceptanceHabits:
        """Return the habits that rows of the records show; the oldest row comes first."""
        outcomes = [(float(row["confidence"]), row["outcome"] != "rejected") for row in rows]
        return cls(outcomes, learn_shifts(rows))


def groups_of(language: str, scope: str) -> tuple[str, str]:
    """Return the groups of a suggestion in ``language`` and in a kind of place: one of TEXTS, else code."""
    return f"language {language}", f"scope {scope if scope in TEXTS else 'code'}"


def learn_shifts(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return by group the shift of the threshold; {} if nothing is foretold by groups."""
    if len(rows) < MIN_SETTLED:
        return {}
    members = [groups_of(str(row["language"]), str(row["scope"])) for row in rows]
    counts = Counter(group for pair in members for group in pair)
    groups = sorted(group for group, n in counts.items() if MIN_OF_GROUP <= n <= len(rows) - MIN_OF_GROUP)
    taken = [row["outcome"] != "rejected" for row in rows]
    plain = [(1.0, math.log(max(float(row["confidence"]), MIN_CONFIDENCE)), math.log1p(row["n_chars"])) for row in rows]
    whole = [(*one, *(float(group in pair) for group in groups)) for one, pair in zip(plain, members, strict=True)]
    first = round(len(rows) * (1 - NEWEST))
    if not groups or len(set(taken[:first])) < 2:
        return {}
    losses = [_loss(_fit(x[:first], taken[:first]), x[first:], taken[first:]) for x in (plain, whole)]
    weights = _fit(whole, taken)
    slope = weights[1]
    if losses[0] - losses[1] < MIN_GAIN or slope < MIN_SLOPE:
        return {}
    offsets = dict(zip(groups, weights[3:], strict=True))
    mean = math.fsum(offsets[group] * counts[group] for group in groups) / len(rows)
    # The mean of all suggestions' shifts is 0: each belongs to a language and a place, so each takes half of it.
    return {group: round((mean / 2 - offsets.get(group, 0.0)) / slope, 4) for group in counts}


def _fit(x: Sequence[Sequence[float]], taken: Sequence[bool]) -> list[float]:
    """Return the weights of a logistic regression, by Newton's method. Columns from the fourth on are held small."""
    n = len(x[0])
    weights = [0.0] * n
    for _ in range(N_STEPS):
        held = [1e-3 if at < 3 else HELD for at in range(n)]
        gradient = [-held[at] * weights[at] for at in range(n)]
        hessian = [[held[i] if i == j else 0.0 for j in range(n)] for i in range(n)]
        for row, is_taken in zip(x, taken, strict=True):
            p = _chance(weights, row)
            rest, spread = is_taken - p, max(p * (1 - p), 1e-6)
            present = [at for at in range(n) if row[at]]
            for i in present:
                gradient[i] += rest * row[i]
                for j in present:
                    hessian[i][j] += spread * row[i] * row[j]
        step = _solved(hessian, gradient)
        weights = [weight + max(-2.0, min(2.0, change)) for weight, change in zip(weights, step, strict=True)]
        if max(map(abs, step)) < 1e-6:
            break
    return weights


def _loss(weights: Sequence[float], x: Sequence[Sequence[float]], taken: Sequence[bool]) -> float:
    """Return the mean negative log likelihood, in nats."""
    chances = (_chance(weights, row) for row in x)
    return -math.fsum(math.log(p if is_taken else 1 - p) for p, is_taken in zip(chances, taken, strict=True)) / len(x)


def _chance(weights: Sequence[float], row: Sequence[float]) -> float:
    odds = math.fsum(weight * value for weight, value in zip(weights, row, strict=True))
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, odds))))


def _solved(matrix: list[list[float]], right: Sequence[float]) -> list[float]:
    """Return the solution of a positive definite system, by elimination."""
    n = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for i in range(n):
        for j in range(i + 1, n):
            factor = rows[j][i] / rows[i][i]
            rows[j] = [b - factor * a for a, b in zip(rows[i], rows[j], strict=True)]
    found = [0.0] * n
    for i in reversed(range(n)):
        found[i] = (rows[i][n] - sum(rows[i][j] * found[j] for j in range(i + 1, n))) / rows[i][i]
    return found
