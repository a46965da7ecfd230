"""Confidence: which lines are weak, what is learned from outcomes, and the bound on how much is hidden."""

from __future__ import annotations

import math

import pytest

from midfill.postprocess import AdaptiveThresholds, PostProcessor
from midfill.postprocess.confidence import DEFAULTS, MAX_HIDDEN, REACH, Lines, Thresholds, learn
from tests.support import at

LIMITS = Thresholds(-1.0, -0.5)
Pieces = list[tuple[str, tuple[float, ...]]]


def lines(pieces: Pieces) -> Lines:
    found = Lines()
    for text, logprobs in pieces:
        found.push(text, logprobs)
    return found


@pytest.mark.parametrize(
    ("pieces", "finished", "weak"),
    [
        ([("a", (-0.1,)), (" b\n", (-0.2,)), ("c", (-0.1,))], True, None),
        ([("a", (-2.0,))], False, None),  # it may get better
        ([("a", (-2.0,))], True, 0),
        ([("a", (-2.0,)), (" + b", (-0.1, -0.1))], True, None),
        ([("a", (-1.5,))] * 8, False, 0),  # enough of it is there
        ([("a\n", (-0.7,)), ("b\n", (-0.7,))], False, 1),  # a later line has to be surer
        ([("a\nb\n", (-0.1, -0.1, -2.0, -2.0))], False, 1),  # several tokens at once
        ([("\n", ()), ("a", (-2.0,))], True, 1),  # the first line with tokens is the first
        ([("a", (math.nan,))], True, None),  # not told
        ([], True, None),
    ],
)
def test_weak_lines(pieces: Pieces, finished: bool, weak: int | None) -> None:
    assert lines(pieces).first_weak(LIMITS, finished=finished) == weak


def test_confidence_is_that_of_the_first_line() -> None:
    assert lines([]).confidence is None
    assert lines([("a\n", (-1.0,)), ("b", (-9.0,))]).confidence == pytest.approx(math.exp(-1.0))


class Fixed(AdaptiveThresholds):
    @property
    def thresholds(self) -> Thresholds:
        return LIMITS


@pytest.mark.parametrize(
    ("pieces", "shown", "reason"),
    [
        ([("x = ", (-0.1,)), ("1\n", (-0.1,))], "x = 1", ""),
        ([("x = ", (-3.0,)), ("1\n", (-3.0,))], "", "weak"),
        ([("x = 1\n", (-0.1,)), ("    y = 2\n", (-3.0,))], "x = 1", "weak"),
        ([("if x:\n", (-0.1,)), ("        y = 2\n", (-3.0,))], "if x:", "weak"),
    ],
)
def test_a_weak_line_ends_a_suggestion(pieces: Pieces, shown: str, reason: str) -> None:
    processor, raw = PostProcessor(at("def f(x):\n    ‸\n"), gate=Fixed("automatic")), ""
    for text, logprobs in pieces:
        raw += text
        processor.note(text, logprobs)
    assert processor.ends(raw) == reason
    assert processor.shown(raw, finished=True) == shown
    assert ("confidence" in {applied.rule for applied in processor.applied}) is bool(reason)
    off = PostProcessor(at("def f(x):\n    ‸\n"), off=["confidence"], gate=Fixed("automatic"))
    for text, logprobs in pieces:
        off.note(text, logprobs)
    assert off.ends(raw) == ""
    assert off.shown(raw, finished=True) == raw.rstrip()


HALF = math.log(0.5)
SURE, UNSURE = -0.05, -1.0


@pytest.mark.parametrize(
    ("pieces", "doubt"),
    [
        ([("return", (SURE,)), (" a", (SURE,)), (" + b", (UNSURE,))], 8),
        ([("return", (-0.3,)), (" a", (-0.3,)), (" + b", (-0.3,))], 8),  # the three together
        ([("\n", (SURE,)), ("    return", (SURE,)), (" a", (UNSURE,))], 11),  # the first line that has text
        ([("a\n", (SURE,)), ("b", (UNSURE,))], None),  # later lines are judged as wholes
        ([("a", (SURE,)), ("\n", (UNSURE,))], 1),  # whether the line ends there
        ([("a", (math.nan,)), (" b", (SURE,))], None),
        ([("a", ())], None),
    ],
)
def test_where_the_first_line_is_in_doubt(pieces: Pieces, doubt: int | None) -> None:
    found = Lines()
    for text, logprobs in pieces:
        found.push(text, logprobs, least=HALF)
    assert found.doubt == doubt


