"""Several candidates, refusals and waiting, as the completer sees a request. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from midfill import in_flight
from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.context.knowledge.names import Known, KnownNames
from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.syntax.calls import Given, Parameter, Signature
from midfill.types import NamesFacts, Snapshot, Snippet, Stats, Trigger
from tests.dictated import INFO, Request, begun, dictated, scripted, until
from tests.support import at

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
    last = await subject.last(at("x = ‸"), n=3)
    assert last.texts == ("text0", "text2", "text1")
    assert last.facts.confidence == pytest.approx(0.1353, abs=1e-3)


@pytest.mark.parametrize(("patience_s", "shown"), [(0.0, ("add", "sub")), (60.0, ("add", "sub", "mmmul"))])
async def test_slow_candidates_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, patience_s: float, shown: tuple[str, ...]
) -> None:
    monkeypatch.setattr(in_flight, "PATIENCE_S", patience_s)

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


async def test_the_confidence_is_known_of_a_single_one_too() -> None:
    subject, _ = scripted("a", "b")
    last = await subject.last(at("x = ‸"))
    assert last.facts.confidence == pytest.approx(0.999, abs=1e-3)


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
        ("# ‸", {"disabled_scopes": ("comment",)}, "automatic", "scope_off"),
        ("# ‸", {"disabled_scopes": ("comment",)}, "invoked", ""),
        ("x = ‸", {"disabled_scopes": ("comment",)}, "automatic", ""),
        ("x = ‸", {"disabled_files": ("*.py",)}, "automatic", "file_off"),
        ("x = ‸", {"disabled_languages": ("python",)}, "automatic", "language_off"),
        ("x = ‸", {"disabled_languages": ("python",)}, "invoked", ""),
    ],
)
async def test_refusals(buffer: str, settings: dict[str, Any], trigger: Trigger, refused: str) -> None:
    subject, engine = scripted("a", **settings)
    subject.scope_at = lambda snapshot: "comment" if "#" in snapshot.prefix else "code"
    last = await subject.last(at(buffer), trigger=trigger)
    name = last.facts.refusal.name if last.facts.refusal is not None else ""
    assert (name, bool(last.text), engine.n_requests) == (refused, not refused, int(not refused))
    assert (last.finish_reason == "refused") is bool(refused)


async def test_what_was_typed_along_is_shown_wherever_it_is() -> None:
    subject, engine = scripted("1  # one")
    subject.config = Config(disabled_scopes=("comment",))
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


# ---- names that come late ------------------------------------------------------------------------------------------


class Names:
    """A source that knows the members of ``basket`` once they are told."""

    budget = 0

    def __init__(self) -> None:
        self.here: KnownNames | None = None

    def tell(self, *names: str) -> None:
        self.here = KnownNames("basket", names, is_complete=True, source="client")

    def snippets(self, _snapshot: Snapshot) -> list[Snippet]:
        return []

    def known(self, _snapshot: Snapshot) -> Known:
        return Known(self.here)


@pytest.mark.parametrize("begun", ["", "zor"])
async def test_a_member_denied_by_names_that_come_late_is_spelled_again_with_them(begun: str) -> None:
    names = Names()
    subject, engine = dictated(sources=[names])
    first = Request(subject, f"basket.{begun}‸\n")
    await until(lambda: len(engine.requests) == 1)
    names.tell("zorbulate")
    engine.say("ingo(1)" if begun else "total(1)")
    engine.say(None)
    await until(lambda: len(engine.requests) == 2)
    assert [(asked.bias_names, asked.bias_only) for asked in engine.requests] == [((), False), (("zorbulate",), True)]
    engine.say("zorbulate()"[len(begun) :])
    engine.say(None)
    assert (await first.end()).text == "zorbulate()"[len(begun) :]
    assert first.values[-1].facts.prompt.names is not None


@pytest.mark.parametrize("said", ["zorbulate()", "total(1)"])
async def test_what_is_right_or_shown_already_stays(said: str) -> None:
    """A name that is right needs no second try, and what the user reads already is not replaced."""
    names = Names()
    subject, engine = dictated(sources=[names])
    first = Request(subject, "basket.‸\n")
    await until(lambda: len(engine.requests) == 1)
    engine.say(said)
    await until(lambda: bool("".join(first.texts)))
    names.tell("zorbulate")
    engine.say(None)
    await first.end()
    assert (len(engine.requests), bool(first.values[-1].text)) == (1, True)


async def test_an_empty_answer_from_before_the_names_is_not_the_answer_after_them() -> None:
    names = Names()
    subject, engine = dictated(sources=[names])
    first = Request(subject, "basket.‸\n")
    await until(lambda: len(engine.requests) == 1)
    engine.say(None)
    assert (await first.end()).text == ""
    second = Request(subject, "basket.‸\n")
    await until(lambda: bool(second.values))
    assert (second.values[-1].origin, len(engine.requests)) == ("cache", 1)
    names.tell("zorbulate")
    third = Request(subject, "basket.‸\n")
    await until(lambda: len(engine.requests) == 2)
    engine.say("zorbulate()")
    engine.say(None)
    assert (await third.end()).text == "zorbulate()"


@pytest.mark.parametrize(("is_complete", "advantages"), [(True, (20.0, 4.0, -1.0)), (False, (4.0, 0.0, 0.0))])
async def test_what_the_usage_of_names_tells(is_complete: bool, advantages: tuple[float, ...]) -> None:
    """All of it counts among all names there are; where there may be others, it lifts the likely ones a little."""
    names = Names()
    names.here = KnownNames("basket", ("a", "b", "c"), is_complete, "client", {"a": -1.0, "b": 4.0, "c": 20.0})
    subject, engine = dictated(sources=[names])
    request = Request(subject, "basket.‸\n")
    await until(lambda: len(engine.requests) == 1)
    asked = engine.requests[0]
    assert (asked.bias_names, asked.bias_advantages, asked.bias_only) == (("c", "b", "a"), advantages, is_complete)
    engine.say("c")
    engine.say(None)
    await request.end()
    told = request.values[-1].facts.prompt.names
    assert told is not None
    assert told.by_usage


class Callees(Names):
    """A source that knows what is called at the cursor, once it is told."""

    call: tuple[Signature, Given] | None = None

    def known(self, _snapshot: Snapshot) -> Known:
        return Known(calls={self.call[0].callee: self.call[0]}, call=self.call) if self.call else Known()


LOAD = Signature("load", (Parameter("path"), Parameter("mode")), is_complete=True, source="jedi")


@pytest.mark.parametrize(("given", "biased", "said", "text"), [
    (Given(0, frozenset({"path"})), ("mode",), "mode=3, size=4", "mode=3"),
    (Given(0), (), "a, b, c", "a, b"),
])  # fmt: skip
async def test_what_a_callee_takes(given: Given, biased: tuple[str, ...], said: str, text: str) -> None:
    source = Callees()
    source.call = (LOAD, given)
    subject, engine = dictated(sources=[source])
    request = Request(subject, f"load({'path=1, ' if given.names else ''}‸)\n")
    await until(lambda: len(engine.requests) == 1)
    assert (engine.requests[0].bias_names, engine.requests[0].bias_only) == (biased, False)
    engine.say(said)
    engine.say(None)
    last = await request.end()
    assert last.text == text
    assert [name for name, _ in last.facts.rules] == ["drop_unfit_arguments"]
    assert last.facts.prompt.names == NamesFacts("load", "jedi", 2, True, False, bool(biased), "parameters")


async def test_an_answer_from_before_the_signature_is_not_shown_again() -> None:
    source = Callees()
    subject, engine = dictated(sources=[source])
    request = Request(subject, "load(‸)\n")
    await until(lambda: len(engine.requests) == 1)
    engine.say("a, b, c")
    engine.say(None)
    assert (await request.end()).text == "a, b, c"
    source.call = (LOAD, Given())
    again = Request(subject, "load(‸)\n")
    await until(lambda: len(engine.requests) == 2)
    engine.say("a, b")
    engine.say(None)
    assert (await again.end()).text == "a, b"


class Follows(Names):
    """A source that hears how a middle grows."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def grows(self, _snapshot: Snapshot, middle: str) -> None:
        self.heard.append(middle)


async def test_sources_hear_how_a_middle_grows() -> None:
    source = Follows()
    subject, engine = dictated(sources=[source])
    first = Request(subject, "x = ‸\n")
    await until(lambda: len(engine.requests) == 1)
    for piece in ("a", " + shop", ".", "total", " + get", "("):
        engine.say(piece)
    engine.say(None)
    await first.end()
    assert source.heard[:2] == ["a + shop.", "a + shop.total"]  # nothing without a dot or a call
