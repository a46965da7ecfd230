"""A person types a real file through the real language server: when ghost text comes, and how much was never seen."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from midfill.bench.holes import read_module
from midfill.demo.client import Client, ServerGone
from midfill.eval.figures import percentile
from midfill.eval.keys import added, gaps, keys_of
from midfill.types import MidfillError

MODULE = "textwrap"
START = "    def _handle_long_word"  # what comes before is there already; from here on everything is typed
URI = "file:///bench/textwrap.py"
READY_S = 180.0
LAST_S = 20.0  # how long the last key waits for the engine to finish


@dataclass(slots=True)
class Replay:
    """What the typist saw."""

    n_keys: int = 0
    shown_s: list[float] = field(default_factory=list)  # keystroke to ghost text, of the keys that got some
    n_decoded: int = 0
    n_shown: int = 0  # tokens that stood on the screen

    @property
    def n_wasted(self) -> int:
        """Tokens decoded and never shown."""
        return max(0, self.n_decoded - self.n_shown)

    def figures(self) -> dict[str, Any]:
        """For the JSON line."""
        times = {"p50_s": percentile(self.shown_s, 0.5), "p95_s": percentile(self.shown_s, 0.95)}
        return {**dataclasses.asdict(self), **times, "n_keys_with_text": len(self.shown_s), "n_wasted": self.n_wasted}


async def replay(n_keys: int, count_tokens: Callable[[str], int], seed: int = 1) -> Replay:
    """Type ``n_keys`` keys. Raises MidfillError."""
    before, _, after = read_module(MODULE).partition(START)
    if not after:
        raise MidfillError(f"this Python's {MODULE} has no {START.strip()!r}", "use CPython 3.11 or newer")
    keys = keys_of(START + after)[:n_keys]
    typed = len("".join(keys))
    rest = (START + after)[typed:].partition("\n    def ")  # the method that is being typed is not there yet
    rng = random.Random(seed)  # noqa: S311 - the same typist each time
    try:
        async with Client.start() as client:
            await _until_ready(client)
            typist = Typist(client, before, rest[1] + rest[2], count_tokens)
            return await typist.type(keys, gaps(keys, rng))
    except (ServerGone, TimeoutError):
        raise MidfillError("the language server ended or did not become ready", "run: midfill doctor") from None


async def _until_ready(client: Client) -> None:
    ready = asyncio.Event()
    client.on_notification["midfill/status"] = lambda status: ready.set() if status["state"] == "ready" else None
    await client.request("initialize", {"processId": os.getpid(), "rootUri": None, "capabilities": {}})
    client.notify("initialized")
    async with asyncio.timeout(READY_S):
        await ready.wait()


class Typist:
    """An editor's window with one file, and a clock beside it."""

    def __init__(self, client: Client, before: str, after: str, count_tokens: Callable[[str], int]) -> None:
        self._client, self._count = client, count_tokens
        self._before = before
        self._version = 1
        self._standing = ""  # ghost text that has been shown and is not typed over
        self._replay = Replay()
        self._last_answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        document = {"uri": URI, "languageId": "python", "version": 1, "text": before + after}
        client.notify("textDocument/didOpen", {"textDocument": document})

    async def type(self, keys: Sequence[str], waits: Sequence[float]) -> Replay:
        """Press the keys, each followed by its wait."""
        n_before = await self._n_decoded()
        for key, wait in zip(keys, waits, strict=True):
            self._press(key)
            await asyncio.sleep(wait)
        await self._until_idle()
        self._replay.n_decoded = await self._n_decoded() - n_before
        return self._replay

    async def _until_idle(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                await self._last_answer
                while (engine := await self._engine()).get("n_active") or engine.get("n_waiting"):
                    await asyncio.sleep(0.1)

    async def _n_decoded(self) -> int:
        return int((await self._engine()).get("totals", {}).get("n_decoded", 0))

    async def _engine(self) -> dict[str, Any]:
        engine = (await self._client.request("midfill/stats"))["engine"]
        assert isinstance(engine, dict)
        return engine

    def _press(self, key: str) -> None:
        place = self._position()
        self._version += 1
        change = {"range": {"start": place, "end": place}, "text": key}
        document = {"uri": URI, "version": self._version}
        self._client.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})
        self._before += key
        self._standing = self._standing[len(key) :] if self._standing.startswith(key) else ""
        self._replay.n_keys += 1
        self._ask()

    def _ask(self) -> None:
        version, start, is_first = self._version, time.monotonic(), True

        def show(result: Any) -> None:
            nonlocal is_first
            text = text_of(result)
            if version != self._version or not text:  # an editor drops what an older key asked for
                return
            if is_first:
                self._replay.shown_s.append(time.monotonic() - start)
            is_first = False
            if not self._standing.startswith(text):  # else all of it has been shown before
                self._replay.n_shown += self._count(added(self._standing, text))
                self._standing = text

        token = f"key-{version}"
        self._client.on_notification["$/progress"] = lambda params: (
            show(params["value"]) if params.get("token") == token else None
        )
        params = {
            "textDocument": {"uri": URI},
            "position": self._position(),
            "context": {"triggerKind": 2},
            "partialResultToken": token,
        }
        _, answer = self._client.send_request("midfill/inlineCompletion", params)
        self._last_answer = answer
        answer.add_done_callback(lambda done: None if done.cancelled() or done.exception() else show(done.result()))

    def _position(self) -> dict[str, int]:
        line_start = self._before.rfind("\n") + 1
        return {"line": self._before.count("\n"), "character": len(self._before) - line_start}


def text_of(result: Any) -> str:
    """The text of the first suggestion; "" of none."""
    items = (result or {}).get("items") or []
    return str(items[0]["insertText"]) if items else ""
