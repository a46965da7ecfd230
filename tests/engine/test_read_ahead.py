"""Prompts that the engine only reads: the next request finds them in the slot, and nothing waits for that. Counts, no
times."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.local.engine import LocalEngine
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.threads import MIN_FREE, STALE_S, Threads
from tests.engine.made import save_tiny
from tests.engine.test_engine import running, stats_of, whole
from tests.engine.test_threads import Machine

PIECE = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("qwen2", tmp_path_factory.mktemp("models") / "tiny-qwen")


@pytest.fixture
async def engine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalEngine]:
    monkeypatch.setattr(Threads, "is_crowded", False)  # whatever else this machine does
    async with running(str(folder), dtype="float32") as engine:
        assert engine.status.state == "ready", engine.status
        engine.thread.scheduler.shared_chunk = PIECE
        yield engine


def prompt(n_prefix: int, n_suffix: int, *, typed: int = 0) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return a prompt with text on both sides of the cursor, after ``typed`` more tokens, and the place of its
    suffix."""
    prefix = [1 + i * i * 7 % 290 for i in range(n_prefix)] + [5 + i for i in range(typed)]
    suffix = [3 + i * 11 % 270 for i in range(n_suffix)]
    start = len(prefix) + 1
    return (*prefix, 300, *suffix, 301), (start, start + n_suffix)


def reading(ids: tuple[int, ...], suffix: tuple[int, int] | None = None, **settings: Any) -> GenerateRequest:
    return GenerateRequest(ids, 1, suffix=suffix, window="a", background=True, prefill_only=True, **settings)


def asking(ids: tuple[int, ...], suffix: tuple[int, int] | None = None) -> GenerateRequest:
    return GenerateRequest(ids, 4, suffix=suffix, window="a")


async def test_the_request_finds_all_of_it_read(engine: LocalEngine) -> None:
    ids, _suffix = prompt(100, 60)
    plain, _ = await whole(engine, asking(ids))
    other = prompt(90, 50, typed=8)[0]
    text, last = await whole(engine, reading(other))
    assert (text, last.finish_reason, stats_of(last).n_decoded) == ("", "length", 0)
    said, last = await whole(engine, asking(other))
    assert (stats_of(last).n_prompt, stats_of(last).n_cached) == (len(other), len(other) - 1)
    assert plain
    assert said
    totals = engine.figures()["totals"]
    assert (totals["n_read"], totals["n_requests"]) == (1, 2)  # reading is nobody's request


async def test_the_answer_is_the_same(engine: LocalEngine, folder: Path) -> None:
    ids, _ = prompt(120, 40)
    await whole(engine, reading(ids))
    warm, _ = await whole(engine, asking(ids))
    async with running(str(folder), dtype="float32") as cold:
        assert warm == (await whole(cold, asking(ids)))[0]


@pytest.mark.parametrize("typed", [1, 3])
async def test_the_next_keys_need_only_a_handful_of_tokens(engine: LocalEngine, typed: int) -> None:
    await whole(engine, reading(*prompt(150, 80)))
    ids, suffix = prompt(150, 80, typed=typed)
    _, last = await whole(engine, asking(ids, suffix))
    stats = stats_of(last)
    assert stats.n_prompt - stats.n_cached <= typed + 2  # what was typed, and the sentinels around the suffix


async def test_what_is_read_already_ends_at_once(engine: LocalEngine) -> None:
    ids, _ = prompt(60, 20)
    await whole(engine, asking(ids))
    n_steps = watched(engine)
    _, last = await whole(engine, reading(ids))
    assert last.finish_reason == "length"
    assert n_steps == []


def watched(engine: LocalEngine) -> list[int]:
    """The tokens of each step from now on."""
    steps: list[int] = []
    forward = engine.thread.runner.forward

    def noted(batch: list[Rows], *arguments: Any) -> Any:
        steps.append(sum(len(rows.ids) for rows in batch))
        return forward(batch, *arguments)

    engine.thread.runner.forward = noted  # type: ignore[method-assign, assignment]
    return steps


