"""A typist with engines whose answers are known: every figure is exact. ``‸…‸`` is the typed text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from midfill.client.scripted import CharRenderer
from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.eval import replay
from midfill.eval.replay import Habits, Tally, Typist, places, taken
from midfill.eval.replay_report import paired, total
from tests.eval.made import INFO, Oracle, place, typed


@pytest.mark.parametrize(("suggestion", "follows", "wanted"), [
    ("total(x)", "total(x)\n", ("total(x)", 1, "whole")),
    ("total(x)", "total(x", ("total(x", 3, "word")),  # one character too many
    ("a(b)", "a(b+", None),  # word by word saves nothing
    ("total", "totals", ("total", 1, "whole")),
    ("abc", "abcd", None),  # less than four characters
    ("a = 1\nb = 2", "a = 1\nb = 3\n", ("a = 1", 1, "line")),
    ("a = 1\nb = 2\nc = 3", "a = 1\nb = 2\nd\n", ("a = 1\nb = 2", 2, "line")),
    ("number(word", "number(other", ("number(", 2, "word")),
    ("numbers", "number", None),
    ("", "x", None),
    ("x", "", None),
])  # fmt: skip
def test_taken(suggestion: str, follows: str, wanted: tuple[str, int, str] | None) -> None:
    found = taken(suggestion, follows, 4)
    assert (found and (found.text, found.n_presses, found.way)) == wanted


def test_only_the_ways_that_are_allowed() -> None:
    assert taken("number(word", "number(other", 4, ("whole", "line")) is None
    assert taken("a = 1\nb = 2", "a = 1\nb = 3", 4, ("whole",)) is None


async def test_the_whole_line_at_once() -> None:
    tally, events = await typed(
        Oracle(lambda prefix: "eturn a + b" if prefix.endswith(" r") else ""), "    ‸return a + b‸\n"
    )
    assert (tally.n_keys, tally.n_pressed) == (12, 2)  # "r" and one press
    assert (tally.n_shown, tally.n_accepted, tally.n_whole, tally.n_chars_accepted) == (1, 1, 1, 11)
    assert (tally.n_decoded, tally.n_tokens_shown, tally.n_tokens_accepted) == (11, 11, 11)
    figures = tally.figures()
    assert figures["saved"] == pytest.approx(10 / 12)
    assert (figures["shown_acceptance"], figures["flicker"], figures["wasted"]) == (1.0, None, 0.0)
    assert [event["event"] for event in events] == ["shown", "accepted"]


async def test_an_engine_that_knows_nothing() -> None:
    tally, _ = await typed(Oracle(lambda prefix: ""), "x = ‸a + b\n    c‸\n")
    assert (tally.n_keys, tally.n_pressed, tally.n_shown) == (7, 7, 0)  # editors indent by themselves
    assert (tally.n_asked, tally.figures()["saved"], tally.figures()["shown_acceptance"]) == (6, 0.0, None)


async def test_typing_along_without_taking() -> None:
    """A suggestion that is right but too short to be accepted: it is shown once and does not flicker."""
    tally, _ = await typed(Oracle(lambda prefix: "wxyz"[len(prefix) - 1 :]), "‸vwxy‸ z\n", Habits(waits=True, least=9))
    assert (tally.n_pressed, tally.n_shown, tally.n_along, tally.n_flickers) == (4, 1, 2, 0)
    assert tally.n_cache == 2
    assert tally.n_decoded == 4  # typed through: asked once


@pytest.mark.parametrize(("second", "n_flickers", "n_shown"), [
    ("bcd", 0, 1),  # what stood there
    ("bcdef", 0, 1),  # it has grown
    ("other", 1, 2),  # another one
    ("bc", 1, 2),  # shorter
    ("", 1, 1),  # gone
])  # fmt: skip
async def test_flicker(monkeypatch: pytest.MonkeyPatch, second: str, n_flickers: int, n_shown: int) -> None:
    monkeypatch.setattr("midfill.reuse.Reuse.finished", lambda *_, **__: None)  # every key asks the engine
    engine = Oracle(lambda prefix: {"v": "abcd", "va": second}.get(prefix, ""))
    tally, events = await typed(engine, "‸va!‸\n", Habits(waits=True, least=9))
    assert (tally.n_along, tally.n_flickers, tally.n_shown) == (1, n_flickers, n_shown)
    assert [event["event"] for event in events].count("flicker") == n_flickers


async def test_a_key_that_does_not_fit_is_no_flicker() -> None:
    tally, _ = await typed(Oracle(lambda prefix: "abcd" if prefix == "v" else ""), "‸vx!‸\n")
    assert (tally.n_shown, tally.n_along, tally.n_flickers) == (1, 0, 0)


async def test_growth_is_one_suggestion() -> None:
    engine = ScriptedEngine(["ab", "cd", "ef"])
    tally, _ = await typed(engine, "‸xy‸\n", Habits(waits=True, sees_growth=True))
    assert (tally.n_shown, tally.n_tokens_shown, len(tally.shown_s)) == (1, 6, 3)
    final, _ = await typed(ScriptedEngine(["ab", "cd", "ef"]), "‸xy‸\n")
    assert (final.n_shown, final.n_tokens_shown, len(final.shown_s)) == (1, 6, 1)


async def test_the_next_key_supersedes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [0.01] * len(keys))
    engine = ScriptedEngine(["a", "b"], delay_s=3600)
    tally, _ = await typed(engine, "‸vwxy‸\n", Habits())
    assert (tally.n_asked, tally.n_superseded, tally.n_shown, tally.n_pressed) == (3, 3, 0, 4)
    assert engine.n_cancelled == 3


async def test_what_is_superseded_was_decoded_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three keys cut off three generations, each after its first piece; each time the engine is given back."""
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [0.2] * len(keys))

    class Stalls(ScriptedEngine):
        async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
            self.n_requests += 1
            yield Delta("!!!")
            await asyncio.sleep(3600)

    engine = Stalls([])
    completer = Completer(engine, CharRenderer(), INFO, Config(max_debounce_s=0.0))
    tally = await Typist(completer, place("‸vwxy‸\n"), Habits(), len).type()
    assert (tally.n_superseded, tally.n_shown, engine.n_requests) == (3, 0, 3)
    assert (tally.n_decoded, tally.figures()["wasted"]) == (9, 1.0)
    assert completer.engine is engine


