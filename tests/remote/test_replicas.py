"""Several replicas: which one is asked, which one is left out, and that no request is sent twice."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator

import pytest
from starlette.responses import JSONResponse, Response

from midfill.engine.base import BadRequestError, Delta, EngineError, GenerateRequest
from midfill.remote.errors import BadKeyError, BusyError
from midfill.remote.replicas import LONGEST_PAUSE_S, MAX_FAILURES, Breaker, Replica, Replicas, ranked
from tests.remote.conftest import Connect, text_of
from tests.remote.mocks import Mock, running
from tests.support import Clock

REQUEST = GenerateRequest((1, 2, 3), 8, session="s")
DOWN = EngineError("down", "start it")


class Said:
    """An engine that says ``steps`` in turn: a text, an error, or seconds of silence."""

    def __init__(self, *steps: str | float | EngineError) -> None:
        self.steps, self.n_asked, self.n_closed = steps, 0, 0

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.n_asked += 1
        try:
            for step in self.steps:
                if isinstance(step, EngineError):
                    raise step
                if isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    yield Delta(step)
            yield Delta("", "stop")
        finally:
            self.n_closed += 1

    async def aclose(self) -> None:
        pass


def pair(first: Said, second: Said, clock: Clock | None = None, **options: object) -> Replicas:
    """Return two replicas; ``first`` is asked first for REQUEST."""
    one, other = ranked(["a", "b"], REQUEST.session)
    clock = clock or Clock()
    return Replicas([Replica(one, first, clock), Replica(other, second, clock)], **options)  # type: ignore[arg-type]


async def ask(replicas: Replicas) -> list[Delta]:
    return [delta async for delta in replicas.stream(REQUEST)]


async def said(replicas: Replicas) -> str:
    return "".join(delta.text for delta in await ask(replicas))


def test_a_file_stays_on_its_replica() -> None:
    names = [f"r{n}" for n in range(5)]
    sessions = [f"s{n}" for n in range(400)]
    before = {session: ranked(names, session)[0] for session in sessions}
    assert before == {session: ranked(names[::-1], session)[0] for session in sessions}
    share = [list(before.values()).count(name) for name in names]
    assert min(share) > 40  # of 80 each
    after = {session: ranked(names[:-1], session)[0] for session in sessions}
    assert all(after[session] == before[session] for session in sessions if before[session] != names[-1])


@pytest.mark.parametrize(
    ("first", "second", "text", "asked"),
    [
        (("ab",), ("cd",), "ab", (1, 0)),
        ((DOWN,), ("cd",), "cd", (1, 1)),
        ((0.0, DOWN), ("cd",), "cd", (1, 1)),
        ((BusyError("busy", "wait", 9.0),), ("cd",), "cd", (1, 1)),
        ((BadKeyError("key", "mend it"),), ("cd",), "cd", (1, 1)),
    ],
)
async def test_failover_before_the_first_token(
    first: tuple[str, ...], second: tuple[str, ...], text: str, asked: tuple[int, int]
) -> None:
    one, other = Said(*first), Said(*second)
    assert await said(pair(one, other)) == text
    assert (one.n_asked, other.n_asked) == asked


async def test_no_failover_after_it() -> None:
    one, other = Said("ab", DOWN), Said("cd")
    stream = pair(one, other).stream(REQUEST)
    assert (await anext(stream)).text == "ab"
    with pytest.raises(EngineError, match="down"):
        await anext(stream)
    assert other.n_asked == 0


async def test_a_mistake_of_ours_is_made_once() -> None:
    one, other = Said(BadRequestError("no", "no")), Said("cd")
    with pytest.raises(BadRequestError):
        await said(pair(one, other))
    assert other.n_asked == 0


async def test_a_first_token_that_does_not_come_leaves_time_for_the_other() -> None:
    one, other = Said(60.0, "ab"), Said("cd")
    assert await said(pair(one, other, deadline_s=0.4)) == "cd"
    assert one.n_closed == 1  # and is not left running


async def test_the_deadline_cuts() -> None:
    """The text so far is an answer that was cut short, not one that broke off."""
    deltas = await ask(pair(Said("ab", 60.0, "cd"), Said("ef"), deadline_s=0.3))
    assert [(delta.text, delta.finish_reason) for delta in deltas] == [("ab", None), ("", "length")]


async def test_the_deadline_cuts_every_candidate() -> None:
    """A candidate that broke off does not count as a whole one."""
    replicas = pair(Said("ab", 60.0, "cd"), Said("ef"), deadline_s=0.3)
    deltas = [delta async for delta in replicas.stream(dataclasses.replace(REQUEST, n=3))]
    assert [(delta.index, delta.finish_reason) for delta in deltas if delta.finish_reason] == [
        (0, "length"), (1, "length"), (2, "length"),
    ]  # fmt: skip


async def test_nothing_by_the_deadline() -> None:
    with pytest.raises(EngineError, match=r"sent nothing for") as caught:
        await said(pair(Said(60.0), Said(60.0), deadline_s=0.2))
    assert "engine_deadline_s" in caught.value.remedy


async def test_nothing_is_retried_after_the_user_typed_on() -> None:
    one, other = Said(60.0), Said("cd")
    asking = asyncio.ensure_future(said(pair(one, other, deadline_s=50.0)))
    await asyncio.sleep(0.02)
    asking.cancel()
    await asyncio.wait([asking])
    assert (one.n_asked, one.n_closed, other.n_asked) == (1, 1, 0)


async def test_a_failing_replica_is_left_alone_and_tried_again() -> None:
    clock, failing, other = Clock(), Said(DOWN), Said("cd")
    replicas = pair(failing, other, clock)
    for _ in range(MAX_FAILURES + 5):
        assert await said(replicas) == "cd"
    assert failing.n_asked == MAX_FAILURES
    clock.now += 2.1
    await said(replicas)
    assert failing.n_asked == MAX_FAILURES + 1  # one attempt, which failed
    await said(replicas)
    assert failing.n_asked == MAX_FAILURES + 1
    failing.steps = ("ab",)
    clock.now += LONGEST_PAUSE_S
    assert await said(replicas) == "ab"
    assert await said(replicas) == "ab"


async def test_one_attempt_at_a_time() -> None:
    clock, slow, other = Clock(), Said(DOWN), Said("cd")
    replicas = pair(slow, other, clock)
    for _ in range(MAX_FAILURES):
        await said(replicas)
    clock.now += 2.1
    slow.steps = (60.0,)
    attempt = asyncio.ensure_future(said(replicas))
    await asyncio.sleep(0.02)
    assert await said(replicas) == "cd"
    assert slow.n_asked == MAX_FAILURES + 1
    attempt.cancel()  # without a verdict
    await asyncio.wait([attempt])
    slow.steps = ("ab",)
    assert await said(replicas) == "ab"


def test_who_asks_to_be_left_alone_is() -> None:
    clock = Clock()
    replica = Replica("a", Said("x"), clock)
    replica.note(BusyError("busy", "wait", 7.0))
    assert not replica.may_be_asked
    clock.now += 6.9
    assert not replica.may_be_asked
    clock.now += 0.2
    assert replica.may_be_asked


def test_pauses_grow_and_end() -> None:
    clock = Clock()
    breaker, pauses = Breaker(clock), []
    for _ in range(MAX_FAILURES):
        breaker.failed()
    for _ in range(8):
        start = clock.now
        while not breaker.lets_through:
            clock.now += 0.5
        pauses.append(clock.now - start)
        breaker.failed()
    assert pauses == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    breaker.succeeded()
    assert breaker.lets_through


async def test_without_a_replica_the_answer_comes_at_once() -> None:
    clock = Clock()
    one, other = Said(DOWN), Said(DOWN)
    replicas = pair(one, other, clock)
    for _ in range(MAX_FAILURES):
        with pytest.raises(EngineError):
            await said(replicas)
    with pytest.raises(EngineError, match="down"):
        await said(replicas)
    assert (one.n_asked, other.n_asked) == (MAX_FAILURES, MAX_FAILURES)
    assert replicas.problem is not None
    assert replicas.problem.remedy == "start it"


@pytest.mark.parametrize(("first", "text"), [((DOWN,), "local"), (("ab",), "ab"), (("ab", DOWN), None)])
async def test_the_local_engine_answers_where_no_replica_does(first: tuple[str, ...], text: str | None) -> None:
    replicas = pair(Said(*first), Said(DOWN), fallback=Said("local"))
    if text is None:
        with pytest.raises(EngineError):
            await said(replicas)
    else:
        assert await said(replicas) == text


# ---- over real sockets ---------------------------------------------------------------------------------------------


def once_ready(answer: Response) -> Mock:
    """Answer the probing requests, and none after them."""
    mock = Mock()
    mock.fault = lambda _n: answer if mock.asked else None
    return mock


async def test_one_of_two_is_killed_in_mid_stream(connected: Connect) -> None:
    """The stream that ran there ends with an error; the next request is answered by the other one."""
    mocks = Mock(says={"": "x" * 300}, pace_s=0.01), Mock(says={"": "y"})
    async with running(*mocks), connected(*mocks) as remote:
        sessions = (f"s{n}" for n in range(100))
        session = next(s for s in sessions if ranked([mock.host for mock in mocks], s)[0] == mocks[0].host)
        request = GenerateRequest(tuple(mocks[0].tokenizer.encode("q")), 300, session=session)
        stream = remote.engine.stream(request)
        assert (await anext(stream)).text
        mocks[0].cut_after = 0
        with pytest.raises(EngineError, match="broke off"):
            async for _ in stream:
                pass
        assert await text_of(remote, request) == "y"


@pytest.mark.parametrize(
    "answer", [JSONResponse({}, 500), JSONResponse({}, 429, {"Retry-After": "30"}), JSONResponse({}, 401)]
)
async def test_a_replica_that_fails_later(answer: Response, connected: Connect) -> None:
    failing, other = once_ready(answer), Mock(says={"": "y"})
    async with running(failing, other), connected(failing, other) as remote:
        for n in range(12):
            request = GenerateRequest(tuple(other.tokenizer.encode("q")), 8, session=f"s{n}")
            assert await text_of(remote, request) == "y"
    assert 0 < len(failing.asked) <= MAX_FAILURES


async def test_slow_first_token_over_the_wire(connected: Connect) -> None:
    slow, other = Mock(says={"": "x"}), Mock(says={"": "y"})
    async with running(slow, other), connected(slow, other, engine_deadline_s=2.0) as remote:
        slow.delay_s = 60.0
        for n in range(4):
            request = dataclasses.replace(REQUEST, prompt=tuple(other.tokenizer.encode("q")), session=f"s{n}")
            assert await text_of(remote, request) == "y"
        assert slow.n_running == 0
