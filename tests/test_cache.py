"""A finished middle is found again where the user types along it, and nowhere else. ``‸`` is the cursor."""

from __future__ import annotations

import dataclasses

import pytest

from midfill import cache
from midfill.cache import Middle, MiddleCache
from midfill.types import Snapshot
from tests.support import at

STORED = at("x = ‸\ny = 2\n")


def rest(buffer: str | Snapshot, answered_by: str = "model", *, middle: str = "add(1, 2)") -> str | None:
    known = MiddleCache()
    known.store(STORED, "model", Middle(middle, "stop"))
    found = known.lookup(at(buffer) if isinstance(buffer, str) else buffer, answered_by)
    return found.text if found else None


@pytest.mark.parametrize(
    ("buffer", "text"),
    [
        ("x = ‸\ny = 2\n", "add(1, 2)"),
        ("x = a‸\ny = 2\n", "dd(1, 2)"),
        ("x = add(1, 2‸\ny = 2\n", ")"),
        ("x = add(1, 2)‸\ny = 2\n", None),  # nothing left
        ("x = add(1, 2) ‸\ny = 2\n", None),
        ("x = b‸\ny = 2\n", None),  # something else was typed
        ("x =‸\ny = 2\n", None),  # before the place
        ("x = a‸\ny = 3\n", None),  # the suffix changed
        ("x = a‸)\ny = 2\n", None),
        ("z = a‸\ny = 2\n", None),  # the prefix changed
    ],
)
def test_typed_through(buffer: str, text: str | None) -> None:
    assert rest(buffer) == text


def test_who_answered_matters() -> None:
    assert rest("x = ‸\ny = 2\n", "model with an adapter") is None


def test_typed_further_than_it_is_looked_back() -> None:
    middle = "a" * (cache.MAX_TYPED + 2)
    near, far = ("x = " + "a" * n + "‸\ny = 2\n" for n in (cache.MAX_TYPED, cache.MAX_TYPED + 1))
    assert rest(near, middle=middle) == "aa"
    assert rest(far, middle=middle) is None


def test_the_nearest_place_answers() -> None:
    known = MiddleCache()
    known.store(at("x = a‸"), "model", Middle("bc", "stop"))
    known.store(at("x = ‸"), "model", Middle("abd", "stop"))
    found = known.lookup(at("x = ab‸"), "model")
    assert found is not None
    assert found.text == "c"


def test_the_least_recently_used_goes_first() -> None:
    known = MiddleCache(size=2)
    known.store(at("a‸"), "model", Middle("1", "stop"))
    known.store(at("b‸"), "model", Middle("2", "stop"))
    assert known.lookup(at("a‸"), "model")
    known.store(at("c‸"), "model", Middle("3", "stop"))
    assert [known.lookup(at(f"{name}‸"), "model") is not None for name in "abc"] == [True, False, True]


def test_a_large_file_is_not_kept() -> None:
    """128 entries of a 50 MB file would fill the memory."""
    text = "x = 1\n" * 1_000_000
    snapshot = dataclasses.replace(STORED, text=text, cursor=3_000_000)
    known = MiddleCache()
    known.store(snapshot, "model", Middle("add", "stop"))
    (place,) = known._entries
    assert len(place.before) + len(place.after) <= 2 * cache.WINDOW
    assert known.lookup(snapshot, "model") == Middle("add", "stop")
    assert known.lookup(dataclasses.replace(snapshot, text=text[6:], cursor=2_999_994), "model") is None
