"""The engine writes prompts: the same as elsewhere, in a thread, and never to its own end. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from midfill import fim
from midfill.client.rendering import EngineRenderer
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.fim import FimRenderer
from midfill.serve.app import EngineApi
from midfill.tokenizer import CodeTokenizer
from midfill.types import ModelInfo, Snippet
from tests.serve.made import FakeResident
from tests.support import at
from tests.tokenizers_made import make

OTHERS = [Snippet("a.py", "A = '<|fim_middle|>'")]


@pytest.fixture
def resident() -> FakeResident:
    resident = FakeResident()
    resident.tokenizer = make("qwen2.5-coder")
    resident.info = ModelInfo("m", "", "qwen2.5-coder", 10, 20, "cpu", "float32")
    return resident


@pytest.fixture
async def engine(resident: FakeResident) -> AsyncIterator[HttpEngine]:
    engine = HttpEngine("http://midfill", token="secret")
    await engine._client.aclose()
    engine._client = httpx.AsyncClient(
        transport=httpx.ASGITransport(app=EngineApi(resident, "secret", lambda: None).app()), base_url="http://midfill",
        headers={"Authorization": "Bearer secret"},
    )  # fmt: skip
    yield engine
    await engine.aclose()


@pytest.mark.parametrize(("order", "heal"), [("psm", False), ("psm", True), ("spm", False)])
async def test_the_same_prompts(engine: HttpEngine, resident: FakeResident, order: str, heal: bool) -> None:
    assert resident.tokenizer is not None
    here = FimRenderer(fim.detect(resident.tokenizer), resident.tokenizer, order, heal=heal)
    there = EngineRenderer(engine, order, heal=heal)
    buffers = [at("def f(é):\n    ret‸\n😀"), at("‸"), at("x = 1\n" * 20_000 + "y = ‸\n" + "z\n" * 20_000)]
    prompts = await asyncio.gather(*(there.render(snapshot, OTHERS, 200) for snapshot in buffers))
    assert prompts == [here.render(snapshot, OTHERS, 200) for snapshot in buffers]
    assert await there.spell(prompts[0]) == here.spell(prompts[0])
    assert await there.encode("é <|fim_middle|>") == here.tokenizer.encode("é <|fim_middle|>")


async def test_a_lone_surrogate(engine: HttpEngine) -> None:
    renderer = EngineRenderer(engine, "psm")
    prompt = await renderer.render(at("x = '\ud800‸"), (), 200)
    assert "x = '\ufffd<|fim_suffix|>" in await renderer.spell(prompt)


async def test_before_the_model_is_there(engine: HttpEngine, resident: FakeResident) -> None:
    resident.tokenizer = None
    with pytest.raises(EngineError, match="not ready"):
        await EngineRenderer(engine, "psm").render(at("a‸"), (), 100)


class Panic(BaseException):
    """An error as the tokenizer's library raises it: it is no Exception."""


async def test_what_the_tokenizer_does_ends_nothing_but_the_request(
    engine: HttpEngine, resident: FakeResident, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = EngineRenderer(engine, "psm")

    def panic(*_: Any) -> None:
        raise Panic("of a text, which is not told")

    monkeypatch.setattr(CodeTokenizer, "encode_with_offsets", panic)
    with pytest.raises(EngineError, match=r"could not be written: Panic "):
        await renderer.render(at("a‸"), (), 100)
    monkeypatch.undo()
    assert (await renderer.render(at("a‸"), (), 100)).ids


async def test_the_loop_answers_meanwhile(
    engine: HttpEngine, resident: FakeResident, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, goes_on = threading.Event(), threading.Event()
    encode = CodeTokenizer.encode_with_offsets

    def slowly(self: CodeTokenizer, text: str) -> Any:
        began.set()
        goes_on.wait()
        return encode(self, text)

    monkeypatch.setattr(CodeTokenizer, "encode_with_offsets", slowly)
    waiting = asyncio.ensure_future(EngineRenderer(engine, "psm").render(at("a‸"), (), 100))
    await asyncio.to_thread(began.wait)
    assert (await engine.client.get("/health")).status_code == 200
    assert not waiting.done()
    goes_on.set()
    assert (await waiting).ids


_PLACE = ["a", "b", "a.py", "python"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "snapshot must be"),
        ({"snapshot": _PLACE[:3], "snippets": [], "budget": 9}, "snapshot must be"),
        ({"snapshot": [*_PLACE[:3], 4], "snippets": [], "budget": 9}, "snapshot must be"),
        ({"snapshot": _PLACE, "snippets": None, "budget": 9}, "snippets must be"),
        ({"snapshot": _PLACE, "snippets": [["a"]], "budget": 9}, "snippets must be"),
        ({"snapshot": _PLACE, "snippets": [["a", "b"]] * 1001, "budget": 9}, "snippets must be"),
        *(({"snapshot": _PLACE, "snippets": [], "budget": n}, "budget must be") for n in (0, True, "9", 1.5, 10**9)),
        ({"snapshot": _PLACE, "snippets": [], "budget": 9, "order": "msp"}, "order must be"),
        ({"snapshot": _PLACE, "snippets": [], "budget": 9, "heal": 1}, "order must be"),
        *(({"spell": ids}, "spell must be") for ids in (7, ["a"], [-1], [True])),
        *(({"encode": text}, "encode must be") for text in (None, 7, ["a"], "x" * 200_001)),
    ],
)
async def test_bad_bodies(engine: HttpEngine, body: dict[str, Any], message: str) -> None:
    answer = await engine.client.post("/midfill/render", json=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]
