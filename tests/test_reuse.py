"""A finished middle is found again if the user types along it, and nowhere else. ``‸`` is the cursor."""

from __future__ import annotations

import dataclasses

import pytest

from midfill import reuse
from midfill.in_flight import InFlight
from midfill.reuse import MAX_AHEAD, ContextOf, Middle, Reuse, ReuseQuery, is_along
from midfill.types import Snapshot
from tests.support import at

STORED = at("x = ‸\ny = 2\n")


def made(*shown: str, n_asked: int = 1) -> Middle:
    return Middle("raw", "stop", shown, n_asked=n_asked)


def find(
    known: Reuse[InFlight], snapshot: Snapshot, answered_by: str = "model", *, n: int = 1, invoked: bool = False,
    context_of: ContextOf | None = None,
) -> Middle | None:  # fmt: skip
    found = known.find(ReuseQuery(snapshot, answered_by, n, invoked), context_of)
    assert not isinstance(found, InFlight)
    return found


@pytest.mark.parametrize(
    ("texts", "typed", "finished", "growing"),
    [
        (["add(1)"], "", True, True),
        (["add(1)"], "add", True, True),
        (["add(1)"], "add(1)", False, True),  # whole: more may come while it grows
        (["add(1)"], "sub", False, False),
        (["add(1)"], "add(1", True, True),
        (["add", "sub(1)"], "sub", True, True),  # another candidate
        (["add"], "add" + "x" * MAX_AHEAD, False, True),
        (["add"], "add" + "x" * (MAX_AHEAD + 1), False, False),
        ([], "", True, True),
        ([], "a", False, True),
        ([""], "a", False, True),
    ],
)
def test_what_is_typed_along(texts: list[str], typed: str, finished: bool, growing: bool) -> None:
    assert (is_along(texts, typed), is_along(texts, typed, may_grow=True)) == (finished, growing)


def rest(buffer: str | Snapshot, answered_by: str = "model", *, middle: str = "add(1, 2)") -> str | None:
    known = Reuse[InFlight]()
    known.store(STORED, "model", made(middle))
    found = find(known, at(buffer) if isinstance(buffer, str) else buffer, answered_by)
    return found.shown[0] if found else None


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


@pytest.mark.parametrize(
    ("language", "path", "text"),
    [
        ("python", "main.py", "add(1, 2)"),
        ("java", "main.py", None),  # the document's language mode was changed
        ("python", "other.py", None),  # another file that begins alike
        ("typescript", "main.ts", None),
    ],
)
def test_the_language_and_the_path_are_part_of_the_key(language: str, path: str, text: str | None) -> None:
    assert rest(dataclasses.replace(STORED, language=language, path=path)) == text
    assert rest(dataclasses.replace(STORED, uri="file:///elsewhere/main.py", version=9)) == "add(1, 2)"


def test_typed_further_than_it_is_looked_back() -> None:
    middle = "a" * (reuse.MAX_TYPED + 2)
    near, far = ("x = " + "a" * n + "‸\ny = 2\n" for n in (reuse.MAX_TYPED, reuse.MAX_TYPED + 1))
    assert rest(near, middle=middle) == "aa"
    assert rest(far, middle=middle) is None


def test_the_nearest_place_answers() -> None:
    known = Reuse[InFlight]()
    known.store(at("x = a‸"), "model", made("bc"))
    known.store(at("x = ‸"), "model", made("abd"))
    found = find(known, at("x = ab‸"))
    assert found is not None
    assert (found.shown, found.n_typed) == (("c",), 1)


