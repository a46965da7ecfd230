"""One fraction over all stages of a start: it never falls, is 1 only at the end, and tells the seconds left."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from midfill import starting
from midfill.starting import _STAGES, StartProgress
from tests.support import Clock

FIRST = [
    ("", 2), ("starting", 4), ("assembling", 3), ("reading", 1), ("converting", 9), ("writing", 2), ("quantising", 4),
    ("writing the tokenizer", 0.2), ("writing", 0.1), ("checking what was prepared", 1), ("building the model", 1),
    ("loading", 2), ("building the model", 0.5), ("compiling", 22), ("checking", 1), ("loading the adapter", 1),
    ("connecting", 1),
]  # fmt: skip
NEXT: list[tuple[str, float]] = [
    ("", 2),
    ("starting", 4),
    ("loading", 2),
    ("checking", 1),
    ("loading the adapter", 1),
    ("connecting", 1),
]
NAMES = st.sampled_from([stage for stage, _, _ in _STAGES] + ["fetching a/b", "made up", "merging"])
FRACTIONS = st.one_of(st.none(), st.floats(-1, 2), st.just(float("nan")))


@given(st.lists(st.tuples(NAMES, FRACTIONS, st.floats(0, 100))), st.dictionaries(NAMES, st.floats(0, 3600)))
def test_it_never_falls(reports: list[tuple[str, float | None, float]], took: dict[str, float]) -> None:
    clock = Clock(0.0)
    subject, before = StartProgress(took, clock), 0.0
    for stage, fraction, seconds in reports:
        subject.report(stage, fraction)
        for _ in range(2):
            assert before <= subject.fraction < 1
            assert subject.left_s >= 0
            before = subject.fraction
            clock.now += seconds
    again = subject.done()
    assert (subject.fraction, subject.left_s) == (1.0, 0.0)
    assert all(value >= 0 for value in again.values())


def run(
    stages: Sequence[tuple[str, float]], took: dict[str, float], *, told: bool
) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """(part of the time that is over, the fraction shown) at every quarter of a stage, and what was learned."""
    clock, seen = Clock(0.0), []
    subject, total = StartProgress(took, clock), sum(seconds for _, seconds in stages)
    for stage, seconds in stages:
        for quarter in range(4):
            subject.report(stage, quarter / 4 if told else 0.0)
            seen.append((clock.now / total, subject.fraction))
            clock.now += seconds / 4
    return seen, subject.done()


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(("stages", "near"), [(FIRST, 0.2), (NEXT, 0.5)])
def test_it_moves_with_time(stages: Sequence[tuple[str, float]], near: float, told: bool) -> None:
    """Within ``near`` by the table; once a start was seen, the next one like it is told far better."""
    seen, took = run(stages, {}, told=told)
    assert max(abs(is_over - shown) for is_over, shown in seen) <= near
    again, _ = run(NEXT, took, told=told)
    assert max(abs(is_over - shown) for is_over, shown in again) <= 0.2


def test_it_stands_nowhere_for_long() -> None:
    """A stage that says nothing, and takes far longer than it should, gets on all the same."""
    clock = Clock(0.0)
    subject = StartProgress({}, clock)
    subject.report("compiling", 0.0)
    shown = []
    for _ in range(6):
        shown.append(subject.fraction)
        clock.now += 9.0
    assert all(one < following for one, following in itertools.pairwise(shown))


def test_what_came_once_is_not_waited_for_again() -> None:
    _, took = run(FIRST, {}, told=False)
    first, later = StartProgress({}, Clock(0.0)), StartProgress(took, Clock(0.0))
    assert first.left_s > 30
    assert later.left_s < 15


@pytest.mark.parametrize("content", [None, b"", b"[]", b'{"loading": "x"}', b"{" * 9000, b'{"loading": NaN}', b"\xff"])
def test_what_was_kept(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIDFILL_STATE_DIR", str(tmp_path / "state"))
    assert starting.last() == {}
    if content is None:
        starting.keep({"loading": 1.5})
        assert starting.last() == {"loading": 1.5}
        assert json.loads((tmp_path / "state" / "last-start.json").read_text()) == {"loading": 1.5}
        return
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "last-start.json").write_bytes(content)
    assert starting.last() == {}
