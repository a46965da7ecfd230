"""Which request is next: windows take turns, each with its newest request, and none waits for background work."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from midfill.engine.base import GenerateRequest
from midfill.engine.local.forward.attention import ROWWISE
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.request import Request, RunningRequest
from midfill.engine.local.scheduler import QUEUED_EVERY, SHARED_CHUNK, Scheduler
from midfill.engine.local.sequence.generation import PREFILL_CHUNK
from midfill.engine.local.sequence.kv_cache import Slot

_times = itertools.count()


class FakeGeneration:
    """Holds how much of the prompt is still to be read."""

    def __init__(self, n_pending: int) -> None:
        self.n_pending = n_pending


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Office:
    """A scheduler, and requests by name: ``A1`` is window A's first."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.scheduler = Scheduler()
        self._loop = loop
        self._names: dict[int, str] = {}

    def come(self, *names: str, n: int = 1, **settings: Any) -> list[Request]:
        """Add requests that wait from now on."""
        requests = []
        for name in names:
            window = "" if name[0] == "-" else name[0]
            request, out = GenerateRequest((1, 2), n=n, window=window, **settings), asyncio.Queue[Any]()
            arrived = float(next(_times))
            requests += [Request(request, self._loop, out, None, index, arrived=arrived) for index in range(n)]
            self._names |= {id(one): name + "." * one.index for one in requests[-n:]}
        self.scheduler.add(requests)
        return requests

    def run(self, name: str, n_pending: int, adapter: str = "", **settings: Any) -> RunningRequest:
        """Add a request that runs."""
        (request,) = self.come(name, **settings)
        self.scheduler.withdraw(request)
        if adapter:
            wanted = Adapter(adapter, (), "", 1, 1.0, adapter, {})
            self._names[id(with_adapter := dataclasses.replace(request, adapter=wanted))] = name
            request = with_adapter
        return self._begin(request, n_pending)

    def _begin(self, request: Request, n_pending: int) -> RunningRequest:
        running = RunningRequest(request, Slot(), FakeGeneration(n_pending), None)  # type: ignore[arg-type]
        self.scheduler.run(running)
        return running

    def start(self, n_free: int, n_pending: int = 1) -> list[str]:
        """Return the request that is given a slot; it then runs."""
        started = self.scheduler.start(n_free)
        for request in started:
            if not request.cancelled.is_set():
                self._begin(request, n_pending)
        return [self._names[id(request)] for request in started]

    def end(self, *names: str) -> None:
        """End these requests."""
        for running in [one for one in self.scheduler.running if self.name(one) in names]:
            self.scheduler.end(running)

    def read(self) -> str:
        """Return the request whose prompt is read next."""
        ((name, *_),) = self.step()
        return name

    def name(self, one: Request | RunningRequest) -> str:
        """Return the name of a request in this file."""
        return self._names[id(one.request if isinstance(one, RunningRequest) else one)]

    def step(self) -> list[tuple[str, int, int]]:
        """Evaluate the next batch and return it."""
        batch = self.scheduler.batch()
        self.scheduler.turn([running for running, _, _ in batch])
        return [(self.name(running), limit, drafts) for running, limit, drafts in batch]


@pytest.fixture
def office(loop: asyncio.AbstractEventLoop) -> Office:
    return Office(loop)


def test_of_a_window_the_newest_first(office: Office) -> None:
    office.come("A1", "A2", "A3")
    assert office.start(2) == ["A3", "A2"]
    office.come("A4")
    assert office.start(2) == ["A4", "A1"]


def test_those_that_do_not_say_whose_they_are_come_in_order(office: Office) -> None:
    office.come("-1", "-2", "-3")
    assert office.start(2) == ["-1", "-2"]


def test_windows_take_turns(office: Office) -> None:
    office.come("A1", "A2", "A3", "A4", "B1", "C1", "B2")
    assert [office.start(1)[0][0] for _ in range(7)] == ["B", "C", "A", "B", "A", "A", "A"]


def test_a_window_that_asks_all_the_time_does_not_keep_others_waiting(office: Office) -> None:
    office.come("A1")
    assert office.start(1) == ["A1"]
    office.come("B1")
    office.come("A2", "A3", "A4")
    office.end("A1")
    assert office.start(1) == ["B1"]


def test_windows_in_turn_also_right_after_idleness(office: Office) -> None:
    office.come("A1")
    office.start(4)
    office.come("A2", "B1", "A3")
    assert office.start(1) == ["B1"]


def test_turns_are_forgotten_when_nobody_is_there(office: Office) -> None:
    office.come("A1")
    office.start(1)
    office.end("A1")
    assert office.start(4) == []
    assert office.scheduler._served == {}


def test_background_only_when_nobody_waits(office: Office) -> None:
    office.come("A1", background=True)
    office.come("B1")
    assert office.start(4) == ["B1"]
    assert office.start(4) == []
    office.end("B1")
    assert office.start(4) == ["A1"]


def test_background_alone_so_that_slots_stay_free(office: Office) -> None:
    office.come("A1", "B1", "C1", "D1", background=True)
    assert len(office.start(4)) == 1
    assert office.start(3) == []
    office.come("E1")
    assert office.start(3) == ["E1"]
    office.end("E1", "D1")
    assert len(office.start(4)) == 1