async def test_what_the_server_refuses() -> None:
    tally, _ = await typed(Oracle(lambda prefix: "suggestion"), "‸vwxy‸z\n")
    assert (tally.n_asked, tally.n_refused, tally.n_shown, tally.n_decoded) == (3, 3, 0, 0)


async def test_virtual_time_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [3600.0] * len(keys))
    tally, _ = await typed(ScriptedEngine(["no"]), "‸vwxy‸\n", Habits())
    assert (tally.n_asked, tally.n_superseded) == (3, 0)


async def test_real_time_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "gaps", lambda keys, rng: [0.05] * len(keys))
    start = time.monotonic()
    await typed(ScriptedEngine(["no"]), "‸vwxy‸\n", Habits(real_time=True))
    assert time.monotonic() - start >= 0.15


@pytest.mark.parametrize(("text", "n_places", "n_chars", "typed_there"), [
    ("aaaa\nbbbb\ncccc\ndddd\n", 2, 4, ["aaaa", "cccc"]),
    ("aaaa\nbbbb\ncccc\ndddd\n", 2, 8, ["aaaa\nbbbb", "cccc\ndddd"]),
    ("aaaa\nbbbb\ncccc\ndddd\n", 2, 2, ["aaaa", "cccc"]),  # nothing of a line is left right of the cursor
    ("aaaa\nbbbb\ncccc\ndddd\n", 2, 12, ["aaaa\nbbbb\ncccc", "dddd"]),
    ("a" * 90 + "\n", 1, 12, ["a" * 12]),
    ("aaaa\n", 3, 100, ["aaaa"]),
    ("\n\n", 2, 5, []),
    ("", 2, 5, []),
])  # fmt: skip
def test_places(text: str, n_places: int, n_chars: int, typed_there: list[str]) -> None:
    found = places(Path("/w"), "a.py", "python", text, n_places, n_chars)
    assert [text[one.start : one.end] for one in found] == typed_there


async def test_the_typed_text_is_not_in_the_prompt() -> None:
    prompts = []

    def say(prefix: str) -> str:
        prompts.append(prefix)
        return ""

    await typed(Oracle(say), "before\n‸secret‸\nafter\n")
    assert prompts == ["before\n" + "secret"[:n] for n in range(1, 6)]


def test_sums_and_pairs() -> None:
    one, other = Tally(n_keys=10, n_pressed=5, shown_s=[1.0]), Tally(n_keys=30, n_pressed=30)
    run = [(place("‸ab‸"), one), (place("x‸ab‸"), other)]
    assert total(run).figures()["saved"] == pytest.approx(5 / 40)
    assert total(run).shown_s == [1.0]
    (saved,) = paired([run, run])
    assert (saved.metric, saved.n, saved.difference) == ("saved", 2, 0.0)
