"""One knob: each position differs as its name says. ``‸`` is the cursor."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from midfill.battery import EVERY_S, Battery
from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.eagerness import BALANCED, EAGER, LEVELS, QUIET, Knob
from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.postprocess import AcceptanceHabits
from midfill.postprocess.confidence import DEFAULTS
from midfill.trace import Trace, headline, trace_of
from midfill.triggers import Debounce
from midfill.types import Completion, Trigger
from tests.dictated import INFO, scripted
from tests.support import at

NAMES = ("quiet", "balanced", "eager")


def test_the_positions_stand_in_order() -> None:
    assert tuple(LEVELS) == NAMES
    rows = [
        (each.thresholds.first, each.thresholds.later, each.thresholds.total, each.max_hidden, -each.length)
        for each in LEVELS.values()
    ]
    for quieter, other in itertools.pairwise(rows):
        assert all(a > b for a, b in zip(quieter, other, strict=True))
    assert QUIET.debounce > BALANCED.debounce > EAGER.debounce
    assert BALANCED.thresholds == DEFAULTS["automatic"]


class Sure(ScriptedEngine):
    """An engine that gives each token this mean log probability."""

    logprob = -0.1

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.requests = [*getattr(self, "requests", []), request]
        async for delta in super().stream(request):
            values = (self.logprob,) * (2 if delta.text else 0)
            yield replace(delta, logprobs=values)


def sure(text: str, logprob: float, **settings: Any) -> tuple[Completer, Sure]:
    engine = Sure([text])
    engine.logprob = logprob
    return Completer(engine, CharRenderer(), INFO, Config(max_debounce_s=0.0, **settings)), engine


async def last(subject: Completer, buffer: str, trigger: Trigger = "automatic") -> tuple[Completion, Trace]:
    completion = await subject.last(at(buffer), trigger=trigger)
    return completion, trace_of(completion)


@pytest.mark.parametrize(
    ("logprob", "shown_by"),
    [
        (-0.05, NAMES),  # sure
        (-0.8, ("balanced", "eager")),
        (-1.9, ("eager",)),
        (-3.2, ()),  # a guess
    ],
)
@pytest.mark.parametrize("name", NAMES)
async def test_how_sure_it_has_to_be(name: str, logprob: float, shown_by: tuple[str, ...]) -> None:
    subject, _ = sure("add(1)", logprob, eagerness=name)
    completion, trace = await last(subject, "x = ‸\n")
    assert bool(completion.text) is (name in shown_by)
    if not completion.text:
        said = headline(trace)
        more = {"quiet": '"balanced" shows more', "balanced": '"eager" shows more', "eager": "ask by hand"}[name]
        assert "not sure enough" in said
        assert more in said
    invoked, _ = await last(subject, "x = ‸\n", "invoked")
    assert invoked.text == "add(1)"  # what hides it holds only for what comes unasked


BODY = "for value in values:\n        total += value\n    return total\n"


@pytest.mark.parametrize(
    ("name", "lines", "automatic", "invoked"),
    [
        ("quiet", "auto", 1, 3),
        ("balanced", "auto", 3, 3),
        ("eager", "auto", 3, 3),
        ("quiet", "one", 1, 1),
        ("balanced", "one", 1, 1),
        ("eager", "one", 1, 1),
    ],
)
async def test_how_many_lines(name: str, lines: str, automatic: int, invoked: int) -> None:
    for trigger, n_lines in (("automatic", automatic), ("invoked", invoked)):
        subject, engine = sure(BODY, -0.1, eagerness=name, lines=lines)
        engine.chunks = BODY.splitlines(keepends=True)
        completion, _ = await last(subject, "def total(values):\n    total = 0\n    ‸\n", trigger)  # type: ignore[arg-type]
        assert completion.text == "\n".join(BODY.splitlines()[:n_lines])
        assert engine.n_chunks == (1 if n_lines == 1 else 3)  # nothing is decoded that would not be shown


@pytest.mark.parametrize("trigger", ["automatic", "invoked"])
async def test_what_begins_in_another_line_is_no_line_of_its_own(trigger: Trigger) -> None:
    for lines, text, said in (("one", "", 'lines = "auto" shows it'), ("auto", "\n    return 1", "Shown")):
        subject, _ = sure("\n    return 1\n", -0.1, lines=lines)
        completion, trace = await last(subject, "def f():‸\n", trigger)
        assert completion.text == text
        assert said in headline(trace)


@pytest.mark.parametrize(("name", "automatic"), [("quiet", 32), ("balanced", 64), ("eager", 128)])
async def test_how_long(name: str, automatic: int) -> None:
    subject, engine = sure("1", -0.1, eagerness=name)
    await last(subject, "x = ‸\n")
    await last(subject, "y = ‸\n", "invoked")
    assert [request.max_tokens for request in engine.requests] == [automatic, 192]


@pytest.mark.parametrize(
    ("name", "longest_s", "burst_s", "first_s"),
    [
        ("quiet", 0.1, 0.3, 0.3),  # nothing comes before the keys rest
        ("balanced", 0.1, 0.1, 0.0),
        ("eager", 0.1, 0.04, 0.0),
        ("quiet", 0.0, 0.0, 0.0),  # the setting that switches it off does so everywhere
        ("balanced", 0.0, 0.0, 0.0),
        ("eager", 0.0, 0.0, 0.0),
    ],
)
def test_how_long_a_pause_has_to_last(name: str, longest_s: float, burst_s: float, first_s: float) -> None:
    knob, debounce = Knob(lambda: Config(eagerness=name, max_debounce_s=longest_s)), Debounce()
    assert knob.pause(debounce, "a") == pytest.approx(first_s)
    for i in range(5):
        debounce.key("a", i * 0.2)
    debounce.answered(0.05)
    assert knob.pause(debounce, "a") == pytest.approx(burst_s)


async def test_the_completer_waits_as_long_as_the_knob_says() -> None:
    subject, _ = scripted("1", eagerness="quiet")
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    subject.sleep = sleep
    await last(subject, "x = ‸\n")
    await last(subject, "y = ‸\n", "invoked")
    assert waited == [pytest.approx(0.3)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("buffer", "is_comment"), [("x = 1  # the ‸\n", True), ("x = ‸\n", False)])
async def test_where_nothing_comes(name: str, buffer: str, is_comment: bool) -> None:
    subject, _ = sure("answer", -0.05, eagerness=name)
    completion, trace = await last(subject, buffer)
    assert bool(completion.text) is not (is_comment and name == "quiet")
    assert trace.refused == ("" if completion.text else "scope_off")


async def test_turning_it_takes_effect_at_once() -> None:
    """What was hidden, or cut, at one position is not taken out of the cache for another."""
    subject, engine = sure("add(1)", -0.8)
    for name, text, n_requests in (
        ("quiet", "", 1),
        ("balanced", "add(1)", 2),
        ("quiet", "", 2),
        ("eager", "add(1)", 3),
    ):
        subject.config = Config(max_debounce_s=0.0, eagerness=name)
        assert ((await last(subject, "x = ‸\n"))[0].text, engine.n_requests) == (text, n_requests)


NOBODY = [(math.exp(-0.9), False)] * 60 + [(0.95, True)] * 140
EVERYBODY = [(math.exp(-0.9), True)] * 200


@pytest.mark.parametrize("outcomes", [[], NOBODY, EVERYBODY])
def test_what_was_learned_moves_every_position_and_keeps_their_order(outcomes: list[tuple[float, bool]]) -> None:
    first = []
    for name in NAMES:
        gate = Knob(lambda: Config(eagerness=name), lambda _trigger: AcceptanceHabits(outcomes)).gate("automatic")  # noqa: B023
        first.append(gate.thresholds.first)
    assert first == sorted(first, reverse=True)
    assert first[0] > first[-1]


# ---- battery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_battery", "settings", "name", "ahead"),
    [
        (False, {}, "balanced", True),
        (True, {}, "quiet", False),
        (True, {"eagerness": "eager"}, "quiet", False),
        (True, {"eagerness": "eager", "quiet_on_battery": False}, "eager", True),
        (False, {"eagerness": "quiet"}, "quiet", True),
        (False, {"ahead": False}, "balanced", False),
    ],
)
def test_on_battery(on_battery: bool, settings: dict[str, Any], name: str, ahead: bool) -> None:
    knob = Knob(lambda: Config(**settings), on_battery=lambda: on_battery)
    assert (knob.level.name, knob.ahead) == (name, ahead)


async def test_on_battery_the_reason_is_said() -> None:
    engine = Sure(["add(1)"])
    engine.logprob = -0.9
    subject = Completer(engine, CharRenderer(), INFO, Config(max_debounce_s=0.0), on_battery=lambda: True)
    _, trace = await last(subject, "x = ‸\n")
    assert "quiet_on_battery = false" in headline(trace)


def test_the_battery_is_asked_about_now_and_then() -> None:
    now, answers = [0.0], iter([0.9, None])
    battery = Battery(lambda: next(answers), lambda: now[0], wait=True)
    seen = []
    for now[0] in (0.0, EVERY_S / 2, EVERY_S):
        seen.append(battery.in_use)
    assert seen == [True, True, False]


def test_nobody_waits_for_the_battery() -> None:
    answered, may_answer = threading.Event(), threading.Event()

    def charge() -> float:
        may_answer.wait(20)
        answered.set()
        return 0.5

    battery = Battery(charge)
    assert not battery.in_use
    may_answer.set()
    assert answered.wait(20)