def test_several_tokens_in_a_piece_have_their_own_places() -> None:
    shared, told = Lines(), Lines()
    shared.push("return a", (SURE, UNSURE), least=HALF)
    told.push("return a", (SURE, UNSURE), (0, 6), least=HALF)
    assert (shared.doubt, told.doubt) == (4, 6)
    told.push("(b)", (SURE,), (0,), least=HALF)
    assert told.doubt == 6  # the first one stays
    assert told.confidence == pytest.approx(math.exp(SURE))  # of what is shown


class Half(AdaptiveThresholds):
    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(-2.0, -2.0, HALF)


@pytest.mark.parametrize(
    ("buffer", "language", "sure", "doubtful", "shown"),
    [
        ("def f(a):\n    ‸\n", "python", "return a", " + b", "return a"),
        ("def f(a):\n    ‸\n", "python", "return self.pro", "ducts", "return self."),  # whole words only
        ("x = ‸\n", "python", "add(", "b)", "add("),  # not closed: the user goes on inside
        ("x = ‸\n", "python", 'add(a, "the ', 'b")', "add(a,"),  # no half strings
        ("x = ‸\n", "python", "add(a, f'{", "b}')", "add(a,"),
        ("x = ‸\n", "python", "add(a, 'b')", ", c", "add(a, 'b')"),
        ("x = ‸\n", "javascript", "a + `${", "b}`", "a +"),
        ("x = 'one ‸'\n", "python", "two ", "three", "two"),  # in a string, its words
        ("// one ‸\n", "go", "two", " three", "two"),
        ("x = ‸\n", "python", "", "a", ""),
        ("x = ‸\n", "python", "(", "a)", ""),  # no word
        ("def f(xs):\n‸    for x in xs:\n        y\n", "python", "    total", " = 0", ""),  # before code: a whole line
        ("print(‸)\n", "python", "a)", "\nb", "a"),  # past its end no doubt matters
    ],
)
def test_a_doubt_ends_the_first_line(buffer: str, language: str, sure: str, doubtful: str, shown: str) -> None:
    snapshot = at(buffer, language=language)
    processor = PostProcessor(snapshot, gate=Half("automatic"))
    if sure:
        processor.note(sure, (SURE,))
    processor.note(doubtful, (UNSURE,))
    assert processor.ends(sure + doubtful)
    assert processor.shown(sure + doubtful, finished=True) == shown
    whole = PostProcessor(snapshot, ["confidence"], Half("automatic"))
    whole.note(sure + doubtful, (SURE, UNSURE))
    assert whole.shown(sure + doubtful, finished=True) != shown or doubtful.startswith("\n")


def test_a_growing_word_waits_for_its_end() -> None:
    processor = PostProcessor(at("x = ‸\n"), gate=Half("automatic"))
    seen = list[str]()
    for piece in ("ware", "house", ".pro", "ducts", "(", "'a", "'", ")"):
        processor.note(piece, (SURE,))
        seen.append(processor.sure("".join(("ware", "house", ".pro", "ducts", "(", "'a", "'", ")")[: len(seen) + 1])))
    assert seen[:5] == ["", "", "warehouse.", "warehouse.", "warehouse.products("]
    assert seen[5] == seen[4]  # not a half string


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], -1.2),
        ([(0.9, True)] * 30, -1.2),  # too few to learn from
        ([(0.9, True)] * 200, -1.8),  # everything is taken: hide as little as may be
        ([(0.5, False)] * 60 + [(0.9, True)] * 140, -0.6),  # nobody wants those
        ([(0.9, False)] * 200, -0.6),  # nobody wants anything: the reach is the end
        ([(0.3, True), (0.3, True), (0.3, False)] * 20 + [(0.9, True)] * 140, -1.8),
    ],
)
def test_what_is_learned(outcomes: list[tuple[float, bool]], expected: float) -> None:
    assert learn(outcomes, -1.2) == pytest.approx(max(-1.2 - REACH, min(-1.2 + REACH, expected)))


def test_no_more_than_a_part_is_ever_hidden() -> None:
    gate = AdaptiveThresholds("automatic")
    assert gate.thresholds == DEFAULTS["automatic"]
    values = [math.exp(-2 - i / 100) for i in range(100)]  # all of them weak by the default
    for value in values:
        gate.note(value)
    hidden = sum(math.log(value) < gate.thresholds.first for value in values)
    assert 0 < hidden <= MAX_HIDDEN * len(values)
