"""Middles by hand that go on until the text below follows. The engine here writes and scores what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.types import Completion, ModelInfo, Stats, Trigger
from tests.support import at

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32", scores=True)
BUFFER = "def f(self):\n    a = 1\n    ‸\n    return a + b + c\n"
# What the model writes where it stops, and beyond.
SAID, BEYOND = "b = 2", ["    c = 3", "    d = 4", "    e = 5", "    f = 6", "    g = 7", "    h = 8", "    i = 9"]


class Dictating:
    """Writes SAID and stops; asked to go on, it writes ``beyond``. ``likes``: how likely the text below is after a text
    that ends with one of these, in nats; 30 less after any other."""

    def __init__(self, beyond: list[str], likes: dict[str, float], *, said: str = SAID) -> None:
        self._said, self._beyond, self._likes = said, beyond, likes
        self.requests: list[GenerateRequest] = []
        self.fails = False
        self.breaks_off = 0  # tokens that are not scored

    @property
    def n_scored(self) -> int:
        return sum(bool(request.given) for request in self.requests)

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        self.requests.append(request)
        await asyncio.sleep(0)
        if request.given:
            if self.fails:
                raise EngineError("no more", "ask again")
            text = "".join(map(chr, request.prompt[1:]))
            nats = next((nats for end, nats in self._likes.items() if text.endswith(end)), 30.0)
            assert len(request.given) == 12
            assert "".join(map(chr, request.given)).startswith("\n    ")
            n = len(request.given) - self.breaks_off
            yield Delta("", "length", Stats(), logprobs=(-nats / 12,) * n)
        elif request.ignore_eos:
            assert request.forced_prefix == f"{self._said}\n"
            for line in self._beyond:
                yield Delta(line[:5])
                yield Delta(line[5:] + "\n")
            yield Delta("", "length", Stats())
        else:
            yield Delta(self._said, "stop", Stats(stop_logprob=-0.001))

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


async def shown(
    engine: Dictating, buffer: str = BUFFER, trigger: Trigger = "invoked", info: ModelInfo = INFO, **settings: Any
) -> list[Completion]:
    subject = Completer(engine, CharRenderer(), info, Config(**settings))
    return [value async for value in subject.stream(at(buffer), trigger=trigger)]


async def test_it_ends_where_the_text_below_follows() -> None:
    engine = Dictating(BEYOND, {"c = 3": 5.0, "d = 4": 5.5})
    values = await shown(engine)
    assert values[-1].text == "b = 2\n    c = 3"
    assert ("go_on", -len("\n    c = 3")) in values[-1].facts.rules
    assert all(values[-1].text.startswith(value.text) for value in values)
    assert any(value.text == SAID for value in values[:-1])  # on the screen while it is looked at


async def test_a_line_is_written_before_the_one_that_fits() -> None:
    assert (await shown(Dictating(BEYOND, {"e = 5": 5.0})))[-1].text == "b = 2\n    c = 3\n    d = 4\n    e = 5"


@pytest.mark.parametrize(("likes", "n_scored"), [
    ({}, 7),  # nothing fits better: where it stopped, and six lines that were in vain
    ({SAID: 5.0, "c = 3": 1.5}, 8),  # not surely better
    ({"i = 9": 0.0}, 7),  # too far away
])  # fmt: skip
async def test_it_ends_where_the_model_stopped(likes: dict[str, float], n_scored: int) -> None:
    engine = Dictating(BEYOND, likes)
    assert (await shown(engine))[-1].text == SAID
    assert engine.n_scored == n_scored


async def test_it_ends_with_no_line_that_opens_a_block() -> None:
    engine = Dictating(["    if c:", "        d = 4"], {"if c:": 0.0})
    assert (await shown(engine))[-1].text == SAID
    assert engine.n_scored == 2


async def test_it_ends_with_the_line_that_opens_what_stands_below() -> None:
    engine = Dictating(["    if c:", "        d = 4"], {"if c:": 0.0})
    values = await shown(engine, BUFFER.replace("    return", "        return"))
    assert values[-1].text == "b = 2\n    if c:"


async def test_where_the_text_below_follows_already_nothing_is_written() -> None:
    engine = Dictating(BEYOND, {SAID: 2.5, "c = 3": 0.0})
    assert (await shown(engine))[-1].text == SAID
    assert engine.n_scored == 1


async def test_it_does_not_leave_the_function() -> None:
    engine = Dictating(["    c = 3", "def g(self):", "    pass"], {"pass": 0.0})
    assert (await shown(engine))[-1].text == SAID
    assert engine.n_scored == 2


@pytest.mark.parametrize("change", [
    {"trigger": "automatic"},
    {"info": ModelInfo("other", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")},  # an engine that does not score
    {"disabled_rules": ("go_on",)},
    {"disabled_rules": ("first_unit",)},
    {"lines": "one"},
    {"buffer": "def f(self):\n    a = 1\n    ‸\n"},  # nothing below
    {"buffer": "def f(self):\n    a = 1\n    ‸\n\ndef g(self):\n    pass\n"},  # another function
    {"buffer": "def f(self):\n    x = ‸\n    return a + b + c\n"},  # the rest of a line
])  # fmt: skip
async def test_nothing_is_scored(change: dict[str, Any]) -> None:
    engine = Dictating(BEYOND, {"c = 3": 0.0})
    await shown(engine, **change)
    assert engine.n_scored == 0


async def test_an_engine_that_fails_meanwhile_costs_nothing() -> None:
    engine = Dictating(BEYOND, {"c = 3": 0.0})
    engine.fails = True
    assert (await shown(engine))[-1].text == SAID


async def test_a_score_of_a_part_is_none() -> None:
    engine = Dictating(BEYOND, {"c = 3": 0.0})
    engine.breaks_off = 1
    assert (await shown(engine))[-1].text == SAID


async def test_the_rules_hold_for_what_is_added() -> None:
    engine = Dictating(["    c = 3", "    return a + b + c"], {"c": 0.0})
    assert (await shown(engine))[-1].text == "b = 2\n    c = 3"  # what stands below is not said twice