def test_background_stands_still_while_somebody_waits(office: Office) -> None:
    office.run("A1", 500, background=True)
    assert office.step() == [("A1", PREFILL_CHUNK, ROWWISE)]
    office.run("B1", 100)
    assert [office.step()[0][0] for _ in range(3)] == ["B1", "B1", "B1"]
    office.end("B1")
    assert office.step()[0][0] == "A1"


def test_a_person_does_not_queue_behind_background(office: Office) -> None:
    office.come("A1", "A2", background=True)
    (gone,) = office.come("B1")
    gone.cancelled.set()
    assert office.scheduler.n_before(GenerateRequest((1,))) == 0
    assert office.scheduler.n_before(GenerateRequest((1,), background=True)) == 2
    office.come("B2")
    assert office.scheduler.n_before(GenerateRequest((1,))) == 1


@pytest.mark.parametrize("n_free", [0, 1])
def test_the_cancelled_leave_whether_a_slot_is_free_or_not(office: Office, n_free: int) -> None:
    office.come("A1")
    (gone,) = office.come("B1")
    gone.cancelled.set()
    assert office.start(n_free) == ["B1", "A1"][: 1 + n_free]
    assert gone not in office.scheduler.waiting
    assert len(office.scheduler.running) == n_free


def test_further_candidates_wait_until_the_first_has_read_the_prompt(office: Office) -> None:
    office.come("A1", n=3)
    assert office.start(4, n_pending=300) == ["A1"]
    assert office.start(3) == []
    office.scheduler.running[0].generation.n_pending = 1  # type: ignore[misc]
    assert office.start(3) == ["A1.", "A1.."]


def test_further_candidates_do_not_wait_for_a_first_one_that_is_gone(office: Office) -> None:
    first, *_ = office.come("A1", n=3)
    first.cancelled.set()
    assert office.start(0) == ["A1"]
    assert office.start(4) == ["A1.", "A1.."]


def test_all_that_decode_go_together_and_share_the_drafts(office: Office) -> None:
    for name in ("A1", "B1"):
        office.run(name, 1)
    office.run("C1", 1, speculate=False)
    drafts = ROWWISE // 3 - 1
    assert office.step() == [("A1", 1, drafts), ("B1", 1, drafts), ("C1", 1, 0)]


def test_a_prompt_is_read_in_smaller_pieces_while_others_decode(office: Office) -> None:
    office.run("A1", 900)
    assert office.step() == [("A1", PREFILL_CHUNK, ROWWISE)]
    office.run("B1", 1)
    assert office.step() == [("B1", 1, ROWWISE - 1), ("A1", SHARED_CHUNK, 0)]


@pytest.mark.parametrize(
    ("people", "n_read"), [(("", "", ""), 2), (("ann", "ben", "cy"), 16), (("ann", "ann", "ben"), 16)]
)
def test_an_answer_comes_first_where_prompts_of_one_person_queue_up(
    office: Office, people: tuple[str, str, str], n_read: int
) -> None:
    for name, person, n_pending in zip(("A1", "B1", "C1"), people, (1, 900, 900), strict=True):
        office.run(name, n_pending, person=person)
    steps = [[name for name, *_ in office.step()] for _ in range(2 * QUEUED_EVERY)]
    assert all("A1" in step for step in steps)
    assert sum("C1" in step or "B1" in step for step in steps) == n_read


def test_a_prompt_is_read_to_its_end_before_the_next(office: Office) -> None:
    for name in ("A1", "B1", "C1"):
        office.run(name, 900)
    assert [office.read() for _ in range(4)] == ["C1"] * 4
    office.run("D1", 900)
    assert office.read() == "C1"
    office.end("C1")
    assert [office.read() for _ in range(3)] == ["D1"] * 3
    office.end("D1")
    assert office.read() == "B1"


def test_the_window_typed_in_last_is_read_next_but_leaves_none_behind(office: Office) -> None:
    office.run("A1", 900)
    office.run("B1", 900)
    order = []
    for number in range(2, 6):  # A is typed in all the time
        order.append(office.read())
        office.end(order[-1])
        office.run(f"A{number}", 900)
    assert order[:2] == ["B1", "A2"]
    office.run("C1", 900)
    assert office.read() == "C1"


def test_a_window_that_waits_is_read_before_another_comes_again(office: Office) -> None:
    office.run("B1", 900)
    office.run("A1", 900)
    assert office.read() == "A1"
    office.end("A1")
    office.run("A2", 900)
    assert office.read() == "B1"


def test_a_short_rest_goes_between_two_pieces_of_a_long_prompt(office: Office) -> None:
    office.run("A1", 900)
    assert office.read() == "A1"
    office.run("B1", SHARED_CHUNK)
    office.run("C1", SHARED_CHUNK)
    assert [office.read() for _ in range(3)] == ["C1", "A1", "C1"]
    office.end("C1")
    assert [office.read() for _ in range(4)] == ["A1", "B1", "A1", "B1"]