@pytest.mark.parametrize(
    ("buffer", "shown"),
    [
        ("x = ‸\ny = 2\n", ("add(1)", "addition", "b")),
        ("x = add‸\ny = 2\n", ("(1)", "ition")),
        ("x = b‸\ny = 2\n", None),  # the third was typed whole
        ("x = addi‸\ny = 2\n", ("tion",)),
    ],
)
def test_candidates_that_were_not_typed_fall_away(buffer: str, shown: tuple[str, ...] | None) -> None:
    known = Reuse[InFlight]()
    known.store(STORED, "model", made("add(1)", "addition", "b", n_asked=3))
    found = find(known, at(buffer), n=3)
    assert (found and found.shown) == shown


def test_whoever_wants_several_is_not_answered_with_one() -> None:
    known = Reuse[InFlight]()
    known.store(STORED, "model", made("a"))
    assert find(known, STORED, n=3) is None
    assert find(known, STORED, n=1) is not None


@pytest.mark.parametrize(("made_invoked", "invoked", "is_found"), [(0, 0, 1), (1, 0, 1), (0, 1, 0), (1, 1, 1)])
def test_an_invoked_request_is_not_answered_with_an_automatic_middle(
    made_invoked: int, invoked: int, is_found: int
) -> None:
    known = Reuse[InFlight]()
    known.store(STORED, "model", dataclasses.replace(made("a"), invoked=bool(made_invoked)))
    assert (find(known, STORED, invoked=bool(invoked)) is not None) is bool(is_found)


def test_nothing_is_an_answer_at_its_own_place_only() -> None:
    known = Reuse[InFlight]()
    known.store(STORED, "model", made())
    found = find(known, STORED)
    assert found is not None
    assert found.shown == ()
    assert find(known, at("x = r‸\ny = 2\n")) is None


@pytest.mark.parametrize(
    ("age_s", "context", "is_found"),
    [
        (0.0, "as before", True),
        (0.0, "another", True),  # what is being typed along stays
        (reuse.FRESH_S + 1, "as before", True),
        (reuse.FRESH_S + 1, "another", False),
    ],
)
@pytest.mark.parametrize("buffer", ["x = ‸\ny = 2\n", "x = ad‸\ny = 2\n"])
def test_the_context_belongs_to_the_key(buffer: str, age_s: float, context: str, is_found: bool) -> None:
    now = [100.0]
    known = Reuse[InFlight](clock=lambda: now[0])
    known.store(STORED, "model", made("add"), context="as before")
    now[0] += age_s
    asked: list[Snapshot] = []

    def context_of(snapshot: Snapshot) -> str:
        asked.append(snapshot)
        return context

    assert (find(known, at(buffer), context_of=context_of) is not None) is is_found
    assert asked == ([STORED] if age_s else [])  # for the place where it was made, not for what was typed since


def test_typing_along_keeps_it_fresh() -> None:
    now = [0.0]
    known = Reuse[InFlight](clock=lambda: now[0])
    known.store(STORED, "model", made("abcdef"))
    for n in range(5):
        now[0] += reuse.FRESH_S - 1
        assert find(known, at("x = " + "abcdef"[:n] + "‸\ny = 2\n"), context_of=lambda _: "another") is not None


def test_the_least_recently_used_goes_first() -> None:
    known = Reuse[InFlight](size=2)
    known.store(at("a‸"), "model", made("1"))
    known.store(at("b‸"), "model", made("2"))
    assert find(known, at("a‸"))
    known.store(at("c‸"), "model", made("3"))
    assert [find(known, at(f"{name}‸")) is not None for name in "abc"] == [True, False, True]


def test_a_large_file_is_not_kept() -> None:
    """128 entries of a 50 MB file would fill the memory."""
    text = "x = 1\n" * 1_000_000
    snapshot = dataclasses.replace(STORED, text=text, cursor=3_000_000)
    known = Reuse[InFlight]()
    known.store(snapshot, "model", made("add"))
    (place,) = known._finished
    assert len(place.before) + len(place.after) <= 2 * reuse.WINDOW
    assert find(known, snapshot) == made("add")
    assert find(known, dataclasses.replace(snapshot, text=text[6:], cursor=2_999_994)) is None
