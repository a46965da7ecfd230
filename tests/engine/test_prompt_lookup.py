"""Which tokens are drafted: those that followed the longest equal run the last time."""

from __future__ import annotations

import random

import pytest

from midfill.engine.local.sequence.prompt_lookup import CAREFUL, LONGEST, SHORTEST, Drafter


@pytest.mark.parametrize(
    ("ids", "others", "drafted"),
    [
        ([5, 1, 2, 7, 9, 1, 2, 8, 5, 1, 2], [], [7, 9]),  # three agree there, two where they stood last
        ([1, 2, 7, 9, 1, 2, 8, 0, 1, 2], [], [8, 0]),  # as many: the last time
        ([1, 2, 7, 9, 1, 2], [[1, 2, 3, 4]], [7, 9]),  # as many: its own
        ([1, 2, 7, 5, 1, 2], [[5, 1, 2, 3, 4]], [3, 4]),
        ([5, 1, 2], [[5, 1, 2, 3, 4], [5, 1, 2, 6]], [3, 4]),  # the latest answer
        ([5, 1, 2], [[0, 5, 1, 2]], []),  # nothing stood after it
        ([1, 1, 1, 1], [], [1]),
        ([1, 2], [[7, 1, 2, 3]], [3]),  # no longer than itself
        ([2], [[1, 2, 3]], []),
        ([], [[1, 2, 3]], []),
    ],
)
def test_where_it_is_copied_from(ids: list[int], others: list[list[int]], drafted: list[int]) -> None:
    assert Drafter(others).draft(ids, 2) == drafted


def test_more_than_the_longest_run_make_no_difference() -> None:
    run = list(range(100, 100 + LONGEST))
    ids = [1, 2, *run, 7, 3, *run, 8, 1, 2, *run]
    assert Drafter().draft(ids, 1) == [8]


def test_careful_after_drafts_that_were_wrong() -> None:
    drafter = Drafter([[5, 1, 2, 3]])
    for _ in range(2):
        assert drafter.draft([9, 1, 2], 1) == [3]
        drafter.learn(1, 0)
    assert drafter.draft([9, 1, 2], 1) == []
    assert drafter.draft([5, 1, 2], 1) == [3]
    assert SHORTEST < CAREFUL == 3
    drafter.learn(1, 1)
    assert drafter.draft([9, 1, 2], 1) == [3]


def test_as_the_plainest_search_finds_it() -> None:
    """Every place compared with the end, one after the other."""
    chance = random.Random(1)
    for _ in range(300):
        sources = [[chance.randrange(3) for _ in range(chance.randrange(2, 40))] for _ in range(3)]
        ids = sources[0]
        best, expected = SHORTEST - 1, list[int]()
        for source in sources:
            for end in range(len(source) - 1, 0, -1):
                n = 0
                while n < min(end, LONGEST, len(ids)) and source[end - 1 - n] == ids[-1 - n]:
                    n += 1
                if n > best:
                    best, expected = n, source[end : end + 3]
        assert Drafter(sources[1:]).draft(ids, 3) == expected
