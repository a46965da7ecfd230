"""Typing along what still grows, going on as if accepted, what belongs to the cache's key. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from midfill import completer as path
from midfill.engine.base import EngineError
from midfill.trace import trace_of
from midfill.types import Snapshot, Snippet
from tests.dictated import Request, begun, dictated, scripted, until
from tests.support import at

# ---- growing ---------------------------------------------------------------------------------------------------------


async def test_typing_along_takes_the_generation_over() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "add(", "a, ")
    first.drop()
    second = Request(subject, "x = ad‸\n")
    await until(lambda: second.values)
    assert second.texts == ["d(a"]  # at once, with what stands and no rule would take back
    engine.say("b)")
    engine.say(None)
    last = await second.end()
    assert (last.text, last.from_cache, last.finished) == ("d(a, b)", False, True)
    assert (len(engine.requests), second.trace.hit, last.id) == (1, "growing", first.values[-1].id)
    third = await Request(subject, "x = add(‸\n").end()
    assert (third.text, third.from_cache, third.id, len(engine.requests)) == ("a, b)", True, last.id, 1)
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
    await until(lambda: not subject.reuse.running)


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
    await until(lambda: not subject.reuse.running)


@pytest.mark.parametrize(
    ("text", "goes_on"),
    [
        ("x = \n", True),
        ("x = a\n", True),
        ("x = add(1\n", True),  # ahead of it
        ("x = b\n", False),
        ("x =\n", False),
        ("x = a)\n", False),
        ("y = a\n", False),
        ("x = \nz", False),
        (None, True),  # not to be had
    ],
)
async def test_an_edit_that_does_not_lead_along_stops_it_at_once(text: str | None, goes_on: bool) -> None:
    subject, engine = dictated()
    request = await begun(subject, engine, "add(")
    subject.edited("file:///w/other.py", lambda: "")
    subject.edited("file:///w/main.py", lambda: text)
    await asyncio.sleep(0.01)
    assert engine.closed == [not goes_on]
    if not goes_on:
        last = await request.end()
        assert (last.text, last.finished, last.finish_reason) == ("", True, "cancelled")
        assert subject.reuse.find(subject._asked(at("x = ‸\n"))) is None
    await subject.aclose()


@pytest.mark.parametrize(
    ("text", "goes_on"), [("x = ad\n", True), ("x = add(\n", True), ("x = add(1\n", True), ("x = sub\n", False)]
)
async def test_typing_towards_what_is_asked_for_in_the_background(no_idle: None, text: str, goes_on: bool) -> None:
    subject, engine = dictated(resident=True)
    request = await begun(subject, engine, "add(")
    engine.say(None)
    await request.end()
    await until(lambda: len(engine.requests) == 2)
    subject.edited("file:///w/main.py", lambda: text)
    await asyncio.sleep(0.01)
    assert engine.closed[1] is not goes_on
    await subject.aclose()


async def test_an_error_reaches_everybody_who_follows() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "add")
    second = Request(subject, "x = a‸\n")
    await until(lambda: second.values)
    engine.say(EngineError("gone", "wait"))
    for request in (first, second):
        with pytest.raises(EngineError, match="gone"):
            await request.end()
    assert subject.reuse.running == []
    assert subject.reuse.find(subject._asked(at("x = ‸\n"))) is None


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
    await until(lambda: not subject.reuse.running)
    accepted = await Request(subject, f"x = {shown}‸\n").end()
    assert (accepted.text, accepted.from_cache) == ("1, 2)", True)
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
    await until(lambda: not subject.reuse.running)
    after_enter = await Request(subject, "def f():\n    x = add(1)\n    ‸\n").end()
    assert (after_enter.text, after_enter.from_cache, len(engine.requests)) == ("return x", True, 3)
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


# ---- language and path -----------------------------------------------------------------------------------------------

IMPORTS = [("python", "a.py"), ("java", "A.java"), ("typescript", "a.ts"), ("go", "a.go"), ("plaintext", "a.py")]


async def test_what_is_known_in_one_language_does_not_answer_in_another() -> None:
    subject, engine = scripted("os")
    for language, name in IMPORTS:
        found = await subject.last(at("import ‸\n", language=language, path=name))
        assert not found.from_cache
    assert engine.n_requests == len(IMPORTS)
    assert (await subject.last(at("import ‸\n", language="go", path="a.go"))).from_cache


async def test_what_grows_in_one_language_is_not_followed_in_another() -> None:
    subject, engine = dictated()
    first = await begun(subject, engine, "os", buffer="import ‸\n")
    other = Request(subject, at("import ‸\n", language="java", path="A.java"))
    await until(lambda: len(engine.requests) == 2)
    engine.say("java.util.List;", 1)
    engine.say(None, 1)
    assert (await other.end()).text == "java.util.List;"
    engine.say(None, 0)
    assert (await first.end()).text == "os"


# ---- context ---------------------------------------------------------------------------------------------------------


async def test_the_context_belongs_to_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    class Source:
        text = "one"

        def snippets(self, snapshot: Snapshot) -> Iterable[Snippet]:
            return [Snippet("b.py", self.text, "made up", 0.5)]

    source, now = Source(), [0.0]
    subject, engine = scripted("abc", sources=[source])
    subject.reuse._clock = lambda: now[0]
    trace = trace_of(await subject.last(at("x = ‸")))
    assert trace.snippets == [{"path": "b.py", "source": "made up", "score": 0.5, "n_chars": 3}]
    now[0] += 100
    assert (await subject.last(at("x = a‸"))).from_cache
    source.text = "two"
    assert (await subject.last(at("x = ab‸"))).from_cache  # it was shown a moment ago
    now[0] += 100
    assert not (await subject.last(at("x = a‸"))).from_cache
    assert engine.n_requests == 2
