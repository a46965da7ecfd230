"""Typing along what still grows, going on as if accepted, several candidates, refusals. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any

import pytest

from midfill import completer as path
from midfill import growing
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.serve.link import CharRenderer
from midfill.trace import Trace
from midfill.types import Completion, ModelInfo, Snapshot, Snippet, Stats, Trigger
from tests.support import at

INFO = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")


def scripted(*chunks: str, others: Iterable[list[str]] = (), **options: Any) -> tuple[Completer, ScriptedEngine]:
    engine = ScriptedEngine(list(chunks), others=list(others))
    settings = {name: options.pop(name) for name in list(options) if name in Config.__dataclass_fields__}
    return Completer(engine, CharRenderer(), INFO, Config(**settings), **options), engine


class Dictated:
    """An engine that says what it is told when it is told. ``None`` ends the middle, an error fails it."""

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.lines: list[asyncio.Queue[str | EngineError | None]] = []
        self.closed: list[bool] = []

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        number = len(self.requests)
        self.requests.append(request)
        self.lines.append(asyncio.Queue())
        self.closed.append(False)
        try:
            while (said := await self.lines[number].get()) is not None:
                if isinstance(said, EngineError):
                    raise said
                yield Delta(said)
            yield Delta("", "stop")
        finally:
            self.closed[number] = True

    def say(self, text: str | EngineError | None, request: int = -1) -> None:
        self.lines[request].put_nowait(text)

    async def aclose(self) -> None:
        """Nothing to release."""


class Request:
    """One request, followed in a task as the language server does."""

    def __init__(self, subject: Completer, buffer: str, trigger: Trigger = "automatic", n: int = 1) -> None:
        self.trace = Trace()
        self.values: list[Completion] = []
        self._task = asyncio.create_task(
            self._follow(subject.stream(at(buffer), trigger=trigger, n=n, trace=self.trace))
        )

    async def _follow(self, stream: AsyncIterator[Completion]) -> None:
        async with aclosing(stream) as values:  # type: ignore[type-var]
            async for value in values:
                self.values.append(value)

    @property
    def texts(self) -> list[str]:
        return [value.text for value in self.values]

    async def end(self) -> Completion:
        await self._task
        return self.values[-1]

    def drop(self) -> None:
        """As a newer request does: it begins to follow before this one ends."""
        asyncio.get_running_loop().call_soon(self._task.cancel)


async def until(true: Callable[[], object]) -> None:
    for _ in range(2000):
        if true():
            return
        await asyncio.sleep(0.001)
    raise AssertionError


def dictated(**options: Any) -> tuple[Completer, Dictated]:
    engine = Dictated()
    settings = {name: options.pop(name) for name in list(options) if name in Config.__dataclass_fields__}
    return Completer(engine, CharRenderer(), INFO, Config(**settings), **options), engine


async def begun(subject: Completer, engine: Dictated, *said: str, buffer: str = "x = ‸\n") -> Request:
    n = len(engine.requests)
    request = Request(subject, buffer)
    await until(lambda: len(engine.requests) > n)
    for text in said:
        engine.say(text)
        await until(lambda: request.values and request.values[-1].raw.endswith(text))  # noqa: B023 - awaited here
    return request


# ---- growing ---------------------------------------------------------------------------------------------------------


async def test_typing_along_takes_the_generation_over() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "add(", "a, ")
    first.drop()
    second = Request(subject, "x = ad‸\n")
    await until(lambda: second.values)
    assert second.texts == ["d(a,"]  # at once, with what stands
    engine.say("b)")
    engine.say(None)
    last = await second.end()
    assert (last.text, last.source, last.finished) == ("d(a, b)", "engine", True)
    assert (len(engine.requests), second.trace.hit, last.id) == (1, "growing", first.values[-1].id)
    third = await Request(subject, "x = add(‸\n").end()
    assert (third.text, third.source, third.id, len(engine.requests)) == ("a, b)", "cache", last.id, 1)
    again = await Request(subject, "x = ‸\n").end()  # backspace brings it back
    assert (again.text, len(engine.requests)) == ("add(a, b)", 1)


async def test_typing_ahead_of_the_model_waits_for_it() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine)
    first.drop()
    second = Request(subject, "x = add‸\n")
    engine.say("a")
    await asyncio.sleep(0.01)
    assert not any(second.texts)
    engine.say("dd(1)")
    engine.say(None)
    assert ((await second.end()).text, len(engine.requests)) == ("(1)", 1)


@pytest.mark.parametrize("said", ["sub(1)", "adx", "add"])
async def test_a_model_that_says_something_else_is_asked_anew(said: str) -> None:
    subject, engine = dictated()
    first = await begun(subject, engine)
    first.drop()
    second = Request(subject, "x = add‸\n")
    engine.say(said)
    engine.say(None)
    await until(lambda: len(engine.requests) == 2)
    await until(lambda: engine.closed[0])
    engine.say("(2)")
    engine.say(None)
    assert (await second.end()).text == "(2)"
    assert second.trace.hit == ""


@pytest.mark.parametrize(
    "buffer",
    ["x = b‸\n", "y = a‸\n", "x = a‸)\n", "x =‸\n", "x = " + "a" * 30 + "‸\n"],
)
async def test_whoever_types_something_else_ends_it(buffer: str) -> None:
    subject, engine = dictated(resident=True)
    first = await begun(subject, engine, "add")
    first.drop()
    second = Request(subject, buffer)
    await until(lambda: len(engine.requests) == 2)
    await until(lambda: engine.closed[0])
    assert not engine.closed[1]
    engine.say(None)
    await second.end()
    await subject.aclose()


async def test_the_last_to_leave_stops_it() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "add")
    second = Request(subject, "x = a‸\n")
    await until(lambda: second.values)
    first.drop()
    await asyncio.sleep(0.01)
    assert not engine.closed[0]
    second.drop()
    await until(lambda: engine.closed[0])
    await until(lambda: not subject._growing)


async def test_a_client_that_cancels_first_finds_it_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "LINGER_S", 30.0)
    subject, engine = dictated(resident=True)
    first = await begun(subject, engine, "add(")
    first.drop()
    await asyncio.sleep(0.02)
    assert not engine.closed[0]
    second = Request(subject, "x = a‸\n")
    engine.say("1)")
    engine.say(None)
    assert ((await second.end()).text, len(engine.requests)) == ("dd(1)", 1)
    await subject.aclose()


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "LINGER_S", 0.01)
    subject, engine = dictated(resident=True)
    first = await begun(subject, engine, "add(")
    first.drop()
    await until(lambda: engine.closed[0])
    await until(lambda: not subject._growing)


async def test_an_error_reaches_everybody_who_follows() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "add")
    second = Request(subject, "x = a‸\n")
    await until(lambda: second.values)
    engine.say(EngineError("gone", "wait"))
    for request in (first, second):
        with pytest.raises(EngineError, match="gone"):
            await request.end()
    assert subject._growing == []
    assert subject.cache.lookup(at("x = ‸\n"), subject._answered_by) is None


async def test_closing_the_completer_ends_everything() -> None:
    subject, engine = dictated(resident=True)
    request = await begun(subject, engine, "add")
    await subject.aclose()
    assert engine.closed == [True]
    await request.end()


# ---- as if accepted --------------------------------------------------------------------------------------------------


@pytest.fixture
def no_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path, "IDLE_S", 0.0)


async def test_after_accepting_the_continuation_is_there(no_idle: None) -> None:
    subject, engine = dictated(resident=True)
    request = await begun(subject, engine, "add(")
    engine.say(None)
    shown = (await request.end()).text
    await until(lambda: len(engine.requests) == 2)
    assert [asked.background for asked in engine.requests] == [False, True]
    engine.say("1, 2)")
    engine.say(None)
    await until(lambda: not subject._growing)
    accepted = await Request(subject, f"x = {shown}‸\n").end()
    assert (accepted.text, accepted.source) == ("1, 2)", "cache")
    await subject.aclose()


async def test_accepting_while_it_still_goes_on_follows_it(no_idle: None) -> None:
    subject, engine = dictated(resident=True)
    request = await begun(subject, engine, "add(")
    engine.say(None)
    await request.end()
    await until(lambda: len(engine.requests) == 2)
    typed_along = await Request(subject, "x = ad‸\n").end()
    assert (typed_along.text, engine.closed[1]) == ("d(", False)
    accepted = Request(subject, "x = add(‸\n")
    engine.say("1)")
    engine.say(None)
    assert ((await accepted.end()).text, len(engine.requests)) == ("1)", 2)
    await subject.aclose()


async def test_doing_something_else_ends_it(no_idle: None) -> None:
    subject, engine = dictated(resident=True)
    request = await begun(subject, engine, "add(")
    engine.say(None)
    await request.end()
    await until(lambda: len(engine.requests) == 2)
    await begun(subject, engine, "1", buffer="x = sub‸\n")
    assert engine.closed == [True, True, False]
    await subject.aclose()


async def test_after_a_whole_line_comes_the_next_one(no_idle: None) -> None:
    subject, engine = dictated(resident=True)
    request = await begun(subject, engine, "add(1)", buffer="def f():\n    x = ‸\n")
    engine.say(None)
    await request.end()
    await until(lambda: len(engine.requests) == 2)
    engine.say(None)  # nothing belongs to that line
    await until(lambda: len(engine.requests) == 3)
    engine.say("return x")
    engine.say(None)
    await until(lambda: not subject._growing)
    after_enter = await Request(subject, "def f():\n    x = add(1)\n    ‸\n").end()
    assert (after_enter.text, after_enter.source, len(engine.requests)) == ("return x", "cache", 3)
    await subject.aclose()


@pytest.mark.parametrize(("resident", "ahead", "said"), [(False, True, "a"), (True, False, "a"), (True, True, "")])
async def test_no_going_on(no_idle: None, resident: bool, ahead: bool, said: str) -> None:
    subject, engine = dictated(resident=resident, ahead=ahead)
    request = Request(subject, "x = ‸")
    await until(lambda: engine.requests)
    engine.say(said)
    engine.say(None)
    await request.end()
    await asyncio.sleep(0.01)
    assert len(engine.requests) == 1


# ---- candidates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "others", "n", "shown"),
    [
        (["a"], [["b"], ["c"]], 3, ("a", "b", "c")),
        (["a"], [["b"], ["c"]], 2, ("a", "b")),
        (["a"], [["b"], ["c"]], 1, ("a",)),
        (["a"], [["a"], ["c"]], 3, ("a", "c")),  # each text once
        (["a"], [["a  "], ["  "]], 3, ("a",)),  # ... as it is shown
        ([" "], [["b"]], 2, ("b",)),
        (["a"], [], 3, ("a",)),  # an engine that knows no candidates
        ([], [], 3, ()),
    ],
)
async def test_candidates(chunks: list[str], others: list[list[str]], n: int, shown: tuple[str, ...]) -> None:
    subject, engine = scripted(*chunks, others=others)
    last = await subject.last(at("x = ‸"), n=n)
    assert (last.texts, engine.n_requests) == (shown, 1)
    again = await subject.last(at("x = ‸"), n=n)
    assert (again.texts, engine.n_requests) == (shown, 1)


async def test_the_first_one_stays_and_the_others_come_by_probability() -> None:
    class Engine(ScriptedEngine):
        async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            for index, logprob in enumerate((-2.0, -3.0, -1.0)):
                yield Delta(f"text{index}", "stop", index=index, logprobs=(logprob,))

    subject = Completer(Engine([]), CharRenderer(), INFO, Config())
    trace = Trace()
    last = await subject.last(at("x = ‸"), n=3, trace=trace)
    assert last.texts == ("text0", "text2", "text1")
    assert trace.confidence == pytest.approx(0.1353, abs=1e-3)


@pytest.mark.parametrize(("patience_s", "shown"), [(0.0, ("add", "sub")), (60.0, ("add", "sub", "mmmul"))])
async def test_slow_candidates_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, shown: tuple[str, ...]
) -> None:
    monkeypatch.setattr(growing, "PATIENCE_S", patience_s)

    class Engine(ScriptedEngine):
        async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            yield Delta("sub", "stop", Stats(n_prompt=9, n_decoded=1), 1)
            yield Delta("add", "stop", Stats(n_prompt=9, n_decoded=1))
            for _ in range(3):
                await asyncio.sleep(0.01)
                yield Delta("m", index=2)
            yield Delta("ul", "stop", Stats(n_prompt=9, n_decoded=4), 2)

    subject = Completer(Engine([]), CharRenderer(), INFO, Config())
    last = await subject.last(at("x = ‸"), n=3)
    assert last.texts == shown
    assert last.stats is not None
    assert (last.stats.n_prompt, last.stats.n_decoded) == (9, 2 if patience_s == 0.0 else 6)


async def test_asking_for_several_does_not_follow_a_single_one() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "a")
    several = Request(subject, "x = ‸\n", "invoked", 3)
    await until(lambda: len(engine.requests) == 2)
    assert [asked.n for asked in engine.requests] == [1, 3]
    for number in (0, 1):
        engine.say(None, number)
    await first.end()
    await several.end()


# ---- triggers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("buffer", "settings", "trigger", "refused"),
    [
        ("na‸me", {}, "automatic", "inside_word"),
        ("na‸me", {}, "invoked", ""),
        ("# ‸", {"scopes_off": ("comment",)}, "automatic", "scope_off"),
        ("# ‸", {"scopes_off": ("comment",)}, "invoked", ""),
        ("x = ‸", {"scopes_off": ("comment",)}, "automatic", ""),
        ("x = ‸", {"globs_off": ("*.py",)}, "automatic", "glob_off"),
        ("x = ‸", {"languages_off": ("python",)}, "automatic", "language_off"),
        ("x = ‸", {"languages_off": ("python",)}, "invoked", ""),
    ],
)
async def test_refusals(buffer: str, settings: dict[str, Any], trigger: Trigger, refused: str) -> None:
    subject, engine = scripted("a", **settings)
    subject.scope_at = lambda snapshot: "comment" if "#" in snapshot.prefix else "code"
    trace = Trace()
    last = await subject.last(at(buffer), trigger=trigger, trace=trace)
    assert (trace.refused, bool(last.text), engine.n_requests) == (refused, not refused, int(not refused))
    assert (last.finish_reason == "refused") is bool(refused)


async def test_what_was_typed_along_is_shown_wherever_it_is() -> None:
    subject, engine = scripted("1  # one")
    subject.config = Config(scopes_off=("comment",))
    subject.scope_at = lambda snapshot: "comment" if "#" in snapshot.prefix else "code"
    await subject.last(at("x = ‸"), trigger="automatic")
    assert (await subject.last(at("x = 1  #‸"), trigger="automatic")).text == " one"
    assert engine.n_requests == 1


async def test_debounce_is_for_automatic_requests_that_ask_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, engine = scripted("abc")
    slept: list[str] = []

    def pause(uri: str, _longest: float) -> float:
        slept.append(uri)
        return 0.001

    monkeypatch.setattr(subject.debounce, "pause", pause)
    for buffer, trigger, n_slept in [
        ("x = ‸", "invoked", 0),
        ("x = a‸", "automatic", 0),  # typed along
        ("x = q‸", "automatic", 1),
        ("x = q‸", "automatic", 1),  # known now
        ("na‸me", "automatic", 1),  # refused
    ]:
        await subject.last(at(buffer), trigger=trigger)  # type: ignore[arg-type]
        assert len(slept) == n_slept
    assert engine.n_requests == 2


async def test_a_request_that_is_dropped_while_it_waits_never_asks_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, engine = dictated()
    monkeypatch.setattr(subject.debounce, "pause", lambda uri, longest: 30.0)
    request = Request(subject, "x = ‸")
    await asyncio.sleep(0.01)
    request.drop()
    with pytest.raises(asyncio.CancelledError):
        await request.end()
    assert engine.requests == []


# ---- context ---------------------------------------------------------------------------------------------------------


async def test_the_context_belongs_to_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        text = "one"

        def snippets(self, snapshot: Snapshot) -> Iterable[Snippet]:
            return [Snippet("b.py", self.text, "made up", 0.5)]

    source, now = Source(), [0.0]
    subject, engine = scripted("abc", sources=[source])
    subject.cache._clock = lambda: now[0]
    trace = Trace()
    await subject.last(at("x = ‸"), trace=trace)
    assert trace.snippets == [{"path": "b.py", "source": "made up", "score": 0.5, "n_chars": 3}]
    now[0] += 100
    assert (await subject.last(at("x = a‸"))).source == "cache"
    source.text = "two"
    assert (await subject.last(at("x = ab‸"))).source == "cache"  # it was shown a moment ago
    now[0] += 100
    assert (await subject.last(at("x = a‸"))).source == "engine"
    assert engine.n_requests == 2
