"""A place is read before a request for it, and no request waits for that. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from midfill import power, read_ahead
from midfill.completer import Completer
from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.scripted import ScriptedEngine
from midfill.types import Snippet
from tests.dictated import Request, scripted, until
from tests.support import at

HERE, THERE = at("x = ‸\n"), at("y = 1\nz = ‸\n")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "LOOKS_S", (0.001,) * 4)
    monkeypatch.setattr(power, "charge", lambda: None)


def resident(**options: Any) -> tuple[Completer, ScriptedEngine]:
    subject, engine = scripted("add(", "1)", resident=True, max_debounce_s=0.0, **options)
    subject._reading._charge = lambda: None
    return subject, engine


def text_of(prompt: tuple[int, ...]) -> str:
    return "".join(chr(token) if token < 0x110000 else "|" for token in prompt)


async def test_the_prompt_is_that_of_the_request() -> None:
    subject, engine = resident()
    prompts: list[tuple[int, ...]] = []
    stream = engine.stream

    def watched(request: Any) -> Any:
        prompts.append(request.prompt)
        assert request.background == request.prefill_only
        return stream(request)

    engine.stream = watched  # type: ignore[method-assign]
    subject._reading._stream = watched
    subject.rests(HERE)
    await until(lambda: engine.n_read == 1)
    assert (await Request(subject, HERE).end()).text == "add(1)"
    assert len(set(prompts)) == 1
    assert engine.n_requests == 1
    await subject.aclose()


@pytest.mark.parametrize("left", ["elsewhere", "nowhere", "edit", "request", "end"])
async def test_it_ends_when_the_place_is_left(left: str) -> None:
    subject, engine = resident()
    engine.read_s = 30.0
    subject.rests(HERE)
    await until(lambda: len(engine.read) == 1)
    if left == "elsewhere":
        subject.rests(THERE)
    elif left == "nowhere":
        subject.rests(None)
    elif left == "edit":
        subject.edited(HERE.uri, lambda: "x = y\n")
    elif left == "request":
        assert (await Request(subject, THERE).end()).text == "add(1)"
    else:
        await subject.aclose()
    await until(lambda: engine.n_unread == 1)
    assert engine.n_read == 0
    await until(lambda: len(engine.read) == (2 if left == "elsewhere" else 1))
    await subject.aclose()


@pytest.mark.parametrize("kept", ["the same place", "an edit elsewhere"])
async def test_it_goes_on_where_the_place_stays(kept: str) -> None:
    subject, engine = resident()
    engine.read_s = 0.03
    subject.rests(HERE)
    await until(lambda: len(engine.read) == 1)
    subject.rests(HERE) if kept == "the same place" else subject.edited("file:///w/other.py", lambda: "")
    await until(lambda: engine.n_read == 1)
    assert (len(engine.read), engine.n_unread) == (1, 0)
    await subject.aclose()


class Chosen:
    """A source that chooses in the background."""

    budget = 0

    def __init__(self) -> None:
        self.text = ""

    def snippets(self, _snapshot: object) -> list[Snippet]:
        return [Snippet("b.py", self.text)] if self.text else []


class WithSnippets:
    """A renderer whose prompts hold the snippets."""

    async def render(self, snapshot: Any, snippets: Any, _budget: int) -> Any:
        from midfill.fim import Prompt

        return Prompt(tuple(map(ord, "".join(one.text for one in snippets) + snapshot.prefix)), 0, 1, 0, 0)


async def test_it_is_read_again_when_other_files_say_something_else() -> None:
    source = Chosen()
    subject, engine = resident(sources=[source])
    subject.renderer = WithSnippets()  # type: ignore[assignment]
    subject.rests(HERE)
    await until(lambda: engine.n_read == 1)
    source.text = "def b(): ..."
    subject.rests(HERE)
    await until(lambda: engine.n_read == 2)
    assert [text_of(prompt) for prompt in engine.read] == ["x = ", "def b(): ...x = "]
    await asyncio.sleep(0.02)
    assert len(engine.read) == 2  # nothing has changed since
    await subject.aclose()


@pytest.mark.parametrize(
    ("options", "charge", "n_read"),
    [
        ({}, None, 1),
        ({}, 0.9, 1),
        ({}, 0.3, 0),
        ({"ahead": False}, None, 0),
        ({"disabled_languages": ("python",)}, None, 0),
        ({"disabled_files": ("main.py",)}, None, 0),
        ({"disabled_languages": ("go",)}, None, 1),
    ],
)
async def test_when_it_is_not_wanted(options: dict[str, Any], charge: float | None, n_read: int) -> None:
    subject, engine = resident(**options)
    subject._reading._charge = lambda: charge
    subject.rests(HERE)
    if (task := subject._reading._task) is not None:
        await asyncio.wait([task])
    assert engine.n_read == n_read
    await subject.aclose()


@pytest.mark.parametrize(
    ("reasons", "looks", "n_asked"),
    [
        (["cancelled", "length", "never asked"], (0.001,) * 4, 2),  # at the next look
        (["cancelled", "cancelled", "length", "never asked"], (0.001, 30.0), 3),  # and not only then
    ],
)
async def test_what_the_engine_has_no_time_for_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, reasons: list[str], looks: tuple[float, ...], n_asked: int
) -> None:
    monkeypatch.setattr(read_ahead, "LOOKS_S", looks)
    monkeypatch.setattr(read_ahead, "AGAIN_S", 0.001)
    subject, engine = resident()
    left = iter(reasons)
    asked: list[tuple[int, ...]] = []

    async def stream(request: GenerateRequest) -> AsyncIterator[Delta]:
        asked.append(request.prompt)
        yield Delta("", next(left))

    subject._reading._stream = stream
    subject.rests(HERE)
    assert subject._reading._task is not None
    if len(looks) == 4:
        await asyncio.wait([subject._reading._task])
    await until(lambda: len(asked) == n_asked)
    await asyncio.sleep(0.01)
    assert (len(asked), len(set(asked)), engine.read) == (n_asked, 1, [])
    await subject.aclose()


async def test_what_is_known_is_not_read() -> None:
    subject, engine = resident(ahead=True)
    await Request(subject, HERE).end()
    subject.rests(HERE)
    assert subject._reading._task is None
    assert engine.read == []
    await subject.aclose()


@pytest.mark.parametrize(
    ("supplies", "left"),
    [
        ({}, None),
        ({"AC": {"type": "Mains", "online": "1"}}, None),
        ({"BAT0": {"type": "Battery", "status": "Charging", "capacity": "20"}}, None),
        ({"BAT0": {"type": "Battery", "status": "Discharging", "capacity": "20"}}, 0.2),
        ({"BAT1": {"type": "Battery", "status": "Discharging", "capacity": "80\n"}}, 0.8),
        ({"hid": {"type": "Battery", "status": "Discharging", "capacity": "5", "scope": "Device"}}, None),
        ({"BAT0": {"type": "Battery", "status": "Discharging", "capacity": "?"}}, None),
        ({"BAT0": {"type": "Battery", "status": "Discharging", "capacity": "900"}}, 1.0),
    ],
)
def test_what_a_battery_has_left(tmp_path: Path, supplies: dict[str, dict[str, str]], left: float | None) -> None:
    for name, values in supplies.items():
        (tmp_path / name).mkdir()
        for key, value in values.items():
            (tmp_path / name / key).write_text(value)
    assert power.of_folder(tmp_path) == left


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t42%; discharging; 3:01 remaining", 0.42),
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t42%; charging; 1:01 remaining", None),
        ("Now drawing from 'AC Power'\n", None),
    ],
)
def test_what_macos_says(said: str, left: float | None) -> None:
    assert power.of_pmset(said) == left


@pytest.mark.parametrize(
    ("buffer", "after"),
    [
        ("    x = 1‸\ny", "    x = 1\n    ‸\ny"),
        ("if a:‸", "if a:\n    ‸"),
        ("\tif (a) {‸ \n", "\tif (a) {\n\t\t‸ \n"),
        ("f(‸)", None),
        ("    ‸", None),
    ],
)
def test_after_enter(buffer: str, after: str | None) -> None:
    assert read_ahead.entered(at(buffer)) == (at(after) if after else None)
