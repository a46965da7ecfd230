"""Prompts written in another process: by the local engine, or by a child process if engines are elsewhere.

A tokenizer of 150,000 entries takes 200 MB. Building it holds Python's lock for 0.3 s, and encoding a long file for
milliseconds; in the language server's process that would delay every message. The engine has a tokenizer anyway. The
child speaks one JSON object per line over its pipes.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from midfill import fim, paths, safe_path
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.engine.render_wire import prompt_body, read_prompt, read_render, render_body
from midfill.fim import FimRenderer, Prompt
from midfill.remote import vocabulary
from midfill.remote.vocabulary import TokenizerFacts
from midfill.tokenizer import CodeTokenizer
from midfill.types import Snapshot, Snippet

MAX_LINE = 64 << 20


class EngineRenderer:
    """Renders with the engine that also generates, so it fails when that fails."""

    def __init__(self, engine: HttpEngine, order: str, *, heal: bool = False) -> None:
        self._engine, self._layout = engine, {"order": order, "heal": heal}

    async def render(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> Prompt:
        """Return the prompt for the middle at the cursor. Raises EngineError."""
        return prompt_of(
            await self._ask({**render_body(window_of(snapshot, budget), snippets, budget), **self._layout})
        )

    async def spell(self, prompt: Prompt) -> str:
        """Return the prompt as text. Raises EngineError."""
        return str((await self._ask({"spell": list(prompt.ids)})).get("text"))

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text. Raises EngineError."""
        try:
            return [int(token) for token in (await self._ask({"encode": text}))["ids"]]
        except (KeyError, TypeError, ValueError) as error:
            raise EngineError("the engine's answer holds no ids", "run: midfill doctor") from error

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        return await self._engine.ask("/midfill/render", body)


class RenderProcess:
    """A child process that renders for one tokenizer, template and order; started when first needed, and again if it
    dies."""

    def __init__(
        self, tokenizer_file: str, template: str | None, order: str, *, heal: bool = False, model: str = ""
    ) -> None:
        """``template`` "auto": recognised from the tokenizer and the name of ``model``."""
        self._arguments = [tokenizer_file, template or fim.PREFIX_ONLY.name, order, "heal" if heal else "plain", model]
        self._child: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._starting = asyncio.Lock()

    async def render(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> Prompt:
        """Return the prompt for the middle at the cursor. Raises EngineError."""
        return prompt_of(await self._ask(render_body(window_of(snapshot, budget), snippets, budget)))

    async def spell(self, prompt: Prompt) -> str:
        """Return the prompt as text. Raises EngineError."""
        return str((await self._ask({"spell": list(prompt.ids)}))["text"])

    async def facts(self) -> TokenizerFacts:
        """Return the constants of the tokenizer and the template. Raises EngineError."""
        return vocabulary.from_json((await self._ask({"facts": True}))["facts"])

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text. Raises EngineError."""
        return [int(token) for token in (await self._ask({"encode": text}))["ids"]]

    async def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ``ids``, with control tokens spelled out. Raises EngineError."""
        return str((await self._ask({"spell": list(ids)}))["text"])

    async def spell_safely(self, ids: Sequence[int]) -> str | None:
        """Return the same if no text in it reads like a control token; None otherwise. Raises EngineError."""
        text = (await self._ask({"safely": list(ids)}))["text"]
        return text if text is None else str(text)

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        child = await self._alive()
        assert child.stdin is not None
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        try:
            child.stdin.write(json.dumps({"n": number, **message}).encode() + b"\n")
            answer = await future
        except (OSError, RuntimeError) as error:
            raise EngineError("the tokenizer process does not answer", "midfill starts it again") from error
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise EngineError(f"the prompt could not be written: {answer['error']}", "run: midfill doctor")
        return answer

    async def _alive(self) -> asyncio.subprocess.Process:
        async with self._starting:
            if self._child is not None and self._child.returncode is None:
                return self._child
            env = {**safe_path.child_environment(), "TOKENIZERS_PARALLELISM": "false"}
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "midfill.client.rendering", *self._arguments,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                limit=MAX_LINE, env=env, cwd=paths.runtime_dir(), start_new_session=True,
            )  # fmt: skip
            self._reader = asyncio.create_task(self._read(self._child))
            return self._child

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while line := await child.stdout.readline():
                answer = json.loads(line)
                future = self._waiting.pop(answer["n"], None)
                if future is not None and not future.done():
                    future.set_result(answer)
        await child.wait()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(EngineError("the tokenizer process ended", "midfill starts it again"))
        self._waiting.clear()

    async def heal(self) -> None:
        """From now on prompts leave a begun word to the middle: the child is restarted for the next prompt."""
        self._arguments[3] = "heal"
        await self.aclose()

    async def aclose(self) -> None:
        """End the child and wait until it is gone; requests for prompts fail."""
        if self._child is None or self._reader is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        await asyncio.wait([self._reader])


def prompt_of(answer: dict[str, Any]) -> Prompt:
    """Return the prompt in the answer. Raises EngineError."""
    try:
        return read_prompt(answer)
    except (KeyError, TypeError) as error:
        raise EngineError("the engine's answer is not a prompt", "run: midfill doctor") from error


def window_of(snapshot: Snapshot, budget: int) -> Snapshot:
    """Return ``snapshot`` cut to what a prompt of ``budget`` tokens can hold; the prompt is the same as from all of
    it.

    ``fim.tail`` begins its window at a multiple of some lines, so empty lines stand in for the lines left out: as many
    as keep the number of each line the same in that count.
    """
    n_chars = budget * (fim.CHARS_PER_TOKEN + 2)
    start = max(0, snapshot.cursor - n_chars)
    left_out = "\n" * (snapshot.text.count("\n", 0, start) % fim.MAX_STEP)
    text = left_out + snapshot.text[start : snapshot.cursor + n_chars]
    return dataclasses.replace(snapshot, text=text, cursor=len(left_out) + snapshot.cursor - start)


def _answer(renderer: FimRenderer, message: dict[str, Any]) -> dict[str, Any]:
    if "spell" in message:
        return {"text": renderer.tokenizer.decode(message["spell"])}
    if "facts" in message:
        return {"facts": vocabulary.as_json(vocabulary.facts_of(renderer))}
    if "encode" in message:
        return {"ids": renderer.tokenizer.encode(message["encode"])}
    if "safely" in message:
        return {"text": vocabulary.spelled_safely(renderer.tokenizer, message["safely"])}
    return prompt_body(renderer.render(*read_render(message)))


def main() -> None:
    """The child: answers requests from its standard input until that ends."""
    tokenizer_file, template, order, heal, model = sys.argv[1:6]
    tokenizer = CodeTokenizer.from_file(Path(tokenizer_file))
    renderer = FimRenderer(fim.find(template, tokenizer, model), tokenizer, order, heal=heal == "heal")
    out = sys.stdout.buffer
    for line in sys.stdin.buffer:
        message = json.loads(line)
        try:
            answer = _answer(renderer, message)
        except Exception as error:  # noqa: BLE001 - one bad request must not end the child
            answer = {"error": type(error).__name__}
        out.write(json.dumps({"n": message["n"], **answer}).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
