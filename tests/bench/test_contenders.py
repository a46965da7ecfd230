"""How contenders are asked and timed, without a model."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from midfill import fim
from midfill.bench.contenders import LlamaServer, Midfill, Timing
from midfill.bench.prompts import Layouts
from midfill.engine.http import HttpEngine
from midfill.types import MidfillError
from tests.support import at
from tests.tokenizers_made import make

Event = dict[str, Any]
BUFFER = "total = ‸\nreturn total\n"


def test_timing() -> None:
    ours = Timing((0.1,), 32, 0.9)
    assert (ours.ttft_s, ours.until(1), ours.until(32), ours.until(20)) == (0.1, 0.1, 0.9, 0.9)
    theirs = Timing((0.5, 0.6, 0.7), 3, 0.7)
    assert (theirs.ttft_s, theirs.until(2), theirs.until(3)) == (0.5, 0.6, 0.7)


def streamed(asked: list[tuple[str, Event]], *events: Event, status: int = 200) -> httpx.AsyncClient:
    """Serve ``events`` as the answer to every request, and keep the requests."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append((request.url.path, json.loads(request.content)))
        body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
        return httpx.Response(status, content=body + "data: [DONE]\n\n")

    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://test")


async def test_llama() -> None:
    asked: list[tuple[str, Event]] = []
    events: tuple[Event, ...] = (
        {"content": "a", "tokens": [1]},
        {"content": " + b", "tokens": [2, 3]},
        {"content": "", "stop": True},
    )
    llama = LlamaServer(streamed(asked, *events), 0, "test")
    timing = await llama.infill(at(BUFFER), 3)
    await llama.window([1, 2], 1)
    assert timing.n_tokens == len(timing.token_s) == 3
    assert timing.text == "a + b"
    (route, infill), (other, completion) = asked
    assert (route, other) == ("/infill", "/completion")
    assert (infill["input_prefix"], infill["input_suffix"]) == ("total = ", "\nreturn total\n")
    assert (infill["n_predict"], infill["temperature"], infill["ignore_eos"]) == (3, 0, True)
    assert completion["prompt"] == [1, 2]


@pytest.mark.parametrize(("events", "status"), [([], 200), ([{"content": "a"}], 501)])
async def test_llama_of_another_version(events: list[Event], status: int) -> None:
    llama = LlamaServer(streamed([], *events, status=status), 0, "test")
    with pytest.raises(MidfillError, match=r"llama\.cpp"):
        await llama.window([1], 1)


async def test_llama_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(MidfillError, match="cannot start"):
        async with LlamaServer.start(tmp_path / "absent", tmp_path / "model.gguf"):
            raise AssertionError
    false = tmp_path / "llama-server"
    false.write_text("#!/bin/sh\nexit 1\n")
    false.chmod(stat.S_IRWXU)
    with pytest.raises(MidfillError, match="did not start"):
        async with LlamaServer.start(false, tmp_path / "model.gguf"):
            raise AssertionError


async def test_midfill(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Event]] = []
    chunks: list[Event] = [{"choices": [{"text": text, "finish_reason": None}]} for text in ("", "a", " + b")]
    last: Event = {
        "choices": [{"text": "", "finish_reason": "stop"}],
        "midfill": {"n_decoded": 3, "n_cached": 7, "n_prompt": 9},
    }
    engine = HttpEngine("http://test")
    monkeypatch.setattr(engine, "_client", streamed(asked, *chunks, last))
    layouts = Layouts(fim.TEMPLATES["qwen2.5-coder"], make("qwen2.5-coder"), keeps_suffix=True)
    ours = Midfill(engine, layouts, os.getpid())
    timing = await ours.infill(at(BUFFER), 8)
    assert (timing.text, timing.n_tokens, timing.stats.n_prompt, timing.stats.n_cached) == ("a + b", 3, 9, 7)
    assert 0 < timing.ttft_s <= timing.total_s
    await ours.window([5, 6], 4)
    assert asked[-1][1]["prompt"] == [5, 6]