def test_people_take_turns_whoever_asks_more(office: Office) -> None:
    office.run("A1", 900, person="ann")
    office.run("B1", 900, person="ben")
    order = []
    for number in range(2, 8):
        order.append(office.read())
        office.end(order[-1])
        office.run(f"{order[-1][0]}{number}", 900, person={"A": "ann", "B": "ben"}[order[-1][0]])
        office.run(f"A9{number}", 900, person="ann")
    assert [name[0] for name in order] == ["B", "A", "B", "A", "B", "A"]


def test_prompts_of_several_adapters_are_read_to_their_ends_too(office: Office) -> None:
    office.run("A1", 900, "x")
    office.run("B1", 900)
    assert [office.read() for _ in range(3)] == ["B1"] * 3
    office.run("C1", 1, "x")
    assert [[name for name, *_ in office.step()] for _ in range(4)] == [["B1"], ["C1"], ["B1"], ["C1"]]
    office.end("B1")
    assert [name for name, *_ in office.step()] == ["C1", "A1"]


def test_what_comes_later_gets_the_slot_of_one_that_would_be_read_after_it(office: Office) -> None:
    for name in ("A1", "B1", "C1"):
        office.run(name, 900).n_steps = 0
    assert office.read() == "C1"
    assert office.scheduler.displaced() is None
    office.come("D1")
    one = office.scheduler.displaced()
    assert one is not None
    assert office.name(one) == "A1"
    office.scheduler.put_back(one)
    assert office.start(1, 900) == ["D1"]
    assert office.scheduler.displaced() is None  # the oldest waits: nothing came after those that hold slots


@pytest.mark.parametrize(
    "settings", [{"n_steps": 1}, {"n_pending": SHARED_CHUNK}, {"person": "ann"}, {"background": True}]
)
def test_a_slot_in_use_is_not_taken(office: Office, settings: dict[str, Any]) -> None:
    n_steps, n_pending = settings.pop("n_steps", 0), settings.pop("n_pending", 900)
    office.run("A1", n_pending, **settings).n_steps = n_steps
    office.come("B1")
    assert office.scheduler.displaced() is None


def test_given_up_as_soon_as_it_cannot_be_read_in_time(office: Office) -> None:
    (waits,) = office.come("A1", within_s=10.0)
    reads = office.run("B1", 500, within_s=10.0)
    says = office.run("C1", 1, within_s=10.0)
    says.first_token = 1.0
    office.run("D1", 10_000)
    office.come("E1", n=2)  # whoever said no time waits
    start = reads.request.arrived

    def late(seconds: float) -> list[str]:
        return [office.name(one) for one in office.scheduler.late(start + seconds)]

    assert late(9.0) == []
    office.scheduler.read(64, 64 * 0.01)
    office.scheduler.read(64, 64 * 0.02)  # the faster counts: nothing is given up that might have come
    assert late(4.9) == []
    assert late(5.1) == ["B1"]
    assert late(10.1) == ["A1", "B1"]
    assert waits.deadline < reads.request.deadline


def test_one_alone_is_never_given_up(office: Office) -> None:
    """A slow machine may need longer than the user waits; its result is in the slot for the next request."""
    office.run("A1", 900, within_s=1.0)
    office.come("B1", background=True)
    (gone,) = office.come("C1", within_s=1.0)
    gone.cancelled.set()
    assert office.scheduler.late(1e9) == []


def test_where_none_can_be_in_time_the_one_that_is_read_goes_on(office: Office) -> None:
    office.run("A1", 900, within_s=1.0)
    office.run("B1", 900, within_s=1.0)
    assert office.read() == "B1"
    office.run("C1", 900, within_s=1.0)
    assert [office.name(job) for job in office.scheduler.late(1e9)] == ["A1", "C1"]
    office.end("B1")
    assert [office.name(job) for job in office.scheduler.late(1e9)] == ["A1"]


def test_one_that_comes_too_late_slows_no_answer(office: Office) -> None:
    office.run("A1", 1).first_token = 1.0
    office.run("B1", 900, within_s=1.0)
    assert ["B1" in [name for name, *_ in office.step()] for _ in range(3)] == [True] * 3
    assert office.scheduler.late(1e9) == []
    steps = [[name for name, *_ in office.step()] for _ in range(2 * QUEUED_EVERY)]
    assert all("A1" in step for step in steps)
    assert sum("B1" in step for step in steps) == 2


def test_further_candidates_are_not_given_up_apart_from_the_first(office: Office) -> None:
    office.run("B1", 900)
    office.come("A1", n=2, within_s=1.0)
    assert [office.name(one) for one in office.scheduler.late(1e9)] == ["A1"]


def test_adapters_take_turns(office: Office) -> None:
    for name, adapter in (("A1", "x"), ("B1", ""), ("C1", "x"), ("D1", "y")):
        office.run(name, 1, adapter)
    assert [[name for name, *_ in office.step()] for _ in range(5)] == [
        ["A1", "C1"], ["B1"], ["D1"], ["A1", "C1"], ["B1"],
    ]  # fmt: skip


def test_nobody_there(office: Office) -> None:
    assert office.start(4) == []
    assert office.step() == []
