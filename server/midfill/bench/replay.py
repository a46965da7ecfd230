"""A typist types a real file through the real language server: when ghost text comes, and how much was never seen."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from midfill.bench.holes import read_module
from midfill.demo.client import OpenFile, ServerGone, ServerProcess, first_item
from midfill.eval.figures import percentile
from midfill.eval.keys import keys_of
from midfill.eval.replay import Habits, Passage, Typist
from midfill.types import Completion, MidfillError, Snapshot

MODULE = "textwrap"
START = "    def _handle_long_word"  # what comes before is already there; from here on everything is typed
READY_S = 180.0
LAST_S = 20.0  # how long the last key waits for the engine to finish


@dataclass(slots=True)
class Replay:
    """What the typist saw."""

    n_keys: int = 0
    shown_s: list[float] = field(default_factory=list)  # from keystroke to ghost text, for the keys that got some
    n_decoded: int = 0
    n_shown: int = 0  # tokens that were on the screen

    @property
    def n_wasted(self) -> int:
        """Tokens decoded and never shown."""
        return max(0, self.n_decoded - self.n_shown)

    def figures(self) -> dict[str, Any]:
        """Return the figures for the line of JSON."""
        times = {"p50_s": percentile(self.shown_s, 0.5), "p95_s": percentile(self.shown_s, 0.95)}
        return {**dataclasses.asdict(self), **times, "n_keys_with_text": len(self.shown_s), "n_wasted": self.n_wasted}


async def replay(n_keys: int, count_tokens: Callable[[str], int], seed: int = 1) -> Replay:
    """Type ``n_keys`` keys. Raises MidfillError."""
    before, _, after = read_module(MODULE).partition(START)
    if not after:
        raise MidfillError(f"this Python's {MODULE} has no {START.strip()!r}", "use CPython 3.11 or newer")
    typed = "".join(keys_of(START + after)[:n_keys])
    rest = (START + after)[len(typed) :].partition("\n    def ")  # the method that is being typed is not there yet
    text = before + typed + rest[1] + rest[2]
    place = Passage(Path("/bench"), f"{MODULE}.py", "python", text, len(before), len(before) + len(typed))
    try:
        async with ServerProcess.start() as client:
            await _until_ready(client)
            return await type_at(place, client, count_tokens, seed)
    except (ServerGone, TimeoutError):
        raise MidfillError("the language server ended or did not become ready", "run: midfill doctor") from None


async def _until_ready(client: ServerProcess) -> None:
    ready = asyncio.Event()
    client.on_notification["midfill/status"] = lambda status: ready.set() if status["state"] == "ready" else None
    await client.initialize()
    async with asyncio.timeout(READY_S):
        await ready.wait()


async def type_at(place: Passage, client: ServerProcess, count_tokens: Callable[[str], int], seed: int = 1) -> Replay:
    """Type all of ``place`` by hand, without accepting anything."""
    before = place.text[: place.start]
    uri = (place.folder / place.path).as_uri()
    editor = Editor(client, Snapshot(uri, 0, place.language, before + place.text[place.end :], len(before)))
    n_before = await editor.n_decoded()
    habits = Habits(ways=(), real_time=True, sees_growth=True, seed=seed)
    typist = Typist(editor, place, habits, count_tokens)
    tally = await typist.type()
    await editor.finish(typist)
    return Replay(tally.n_keys, editor.shown_s, await editor.n_decoded() - n_before, tally.n_tokens_shown)


class Editor:
    """An editor's window with one file in front of the language server, for a typist to ask."""

    def __init__(self, client: ServerProcess, first: Snapshot) -> None:
        self._client, self._known = client, first.prefix
        self._file = OpenFile(client, first.uri, first.text)
        self.shown_s: list[float] = []

    async def stream(self, snapshot: Snapshot) -> AsyncIterator[Completion]:
        """Yield what the server suggests now. Leaving an answer does not cancel it."""
        self._file.insert(self._known, snapshot.prefix.removeprefix(self._known))
        self._known, start = snapshot.prefix, time.monotonic()
        values = asyncio.Queue[tuple[Any, bool]]()
        answer = self._file.ask(snapshot.prefix, lambda value: values.put_nowait((value, False)))
        answer.add_done_callback(lambda done: values.put_nowait((_result(done), True)))
        is_shown, is_last = False, False
        while not is_last:
            value, is_last = await values.get()
            item = first_item(value)
            (id, *_) = (item.get("command") or {}).get("arguments") or [""]
            if item["insertText"] and not is_shown:
                is_shown = True
                self.shown_s.append(time.monotonic() - start)
            yield Completion(item["insertText"], snapshot, is_last, id=id)

    async def finish(self, typist: Typist) -> None:
        """Look at what comes after the last key until the engine is idle, for at most LAST_S."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_S):
                async for value in self.stream(typist.snapshot()):
                    typist.see(value, 0.0)
                while (engine := await self._engine()).get("n_active") or engine.get("n_waiting"):
                    await asyncio.sleep(0.1)

    async def n_decoded(self) -> int:
        """Return the tokens that the engine has decoded, for any client."""
        return int((await self._engine()).get("totals", {}).get("n_decoded", 0))

    async def _engine(self) -> dict[str, Any]:
        engine = (await self._client.request("midfill/stats"))["engine"]
        assert isinstance(engine, dict)
        return engine


def _result(answer: asyncio.Future[Any]) -> Any:
    """Return the answer; None if it is an error."""
    return None if answer.cancelled() or answer.exception() else answer.result()
