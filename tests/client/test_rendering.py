"""A child process writes the same prompts, and the server survives its death. ``‸`` is the cursor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from midfill import fim
from midfill.client.rendering import RenderProcess
from midfill.engine.base import EngineError
from midfill.fim import FimRenderer
from midfill.types import Snippet
from tests.support import at
from tests.tokenizers_made import describe, make


@pytest.fixture
async def child(tmp_path: Path) -> AsyncIterator[RenderProcess]:
    (tmp_path / "tokenizer.json").write_text(json.dumps(describe("qwen2.5-coder")), encoding="utf-8")
    process = RenderProcess(str(tmp_path / "tokenizer.json"), "qwen2.5-coder", "psm")
    yield process
    await process.aclose()


async def test_the_same_prompts(child: RenderProcess) -> None:
    tokenizer = make("qwen2.5-coder")
    here = FimRenderer(fim.detect(tokenizer), tokenizer)
    others = [Snippet("a.py", "A = '<|fim_middle|>'")]
    buffers = [at("def f(é):\n    return ‸\n😀"), at("‸"), at("x = 1\n" * 20_000 + "y = ‸\n" + "z\n" * 20_000)]
    prompts = await asyncio.gather(*(child.render(snapshot, others, 200) for snapshot in buffers))
    assert prompts == [here.render(snapshot, others, 200) for snapshot in buffers]
    assert await child.spell(prompts[0]) == here.spell(prompts[0])
    assert await child.encode("é") == tokenizer.encode("é")


async def test_a_lone_surrogate(child: RenderProcess) -> None:
    prompt = await child.render(at("x = '\ud800‸"), (), 200)
    assert "x = '\ufffd<|fim_suffix|>" in await child.spell(prompt)


async def test_it_is_started_again(child: RenderProcess) -> None:
    before = await child.render(at("a‸"), (), 100)
    assert child._child is not None
    first = child._child
    os.kill(first.pid, signal.SIGSTOP)
    waiting = asyncio.ensure_future(child.render(at("b‸"), (), 100))
    await asyncio.sleep(0.05)
    first.kill()
    with pytest.raises(EngineError, match="the tokenizer process ended"):
        await waiting
    assert await child.render(at("a‸"), (), 100) == before
    assert child._child is not first


async def test_a_tokenizer_that_cannot_be_read(tmp_path: Path) -> None:
    process = RenderProcess(str(tmp_path / "none.json"), "qwen2.5-coder", "psm")
    with pytest.raises(EngineError, match="the tokenizer process ended"):
        await process.render(at("a‸"), (), 100)
    await process.aclose()
