"""Threads by what else the machine is doing; the clocks are made."""

from __future__ import annotations

import pytest
import torch

from midfill.engine import environment
from midfill.engine.local import threads
from midfill.engine.local.threads import Threads


class Machine:
    """A machine on which others use ``others`` cores and we use ``own``."""

    def __init__(self) -> None:
        self.now = self.busy = self.mine = 0.0

    def run(self, seconds: float, others: float, own: float) -> None:
        self.now += seconds
        self.busy += seconds * (others + own)
        self.mine += seconds * own


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", calls.append)
    return calls


@pytest.mark.parametrize(
    ("cores", "others", "wanted"),
    [(2, 0.0, 2), (2, 0.3, 2), (2, 0.9, 1), (2, 2.0, 1), (8, 1.9, 6), (8, 8.0, 1), (1, 3.0, 1)],
)
def test_the_cores_that_are_left(chosen: list[int], cores: int, others: float, wanted: int) -> None:
    machine = Machine()
    subject = Threads(cores, lambda: machine.busy, lambda: machine.mine, lambda: machine.now)
    for _ in range(3):
        subject.adjust()
        machine.run(0.3, others, cores - 0.2)
    assert subject.n == wanted
    assert chosen[-1] == wanted


def test_back_when_it_is_quiet_and_not_at_every_whim(chosen: list[int]) -> None:
    machine = Machine()
    subject = Threads(2, lambda: machine.busy, lambda: machine.mine, lambda: machine.now)
    seen = []
    for others in (0.0, 1.5, 0.5, 0.1, 0.5):
        machine.run(0.3, others, 1.0)
        subject.adjust()
        seen.append(subject.n)
    assert seen == [2, 1, 1, 2, 2]
    n = len(chosen)
    machine.run(0.01, 2.0, 0.0)
    subject.adjust()  # too early to look again
    assert len(chosen) == n


def test_where_the_machine_does_not_tell(chosen: list[int]) -> None:
    subject = Threads(4, lambda: None)
    subject.adjust()
    subject.adjust()
    assert chosen == [4]


def test_the_real_machine() -> None:
    busy = threads.machine_busy_s()
    assert busy is None or busy > 0
    assert threads.n_cores() >= 1


def test_the_user_has_the_last_word() -> None:
    given = {"OMP_WAIT_POLICY": "ACTIVE", "GLIBC_TUNABLES": "x"}
    env = dict(given)
    environment.complete(env)
    assert env == given
    env = {}
    environment.complete(env)
    assert env.keys() == {"GOMP_SPINCOUNT", "GLIBC_TUNABLES"}
