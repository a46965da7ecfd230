"""A night of training by a clock of the test: it waits, gives way, goes on, and keeps to its budget."""

from __future__ import annotations

import pytest

from midfill.train import night
from midfill.train.night import Limits, NightOutcome, spend

HOUR = 3600.0
LIMITS = Limits(budget_s=HOUR, quiet_s=300.0, patience_s=12 * HOUR)


class World:
    """A clock that goes on while the night sleeps, and what happens by it."""

    def __init__(self, *busy: tuple[float, float], jumps: dict[float, float] | None = None, ends: float = 1e9) -> None:
        """``busy``: from when to when somebody works; ``jumps``: seconds that the clock is off by from a moment on;
        ``ends``: seconds of training after which there is a verdict."""
        self.t = 0.0  # what really passed while the machine ran
        self._busy, self._jumps, self._ends = busy, jumps or {}, ends
        self.runs: list[list[float]] = []  # from when to when it trained
        self.is_running = False
        self.is_free = True
        self.verdict_at_stop: int | None = None

    def clock(self) -> float:
        return self.t + sum(by for at, by in self._jumps.items() if at <= self.t)

    def sleep(self, seconds: float) -> None:
        self.t += seconds
        if self.is_running:
            self.runs[-1][1] = self.t

    def reason(self) -> str:
        return "somebody works" if any(start <= self.t < end for start, end in self._busy) else ""

    def start(self) -> bool:
        assert not self.is_running
        self.is_running = self.is_free
        if self.is_free:
            self.runs.append([self.t, self.t])
        return self.is_free

    def status(self) -> int | None:
        if self.trained < self._ends:
            return None
        self.is_running = False
        return 0

    def stop(self) -> int | None:
        assert self.is_running
        self.is_running = False
        return self.verdict_at_stop

    @property
    def trained(self) -> float:
        return sum(end - start for start, end in self.runs)

    def spend(self, limits: Limits = LIMITS) -> NightOutcome:
        return spend(self, self.reason, limits, clock=self.clock, sleep=self.sleep)


def test_a_whole_night() -> None:
    """The evening is busy; somebody comes back once; the machine sleeps for three hours in the middle of training."""
    world = World((0, 2 * HOUR), (2.5 * HOUR, 2.75 * HOUR), jumps={3 * HOUR: 3 * HOUR})
    ended = world.spend()
    assert (ended.why, ended.status, ended.n_stops) == ("budget", None, 2)
    first, second, third = world.runs
    assert 2 * HOUR + 300 <= first[0] <= 2 * HOUR + 300 + 2 * night.WAIT_LOOK_S
    assert 2.5 * HOUR <= first[1] <= 2.5 * HOUR + night.LOOK_S  # gives way at the next look
    assert 2.75 * HOUR + 300 <= second[0] <= 2.75 * HOUR + 300 + 2 * night.WAIT_LOOK_S
    assert 3 * HOUR <= second[1] <= 3 * HOUR + night.LOOK_S  # when a machine wakes up, somebody may be there
    assert third[0] >= 3 * HOUR + 300
    assert world.trained == pytest.approx(HOUR, abs=3 * night.LOOK_S)  # the hours of sleep are none of training
    assert ended.trained_s == pytest.approx(world.trained, abs=3 * night.LOOK_S)
    assert not world.is_running


@pytest.mark.parametrize("by", [-HOUR, HOUR, 30 * HOUR])
def test_a_clock_that_is_set_takes_and_gives_nothing(by: float) -> None:
    world = World(jumps={1000.0: by})
    ended = world.spend()
    assert ended.why == "budget"
    assert world.trained == pytest.approx(HOUR, abs=3 * night.LOOK_S)


def test_the_verdict_ends_it() -> None:
    world = World(ends=600)
    ended = world.spend()
    assert (ended.why, ended.status, ended.n_stops) == ("done", 0, 0)
    assert ended.trained_s == pytest.approx(600, abs=2 * night.LOOK_S)


def test_a_verdict_that_came_while_it_was_stopped_counts() -> None:
    world = World((1000, 2000))
    world.verdict_at_stop = 2
    ended = world.spend()
    assert (ended.why, ended.status, len(world.runs)) == ("done", 2, 1)


def test_a_night_in_which_somebody_always_works_ends() -> None:
    world = World((0, 1e9))
    ended = world.spend()
    assert (ended.why, ended.trained_s, world.runs) == ("patience", 0, [])
    assert world.t == pytest.approx(LIMITS.patience_s, abs=2 * night.WAIT_LOOK_S)


def test_short_pauses_are_no_idleness() -> None:
    world = World(*((at, at + 60) for at in range(0, int(12 * HOUR), 300)))  # four minutes of quiet, never five
    assert world.spend().why == "patience"
    assert world.runs == []


def test_it_waits_while_another_one_trains() -> None:
    world = World()
    world.is_free = False
    assert world.spend().why == "patience"
    assert world.runs == []


def test_whatever_goes_wrong_nothing_runs_on() -> None:
    world = World()

    def reason() -> str:
        if world.is_running and world.trained > 10:
            raise KeyboardInterrupt  # the system ends the service
        return ""

    with pytest.raises(KeyboardInterrupt):
        spend(world, reason, LIMITS, clock=world.clock, sleep=world.sleep)
    assert world.trained > 10
    assert not world.is_running
