"""Prompts for the windows of this machine: the engine has the tokenizer anyway, and it takes 200 MB."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from midfill import fim
from midfill.engine.base import EngineError
from midfill.engine.render_wire import prompt_body, read_ids, read_layout, read_render, read_text
from midfill.engine.wire import BadRequest
from midfill.fim import FimRenderer
from midfill.tokenizer import CodeTokenizer
from midfill.types import MidfillError, ModelInfo


class Rendering:
    """Renders in its own thread: a long text takes milliseconds in which the event loop has to answer."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="midfill-render")
        self._renderers: dict[tuple[int, str, bool], FimRenderer] = {}

    async def answer(
        self, tokenizer: CodeTokenizer | None, info: ModelInfo | None, body: dict[str, Any]
    ) -> dict[str, Any]:
        """Return what ``body`` asks for: a prompt, ids as text, or a text as ids. Raises BadRequest and EngineError."""
        if tokenizer is None or info is None:
            raise EngineError("the engine is not ready", "wait until the model is loaded")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._answer, tokenizer, info, body)

    def _answer(self, tokenizer: CodeTokenizer, info: ModelInfo, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return self._rendered(tokenizer, info, body)
        except (BadRequest, MidfillError):
            raise
        except BaseException as error:  # noqa: BLE001 - the tokenizer's library raises some of its own
            raise EngineError(
                f"the prompt could not be written: {type(error).__name__}", "run: midfill doctor"
            ) from None

    def _rendered(self, tokenizer: CodeTokenizer, info: ModelInfo, body: dict[str, Any]) -> dict[str, Any]:
        if "spell" in body:
            return {"text": tokenizer.decode(read_ids(body["spell"]))}
        if "encode" in body:
            return {"ids": tokenizer.encode(read_text(body["encode"]))}
        order, heal = read_layout(body)
        snapshot, snippets, budget = read_render(body)
        key = id(tokenizer), order, heal
        if (renderer := self._renderers.get(key)) is None:
            template = fim.find(info.template or fim.PREFIX_ONLY.name, tokenizer)
            renderer = self._renderers[key] = FimRenderer(template, tokenizer, order, heal=heal)
        return prompt_body(renderer.render(snapshot, snippets, budget))

    def close(self) -> None:
        """Stop without waiting."""
        self._pool.shutdown(wait=False, cancel_futures=True)
