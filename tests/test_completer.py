"""The path of one keystroke on an engine that replays a script. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing
from typing import Any

import pytest

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.types import Completion, ModelInfo, Snapshot, Snippet, Trigger
from tests.support import at

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")


def completer(*chunks: str, **settings: Any) -> tuple[Completer, ScriptedEngine]:
    engine = ScriptedEngine(list(chunks))
    return Completer(engine, CharRenderer(), INFO, Config(**settings)), engine


async def values(subject: Completer, snapshot: Snapshot, **how: Any) -> list[Completion]:
    return [completion async for completion in subject.stream(snapshot, **how)]


async def test_each_value_replaces_the_one_before() -> None:
    subject, engine = completer("a", " + ", "b", disabled_rules=("confidence",))
    found = await values(subject, at("return ‸"))
    assert [value.text for value in found] == ["a", "a +", "a + b"]
    assert [value.finished for value in found] == [False, False, True]
    last = found[-1]
    assert (last.origin, last.finish_reason, last.raw) == ("engine", "stop", "a + b")
    assert last.stats is not None
    assert (last.stats.n_prompt, last.stats.n_decoded) == (len("return ") + 3, 3)
    assert last.stats.total_s >= last.stats.ttft_s > 0
    assert engine.n_cancelled == 0


async def test_the_facts_tell_the_version_of_the_adapter() -> None:
    """Those of an answer from the cache, too."""
    subject, _ = completer("a", " + ", "b")
    subject.use_adapters("mine", {"go": None})
    subject.adapter_digests["mine"] = "0123"
    for _ in range(2):
        facts = (await subject.last(at("return ‸"))).facts
        assert (facts.adapter, facts.adapter_digest) == ("mine", "0123")
    facts = (await subject.last(dataclasses.replace(at("return ‸"), language="go"))).facts
    assert (facts.adapter, facts.adapter_digest) == ("none", "")


async def test_typed_through_needs_no_engine() -> None:
    subject, engine = completer("a", " + ", "b")
    await values(subject, at("return ‸\n"))
    (again,) = await values(subject, at("return a +‸\n"))
    assert (again.text, again.origin, again.finished, engine.n_requests) == (" b", "typed through", True, 1)


@pytest.mark.parametrize("buffer", ["return a‸)\n", "return b‸\n", "return ‸ \n"])
async def test_what_does_not_fit_is_asked_again(buffer: str) -> None:
    subject, engine = completer("a", " + ", "b")
    await values(subject, at("return ‸\n"))
    found = await values(subject, at(buffer))
    assert (found[-1].origin, engine.n_requests) == ("engine", 2)


async def test_the_unit_ends_the_engine() -> None:
    """Nothing is decoded that would not be shown."""
    subject, engine = completer("a + b", "\n", "def never():", "\n    pass")
    last = (await values(subject, at("return ‸")))[-1]
    assert (last.text, last.finish_reason) == ("a + b", "unit")
    assert (engine.n_chunks, engine.n_cancelled) == (2, 1)


async def test_a_line_of_another_language_ends_the_engine() -> None:
    subject, engine = completer(
        "const x = 1;\n", "#include <stdio.h>\n", "int a;\n", "int b;\n", disabled_rules=("first_unit",)
    )
    last = (await values(subject, dataclasses.replace(at("‸"), language="zig")))[-1]
    assert (last.text, last.finish_reason) == ("const x = 1;", "language")
    assert (engine.n_chunks, engine.n_cancelled) == (2, 1)


BLOCK = """def mean(values):
    total = 0
‸
    return total / count
