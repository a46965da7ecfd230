"""A replay that does not depend on the machine: computed time, one answer for every configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.eval import replay
from midfill.eval.pace import Memory, Meter, Pace, Remembering, TooLateError
from midfill.eval.replay import Habits
from tests.eval.made import Oracle, typed

PACED = Habits(pace=Pace(0.2, 0.05))


@pytest.mark.parametrize(("n_tokens", "seconds"), [(0, 0.2), (1, 0.2), (3, 0.3)])
def test_when_it_comes(n_tokens: int, seconds: float) -> None:
    assert Pace(0.2, 0.05).arrival(n_tokens) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("gaps", "n_asked_of_engine", "n_shown", "n_superseded"),
    [
        ([0.1] * 4, 0, 0, 3),  # the next key comes before the first token: the engine is not asked
        ([0.3] * 4, 3, 0, 3),  # before the last one: it was asked for nothing
        ([0.6] * 4, 3, 3, 0),
        ([0.6, 0.1, 0.6, 0.6], 2, 2, 1),
    ],
)
async def test_what_comes_before_the_next_key(
    monkeypatch: pytest.MonkeyPatch, gaps: list[float], n_asked_of_engine: int, n_shown: int, n_superseded: int
) -> None:
    """Five tokens (characters here) take 0.4 s, however fast this machine is."""
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: gaps)
    asked: list[str] = []

    def say(prefix: str) -> str:
        asked.append(prefix)
        return "other"

    tally, _ = await typed(Oracle(say), "‸vwxy‸\n", PACED)
    assert (len(asked), tally.n_shown, tally.n_superseded) == (n_asked_of_engine, n_shown, n_superseded)
    assert tally.shown_s == pytest.approx([0.4] * n_shown)


async def test_what_is_typed_along_goes_on_being_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes 0.4 s: 0.3 are over when the next key comes, the rest is there 0.1 s after that."""
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [0.3] * len(keys))
    tally, _ = await typed(Oracle(lambda prefix: "bcdef" if prefix == "a" else "zz"), "‸abcd‸\n", PACED)
    assert (tally.n_superseded, tally.n_shown, tally.n_decoded) == (1, 1, 5)
    assert tally.shown_s[0] == pytest.approx(0.1)


async def said(engine: Any, max_tokens: int = 100, **more: Any) -> tuple[str, list[str]]:
    request = GenerateRequest((1, 2, 3), max_tokens, logprobs=True, **more)
    deltas: Sequence[Delta] = [delta async for delta in engine.stream(request)]
    return "".join(delta.text for delta in deltas), [delta.finish_reason for delta in deltas if delta.finish_reason]


async def test_an_answer_serves_everybody() -> None:
    memory, inner = Memory(), ScriptedEngine(["a", "b", "c"])
    first, second = Remembering(inner, memory), Remembering(inner, memory)
    assert await said(first) == ("abc", ["stop"])
    assert await said(second) == ("abc", ["stop"])
    assert await said(second, 2) == ("ab", ["length"])
    assert (inner.n_requests, memory.n_short) == (1, 0)
    assert await said(second, forced_prefix="x") != ("", [])
    assert inner.n_requests == 2


async def test_more_than_was_listened_to_is_counted() -> None:
    memory = Memory()
    engine = Remembering(ScriptedEngine(["a", "b", "c"]), memory)
    stream = engine.stream(GenerateRequest((1, 2, 3), 100, logprobs=True))
    assert (await anext(stream)).text == "a"
    await stream.aclose()  # type: ignore[attr-defined]
    assert await said(engine) == ("a", ["length"])
    assert memory.n_short == 1


async def test_an_engine_that_cannot_be_in_time_is_not_asked() -> None:
    inner = ScriptedEngine(["a"])
    with pytest.raises(TooLateError):
        await said(Meter(inner, len, lambda: False))
    assert inner.n_requests == 0
