"""Prompt lookup: drafts for verification, copied from where the same few tokens stood before.

Saxena 2023, "Prompt Lookup Decoding"; the n-gram variant of speculative decoding (Leviathan et al. 2023,
arXiv:2211.17192). Code repeats itself: names, calls and whole lines come back. A wrong draft costs a little time, never
another answer.
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_DRAFT = 12
FIRST_DRAFT = 4
LONGEST, SHORTEST = 4, 2  # tokens that must agree before a draft is copied


class Drafter:
    """Drafts for one generation from its own tokens and from ``others``, the latest of which come first."""

    def __init__(self, others: Sequence[Sequence[int]] = ()) -> None:
        self._others = [other for other in others if other]
        self._length = FIRST_DRAFT
        self._n_wrong = 0  # in a row

    def draft(self, ids: Sequence[int], limit: int) -> list[int]:
        """At most ``limit`` tokens that may follow ``ids``."""
        limit = min(limit, self._length)
        shortest = SHORTEST if self._n_wrong < 2 else LONGEST
        for n in range(LONGEST, shortest - 1, -1):
            if n > len(ids):
                continue
            key = list(ids[-n:])
            for source in (ids, *self._others):
                if found := _after(source, key, limit, own=source is ids):
                    return found
        return []

    def learn(self, n_drafted: int, n_accepted: int) -> None:
        """A draft of ``n_drafted`` had ``n_accepted`` right: the next is longer or shorter."""
        if n_accepted == n_drafted:
            self._length = min(MAX_DRAFT, self._length * 2)
        elif n_accepted * 2 < n_drafted:
            self._length = max(2, self._length // 2)
        self._n_wrong = self._n_wrong + 1 if n_accepted == 0 else 0


def _after(source: Sequence[int], key: list[int], limit: int, *, own: bool) -> list[int]:
    """What followed ``key`` in ``source`` the last time; its end is the key itself where ``own``."""
    first, n = key[0], len(key)
    at = len(source) - n - (1 if own else 0)
    while at >= 0:
        if source[at] == first and list(source[at : at + n]) == key:
            found = list(source[at + n : at + n + limit])
            if found:
                return found
        at -= 1
    return []
