"""The knob's table: how much a hasty typist takes, how much is retained, what appears in pauses. ``‸…‸`` is the typed
text."""

from __future__ import annotations

import pytest

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.eval import knob, replay
from midfill.eval.knob import Looks, is_right, looks
from midfill.eval.replay import Habits, Pause, Tally, Typist, glanced
from tests.eval.made import INFO, Oracle, place, typed

HASTY = Habits(waits=True, hasty=True)


@pytest.mark.parametrize(("suggestion", "follows", "wanted"), [
    ("total(x)", "total(x)\n", ("total(x)", 1, "")),
    ("a = 1\nb = 2", "a = 1\nb = 3\n", ("a = 1\nb = ", 2, "2")),  # its first line is right: one word to delete
    ("a = 1\nb = 2\nc\nd", "a = 1\nx\n", ("a = 1\n", 6, "b = 2\nc\nd")),  # three words and two lines
    ("\n    return a\nb", "\n    return a\n\n", ("\n    return a\n", 2, "b")),
    ("numbers.append(x", "numbers.append(y", ("numbers.append(", 2, "x")),  # right for the most part
    ("number(word", "number(other", None),  # too much of it is wrong
    ("abc", "abc", None),  # less than four characters
    ("other", "total", None),
    ("", "x", None),
])  # fmt: skip
def test_what_a_glance_takes(suggestion: str, follows: str, wanted: tuple[str, int, str] | None) -> None:
    found = glanced(suggestion, follows, 4)
    assert (found and (found.text, found.n_presses, found.wrong)) == wanted


async def test_what_was_taken_by_mistake_is_paid_for_and_not_retained() -> None:
    engine = Oracle(lambda prefix: "eturn abcdefghi(x)" if prefix.endswith("r") else "")
    tally, _ = await typed(engine, "‸return abcdefghi(y)‸\n", HASTY)
    assert (tally.n_keys, tally.n_pressed) == (19, 6)  # "r", one press, two words to delete, "y", ")"
    assert (tally.n_accepted, tally.n_chars_accepted, tally.n_chars_wrong) == (1, 18, 2)
    figures = tally.figures()
    assert (figures["kept_30"], figures["kept_300"]) == (0.0, 0.0)  # its line does not stand as it was taken
    assert figures["shown_per_100"] == pytest.approx(200 / 19)  # what was deleted is offered again


async def test_retained_is_looked_at_when_it_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 30 seconds of the session the second line is not there; at the end it is."""
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [20.0] * len(keys))
    engine = Oracle(lambda prefix: "total = 1\n    return 2" if prefix.endswith(":\n    ") else "")
    tally, _ = await typed(engine, "def f():‸\n    total = 1\n    q = 0\n    return 2‸\n", HASTY)
    assert (tally.n_chars_accepted, tally.n_chars_wrong) == (22, 8)
    assert tally.n_kept_30 == pytest.approx(22 * 9 / 17)
    assert tally.n_kept_300 == 22.0


@pytest.mark.parametrize(("gap_s", "n_superseded", "n_asked_of_engine"), [(0.2, 3, 0), (0.5, 0, 3)])
async def test_waiting_for_the_next_key_costs_no_time(
    monkeypatch: pytest.MonkeyPatch, gap_s: float, n_superseded: int, n_asked_of_engine: int
) -> None:
    """Quiet waits 0.3 s: longer than some gaps, shorter than others. The test does not sleep; the completer's clock is
    put back."""
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [gap_s] * len(keys))
    asked: list[str] = []

    def say(prefix: str) -> str:
        asked.append(prefix)
        return ""

    completer = Completer(Oracle(say), CharRenderer(), INFO, Config(eagerness="quiet"))
    before = completer.clock, completer.sleep
    tally = await Typist(completer, place("‸vwxy‸\n"), Habits(), len).type()
    assert (tally.n_superseded, len(asked)) == (n_superseded, n_asked_of_engine)
    assert (completer.clock, completer.sleep) == before


@pytest.mark.parametrize(("said", "follows", "right"), [
    ("total(x)", "total(y)", True),
    ("tot", "total", True),  # short, and all of it
    ("tab", "total", False),
    ("toast", "total", False),
    ("\n    return", "\n    return a", True),
    ("\n    return", "\n    raise", True),  # its first characters are the line's indentation
    ("a\nother", "a\nb", True),  # the first line
    ("", "x", False),
    (" ", " x", False),
])  # fmt: skip
def test_right(said: str, follows: str, right: bool) -> None:
    assert is_right(said, follows) is right


def test_what_is_seen_in_pauses() -> None:
    """If a quiet run did not ask at a place, the other runs say what would have come; a place that no run knows does
    not count."""
    quiet = [Pause(1, "", None, "total"), Pause(2, "", "wrong", "total"), Pause(3, "total", "total", "total")]
    eager = [Pause(1, "wrong", "wrong", "total"), Pause(2, "wrong", "wrong", "total"), Pause(4, "", None, "total")]
    runs = {
        name: [(place("‸ab‸"), Tally(n_keys=10, pauses=seen))] for name, seen in (("quiet", quiet), ("eager", eager))
    }
    found = looks(runs)
    assert found["quiet"] == Looks(n=3, n_right=1, n_wrong=0, n_nothing=2, n_would_be_wrong=2, n_quiet=2)
    assert found["eager"] == Looks(n=3, n_right=0, n_wrong=2, n_nothing=1, n_would_be_wrong=2, n_quiet=0)
    figures = knob.figures(runs)
    assert (figures["quiet"]["quiet_where_wrong"], figures["eager"]["quiet_where_wrong"]) == (1.0, 0.0)
    assert Looks().quiet is None
    assert knob.table(runs).row_count == 2


async def test_pauses_are_those_in_which_a_person_thinks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [0.1, 0.9, 0.1, 0.1])
    tally, events = await typed(Oracle(lambda prefix: "other(1)"), "‸vwxy‸\n", HASTY)
    assert tally.pauses == [Pause(2, "other(1)", "other(1)", "xy")]
    assert [event["said"] for event in events if event["event"] == "pause"] == ["other(1)"]
