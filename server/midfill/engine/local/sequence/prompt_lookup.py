"""Prompt lookup: drafts for verification, copied from where the same few tokens occurred before.

Saxena 2023, "Prompt Lookup Decoding"; the n-gram variant of speculative decoding (Leviathan et al. 2023,
arXiv:2211.17192). Code repeats itself: names, calls and whole lines come back. A wrong draft costs a little time,
but never changes the answer.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_DRAFT = 12
FIRST_DRAFT = 4
# Tokens that must agree before a draft is copied. The place with the longest agreement wins; longer
# runs are not compared further.
SHORTEST, LONGEST = 2, 16
CAREFUL = 3  # the shortest agreement after drafts that were all wrong


class Drafter:
    """Drafts for one generation from its own tokens and from ``others``, the latest first."""

    def __init__(self, others: Sequence[Sequence[int]] = ()) -> None:
        self._others = [other for other in others if other]
        self._length = FIRST_DRAFT
        self._n_wrong = 0  # wrong drafts in a row

    def draft(self, ids: Sequence[int], limit: int) -> list[int]:
        """Return at most ``limit`` tokens that may follow ``ids``: those that followed the last place with the longest
        agreement; of equally long ones, its own tokens come first."""
        limit = min(limit, self._length)
        n = (SHORTEST if self._n_wrong < 2 else CAREFUL) - 1
        found: list[int] = []
        for source in (ids, *self._others):
            end, n_same = _longest(source, ids, n)
            if n_same > n:
                n, found = n_same, list(source[end : end + limit])
        return found

    def learn(self, n_drafted: int, n_accepted: int) -> None:
        """Adapt the length of the next draft after ``n_accepted`` of ``n_drafted`` tokens were right."""
        if n_accepted == n_drafted:
            self._length = min(MAX_DRAFT, self._length * 2)
        elif n_accepted * 2 < n_drafted:
            self._length = max(2, self._length // 2)
        self._n_wrong = self._n_wrong + 1 if n_accepted == 0 else 0


def _longest(source: Sequence[int], ids: Sequence[int], least: int) -> tuple[int, int]:
    """Return where in ``source`` the longest run ends that ``ids`` also end with, and how long it is. At
    least one token must follow it.

    (0, ``least``) if no run is longer than ``least``.
    """
    best, n_best = 0, least
    if len(ids) < SHORTEST:
        return best, n_best
    last, before = ids[-1], ids[-2]
    for at in range(len(source) - 2, 0, -1):
        if source[at] != last or source[at - 1] != before:
            continue
        n = SHORTEST
        while n < min(LONGEST, at + 1, len(ids)) and source[at - n] == ids[-1 - n]:
            n += 1
        if n > n_best:
            best, n_best = at + 1, n
            if n == LONGEST:
                break
    return best, n_best
