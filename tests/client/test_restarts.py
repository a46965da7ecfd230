"""Failures are counted until an engine has run well for a minute; after eight in a row no engine is started
automatically."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from midfill.client import restarts, spawn
from midfill.client.adapters import Wary
from midfill.client.link import EngineLink
from midfill.client.restarts import BACKOFF_S, MAX_FAILURES, STEADY_S, Restarts
from midfill.config import Config
from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.suspects import MAX_SUSPECTS, SUSPECT_S, Suspects, WorkLog, digest, unfinished
from midfill.types import EngineStatus
from tests.support import Clock


@pytest.mark.parametrize(
    ("ready_for", "n_failures"),
    [
        ([None] * 3, 3),  # it never came up
        ([1.0, 59.0, 30.0], 3),
        ([1.0, 61.0], 1),  # the last one did well: what was before is forgotten, its own end counts
        ([61.0, 1.0, None], 3),
        ([None] * 7 + [3600.0, 5.0], 2),
    ],
)
def test_what_counts(ready_for: list[float | None], n_failures: int) -> None:
    clock = Clock()
    subject = Restarts(clock)
    for seconds in ready_for:
        if seconds is not None:
            subject.ready()
            clock.now += seconds / 2
            subject.ready()  # again and again, with each status
            clock.now += seconds / 2
        else:
            clock.now += 2 * STEADY_S  # loading takes its time, and is no success
        subject.lost()
    assert subject.n_failures == n_failures


def test_waits_grow_to_a_minute_and_then_it_is_over() -> None:
    subject, waits = Restarts(Clock()), []
    while not subject.is_over:
        subject.lost()
        waits.append(subject.wait_s)
    assert waits == [*BACKOFF_S, 60.0]
    assert len(waits) == MAX_FAILURES
    subject.once_more()
    assert not subject.is_over
    subject.lost()
    assert subject.is_over


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Engines that cannot be started, and the number of attempts."""
    tries: list[int] = []

    async def find_or_spawn(config: Config) -> Any:
        tries.append(1)
        raise EngineError("the engine crashed (SIGSEGV)", "run: midfill doctor")

    monkeypatch.setattr(spawn, "find_or_spawn", find_or_spawn)
    monkeypatch.setattr(restarts, "BACKOFF_S", (0.001,))
    return tries


async def until(what: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not what():
            await asyncio.sleep(0.005)


async def test_given_up_with_the_reason_and_tried_again_when_asked(failing: list[int]) -> None:
    statuses: list[EngineStatus] = []
    link = EngineLink(Config(), statuses.append)
    link.start()
    await until(lambda: link.status.state == "off")
    assert len(failing) == MAX_FAILURES
    assert link.status.message == "the engine failed 8 times: the engine crashed (SIGSEGV)"
    assert link.status.remedy.startswith("run: midfill doctor; it is tried again when you ask for a suggestion by hand")
    assert [status.state for status in statuses] == ["starting", "error", "off"]
    await asyncio.sleep(0.1)
    assert len(failing) == MAX_FAILURES  # by itself it stays off
    assert await link.wait_ready(30) is None  # a request by hand
    await until(lambda: link.status.state == "off")
    assert len(failing) == MAX_FAILURES + 1
    link.configure(Config(max_tokens=7))  # a setting
    await until(lambda: len(failing) == MAX_FAILURES + 2 and link.status.state == "off")
    await link.aclose()


async def test_while_it_is_tried_a_request_by_hand_changes_nothing(
    failing: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restarts, "BACKOFF_S", (60.0,))
    link = EngineLink(Config(), lambda status: None)
    link.start()
    await until(lambda: failing)
    for _ in range(5):
        await link.wait_ready(0.02)
    assert len(failing) == 1
    await link.aclose()


# ---- prompts of which an engine died ---------------------------------------------------------------------------------


def test_what_was_not_finished_is_known_to_the_next_engine(tmp_path: Path) -> None:
    work = WorkLog(tmp_path / "w")
    work.begin(1, (1, 2, 3))
    work.begin(2, (4,))
    work.begin(3, (5,))
    work.end(2)
    work.end(2)
    work.end(99)
    assert unfinished(tmp_path / "w") == sorted([digest((1, 2, 3)), digest((5,))])
    work.end(1)
    work.begin(4, (6,))  # rows are used again
    assert unfinished(tmp_path / "w") == sorted([digest((6,)), digest((5,))])
    assert (tmp_path / "w").stat().st_mode & 0o777 == 0o600
    work.close()
    assert unfinished(tmp_path / "w") == []


def test_more_work_than_rows_is_no_error(tmp_path: Path) -> None:
    work = WorkLog(tmp_path / "w")
    for key in range(200):
        work.begin(key, (key,))
    for key in range(200):
        work.end(key)
    assert unfinished(tmp_path / "w") == []


@pytest.mark.parametrize("content", [b"", b"\xff" * 5000, b"a" * 32, b"{}", b"." * 33])
def test_a_damaged_work_log_accuses_nothing_that_was_asked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w").write_bytes(content)
    assert set(unfinished(tmp_path / "w")) <= {"a" * 32}


def test_suspects_are_bounded_and_expire(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("midfill.engine.suspects.time.monotonic", clock)
    subject, other = Suspects(tmp_path / "s"), Suspects(tmp_path / "s")
    assert (1,) not in subject
    for token in range(MAX_SUSPECTS + 10):
        clock.now += 1
        subject.add([digest((token,))])
    assert [token for token in range(MAX_SUSPECTS + 10) if (token,) in other] == list(range(10, MAX_SUSPECTS + 10))
    clock.now += SUSPECT_S - 5
    assert [token for token in range(MAX_SUSPECTS + 10) if (token,) in other] == list(range(69, MAX_SUSPECTS + 10))
    clock.now = 3.0  # the machine was started anew
    assert (MAX_SUSPECTS,) not in other


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": "b"}', "\x00", "[" * 100_000])
def test_a_damaged_list_of_suspects_is_empty(tmp_path: Path, content: str) -> None:
    (tmp_path / "s").write_text(content)
    assert (1,) not in Suspects(tmp_path / "s")


def test_a_list_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    subject = Suspects(tmp_path / "not there" / "s")
    subject.add(["a" * 32])
    assert (1,) not in subject
    work = WorkLog(tmp_path / "not there" / "w")
    work.begin(1, (1,))
    work.end(1)
    work.close()


async def test_a_front_end_does_not_send_a_suspect(tmp_path: Path) -> None:
    from midfill.engine.http import HttpEngine

    suspects = Suspects(tmp_path / "s")
    suspects.add([digest((1, 2))])
    engine = HttpEngine("http://127.0.0.1:9", token="t")
    wary = Wary(engine, suspects)
    with pytest.raises(EngineError, match="crashed on this prompt"):
        await anext(wary.stream(GenerateRequest((1, 2))))
    with pytest.raises(EngineError, match="does not answer"):  # any other is sent
        await anext(wary.stream(GenerateRequest((1, 2, 3))))
    await engine.aclose()