"""


async def test_a_model_that_stops_too_early_is_asked_to_go_on() -> None:
    """``count`` is read below and bound nowhere: it spells what it said again, and goes on in another line."""
    text = "    for value in values:\n        total += value\n    count = len(values)\n"
    subject, engine = completer(text, disabled_rules=("confidence",))  # a script's probabilities are made up
    engine.stops_at = [text.index("    count") - 1]
    found = await values(subject, at(BLOCK))
    assert found[-1].text == text.rstrip("\n")
    assert engine.n_requests == 2
    assert [value.text for value in found] == sorted((value.text for value in found), key=len)


@pytest.mark.parametrize(
    ("text", "n_requests"),
    [
        ("    for value in values:\n        total += value", 2),  # it has no more to say
        ("    count = len(values)", 1),  # whole
        ("    for välue in values:\n        total += välue", 1),  # its tokens might end within characters
    ],
)
async def test_one_that_has_no_more_is_not_asked_for_ever(text: str, n_requests: int) -> None:
    subject, engine = completer(text)
    found = await values(subject, at(BLOCK))
    assert (found[-1].text, engine.n_requests) == (text, n_requests)


@pytest.mark.parametrize(("buffer", "trigger", "n_requests"), [
    ("def f():‸\n", "invoked", 2),
    ("def f():‸\n", "automatic", 1),  # nobody asked for more
    ("def f():‸\n    return 1\n", "invoked", 1),  # the body is there
    ("x = f()‸\n", "invoked", 1),
])  # fmt: skip
async def test_who_asks_behind_a_header_gets_a_body(buffer: str, trigger: Trigger, n_requests: int) -> None:
    subject, engine = completer("\n    pass", disabled_rules=("confidence",))
    engine.stops_at = [0]
    found = await values(subject, at(buffer), trigger=trigger)
    assert engine.n_requests == n_requests
    assert (found[-1].text if found else "") == ("\n    pass" if n_requests == 2 else "")


TEXT = "    for value in values:\n        total += value\n    count = len(values)\n"
EARLY = TEXT.index("    count") - 1


async def test_the_first_of_several_is_asked_to_go_on_while_the_others_have_their_ends() -> None:
    subject, engine = completer(*TEXT.splitlines(keepends=True), disabled_rules=("confidence",))
    engine.others = [["    count = 1\n"], ["    total = 1"]]  # the last one stops early, and is left as it is
    engine.stops_at = [EARLY]
    last = (await values(subject, at(BLOCK), trigger="invoked", n=3))[-1]
    assert last.text == TEXT.rstrip("\n")
    assert set(last.others) == {"    count = 1", "    total = 1"}
    assert engine.n_requests == 2


async def test_one_that_stopped_early_is_not_waited_for_by_slow_ones() -> None:
    subject, engine = completer(*TEXT.splitlines(keepends=True), disabled_rules=("confidence",))
    engine.delay_s = 0.01
    engine.others = [["    x"] + [" + x"] * 400]
    engine.stops_at = [EARLY]
    last = (await values(subject, at(BLOCK), trigger="invoked", n=2))[-1]
    assert (last.text, last.others) == (TEXT.rstrip("\n"), ())
    assert engine.n_chunks < 200


async def test_what_stands_is_an_answer_though_going_on_fails() -> None:
    subject, engine = completer(TEXT, "!error", disabled_rules=("confidence",))
    engine.chunks = [TEXT[:EARLY], "!error"]
    engine.stops_at = [EARLY]
    last = (await values(subject, at(BLOCK)))[-1]
    assert (last.text, engine.n_requests) == (TEXT[:EARLY], 2)


@pytest.mark.parametrize("stop", [0, 9])
async def test_one_that_began_another_line_and_stopped_is_left_alone(stop: int) -> None:
    said = TEXT[:EARLY] + "\n" + " " * stop
    subject, engine = completer(said, disabled_rules=("confidence",))
    last = (await values(subject, at(BLOCK)))[-1]
    assert last.text == TEXT[:EARLY]
    assert engine.n_requests == 1


async def test_what_the_engine_gives_up_for_another_is_asked_anew_and_not_kept() -> None:
    class GivesUp(ScriptedEngine):
        async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            async with aclosing(super().stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    if self.n_requests == 1:
                        yield Delta("half", "cancelled")
                        return
                    yield delta

    subject, _ = completer("whole")
    engine = GivesUp(["whole"])
    subject.engine = engine
    found = await values(subject, at("return ‸"))
    assert (found[-1].text, engine.n_requests) == ("whole", 2)
    assert (await values(subject, at("return ‸")))[-1].text == "whole"


async def test_closing_cancels_and_keeps_nothing() -> None:
    subject, engine = completer("a", "b", "c")
    async with aclosing(subject.stream(at("return ‸"))) as stream:  # type: ignore[type-var]
        await anext(stream)
    assert (engine.n_chunks, engine.n_cancelled) == (1, 1)
    await values(subject, at("return ‸"))
    assert engine.n_requests == 2


async def test_a_cancelled_task_cancels_the_engine() -> None:
    subject, engine = completer(*"abcdef")
    engine.delay_s = 0.01
    task = asyncio.ensure_future(values(subject, at("return ‸")))
    while not engine.n_chunks:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.n_cancelled == 1


async def test_an_engine_error_reaches_the_caller_and_nothing_is_kept() -> None:
    subject, engine = completer("a", "!error")
    for _ in range(2):
        with pytest.raises(EngineError):
            await subject.last(at("return ‸"))
    assert engine.n_requests == 2


async def test_a_middle_of_nothing() -> None:
    subject, _ = completer()
    last = await subject.last(at("‸"))
    assert (last.text, last.finished, last.finish_reason) == ("", True, "stop")


async def test_max_tokens_and_budget() -> None:
    subject, engine = completer(*"abcdef", max_tokens=2, context_tokens=100)
    assert subject.budget == 100
    await subject.last(at("x" * 500 + "‸"), trigger="automatic")
    assert engine.n_chunks == 2
    await subject.last(at("y" * 500 + "‸"), trigger="invoked")
    assert engine.n_chunks == 2 + 6
    assert completer(context_tokens=9000, max_tokens=32)[0].budget == 4000
    assert completer()[0].budget == 1024


async def test_the_prompt_as_it_would_be_sent() -> None:
    class Source:
        budget = 0

        def snippets(self, snapshot: Snapshot) -> Iterable[Snippet]:
            return [Snippet("a.py", "1"), Snippet("b.py", "1")]

    subject, engine = completer()
    subject.sources = [Source()]
    prompt = await subject.prompt(at("<|fim_middle|>‸b"))
    assert prompt.text == "<|fim_prefix|><|fim_middle|><|fim_suffix|>b<|fim_middle|>"
    assert (prompt.n_control, engine.n_requests) == (3, 0)