@pytest.mark.parametrize("same", [True, False])
async def test_a_request_waits_for_no_more_than_a_layer(engine: LocalEngine, same: bool) -> None:
    """The request comes during the third piece. The engine stops that piece before its end and reads the request
    next."""
    ids, _ = prompt(200, 60)
    other = ids if same else prompt(40, 20, typed=30)[0][::-1]
    loop, forward = asyncio.get_running_loop(), engine.thread.runner.forward
    steps: list[tuple[bool, bool]] = []  # of each: whether it was of the reading, whether it came to its end
    asked: list[asyncio.Task[tuple[str, Delta]]] = []

    def noted(batch: list[Rows], *arguments: Any) -> Any:
        is_reading = engine.thread.scheduler.running[0].asked.prefill_only
        if len(steps) == 2:
            loop.call_soon_threadsafe(lambda: asked.append(asyncio.create_task(whole(engine, asking(other)))))
            while not any(not one.asked.prefill_only for one in engine.thread.scheduler.waiting):
                pass  # it has come when this step begins
        steps.append((is_reading, False))
        answer = forward(batch, *arguments)
        steps[-1] = is_reading, True
        return answer

    engine.thread.runner.forward = noted  # type: ignore[method-assign, assignment]
    _, last = await whole(engine, reading(ids))
    _, answered = await asked[0]
    assert steps[:3] == [(True, True), (True, True), (True, False)]
    first_after = next(i for i, (is_reading, _) in enumerate(steps[3:]) if is_reading) if not same else 1
    assert not any(is_reading for is_reading, _ in steps[3 : 3 + first_after])
    assert first_after >= 1
    if same:
        assert stats_of(answered).n_cached >= 2 * PIECE  # what was read is of use
    assert last.finish_reason == "length"  # and it is read to its end afterwards


async def test_it_gives_way_to_background_work_too(engine: LocalEngine) -> None:
    ids, _ = prompt(200, 60)
    order: list[str] = []

    async def follow(name: str, request: GenerateRequest) -> None:
        await whole(engine, request)
        order.append(name)

    read = asyncio.create_task(follow("reading", reading(ids)))
    await asyncio.sleep(0)
    await asyncio.gather(read, follow("ahead", replace(asking(prompt(30, 10)[0]), background=True)))
    assert order == ["ahead", "reading"]


async def test_closing_the_stream_stops_it_and_frees_the_slot(engine: LocalEngine) -> None:
    ids, _ = prompt(300, 100)
    task = asyncio.create_task(whole(engine, reading(ids)))
    while not any(slot.busy for slot in engine.thread.slots.slots):
        await asyncio.sleep(0.001)
    task.cancel()
    while any(slot.busy for slot in engine.thread.slots.slots) or engine.thread.scheduler.waiting:
        await asyncio.sleep(0.001)
    assert engine.figures()["totals"].get("n_unread", 0) + engine.figures()["totals"].get("n_read", 0) == 1


async def test_beside_a_busy_machine_nothing_is_read(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Threads, "is_crowded", True)
    steps = watched(engine)
    _, last = await whole(engine, reading(prompt(50, 20)[0]))
    assert (last.finish_reason, steps) == ("cancelled", [])
    _, last = await whole(engine, asking(prompt(50, 20)[0]))
    assert last.finish_reason == "length"


@pytest.mark.parametrize(
    ("cores", "others", "crowded"),
    [
        (2, 0.0, False),
        (2, 1.0, False),
        (2, 1.9, True),
        (1, 0.1, False),
        (1, 0.9, True),
        (16, 8.0, False),
        (16, 16, True),
    ],
)
def test_how_busy_a_machine_is(cores: int, others: float, crowded: bool) -> None:
    machine = Machine()
    subject = Threads(cores, lambda: machine.busy, lambda: machine.mine, lambda: machine.now)
    assert not subject.is_crowded  # nothing is known
    for _ in range(2):
        subject.adjust()
        machine.run(0.3, others, min(0.1, cores - others))
    subject.adjust()
    assert subject.is_crowded is crowded
    machine.run(STALE_S + 1, others, 0.0)
    assert not subject.is_crowded  # that was long ago
    assert 0 < MIN_FREE <= 1
