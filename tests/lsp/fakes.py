"""A link to an engine that replays a script: all that the tests of the front end need."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midfill.config import Config
from midfill.engine.base import EngineError
from midfill.types import Completion, EngineStatus, Facts, Snapshot, Trigger


@dataclass(frozen=True)
class Prompt:
    """What `Completer.prompt` returns, as far as it is shown."""

    text: str
    n_control: int = 3


class FakeCompleter:
    """Replays the script."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = script
        self.snapshots: list[Snapshot] = []
        self.rested: list[Snapshot | None] = []
        self.n_open = 0

    async def stream(
        self, snapshot: Snapshot, *, trigger: Trigger = "automatic", n: int = 1
    ) -> AsyncGenerator[Completion, None]:
        self.snapshots.append(snapshot)
        self.n_open += 1
        text = ""
        try:
            for chunk in self.script["chunks"]:
                await asyncio.sleep(self.script.get("delay_s", 0.0))
                if chunk is None:
                    raise EngineError("the engine died", "nothing to do")
                text += chunk
                yield Completion(text, snapshot)
        finally:
            self.n_open -= 1

    def facts(self, snapshot: Snapshot, trigger: Trigger) -> Facts:
        return Facts(trigger, "script")

    def dismiss(self, snapshot: Snapshot, text: str) -> None:
        """Do nothing: the text may be suggested again."""

    def rests(self, snapshot: Snapshot | None) -> None:
        """Read nothing ahead, but note the call."""
        self.rested.append(snapshot)

    def edited(self, uri: str, text_of: Callable[[], str | None]) -> None:
        """Do nothing: generation continues."""

    async def prompt(self, snapshot: Snapshot) -> Prompt:
        return Prompt(snapshot.prefix + "‸" + snapshot.suffix)


class FakeLink:
    """Ready after ``ready_s``; never, if that is negative."""

    def __init__(self, script: dict[str, Any], on_status: Callable[[EngineStatus], None]) -> None:
        self.script = script
        self.on_status = on_status
        self.completer: FakeCompleter | None = None
        self.errors: list[EngineError] = []
        self._ready = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def configure(self, config: Config) -> None:
        """Do nothing: it has no settings."""

    async def _run(self) -> None:
        ready_s = self.script.get("ready_s", 0.0)
        if ready_s:
            for n in range(5):
                self.on_status(EngineStatus("starting", stage="loading", progress=n / 5))
                await asyncio.sleep(abs(ready_s) / 5)
        if ready_s >= 0:
            self.completer = FakeCompleter(self.script)
            self._ready.set()
            self.on_status(EngineStatus("ready", model="script"))

    async def wait_ready(self, timeout_s: float) -> FakeCompleter | None:
        try:
            await asyncio.wait_for(self._ready.wait(), timeout_s)
        except TimeoutError:
            return None
        return self.completer

    async def stats(self) -> dict[str, object]:
        return {"n_open": self.completer.n_open if self.completer else 0}

    async def debug_block(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def report(self, error: EngineError) -> None:
        self.errors.append(error)

    async def aclose(self) -> None:
        self._task.cancel()


def make_link(config: Config, on_status: Callable[[EngineStatus], None], sources: object = ()) -> FakeLink:
    script = json.loads(Path(os.environ["MIDFILL_SCRIPT"]).read_text(encoding="utf-8"))
    return FakeLink(script, on_status)
