"""A language server's connection to its engine: found or started, followed, and started again after it stopped."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx

from midfill import records
from midfill.battery import BATTERY
from midfill.client import ends, spawn
from midfill.client.adapters import AdapterKeeper, Adapters, Wary, load_adapters
from midfill.client.base import BackgroundLink, Link, StatusHandler
from midfill.client.remote import RemoteLink
from midfill.client.rendering import EngineRenderer
from midfill.client.restarts import MAX_FAILURES, Restarts
from midfill.client.scripted import ScriptedLink
from midfill.completer import Completer
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.engine import record
from midfill.engine.base import EngineError
from midfill.engine.http import HttpEngine
from midfill.engine.suspects import Suspects
from midfill.engine.wire import EngineState
from midfill.postprocess import AcceptanceHabits
from midfill.types import EngineStatus, MidfillError, ModelInfo, State, Trigger

log = logging.getLogger(__name__)

SILENT_S = 15.0  # an engine sends something every second; one that is silent for this long is killed
TRY_AGAIN = "it is tried again when you ask for a suggestion by hand or change a setting of the engine"


def make_link(config: Config, on_status: StatusHandler, sources: Sequence[ContextSource] = ()) -> Link:
    """Return the link for ``config``. MIDFILL_SCRIPT names a scripted engine, for tests."""
    if script := os.environ.get("MIDFILL_SCRIPT"):
        return ScriptedLink(config, on_status, Path(script), sources)
    if config.engine:
        return RemoteLink(config, on_status, sources, _habits)
    return EngineLink(config, on_status, sources)


class EngineLink(BackgroundLink):
    """Follows one engine process after the other."""

    def __init__(self, config: Config, on_status: StatusHandler, sources: Sequence[ContextSource] = ()) -> None:
        super().__init__(config, on_status, sources, EngineStatus("starting", model=config.model))
        self._engine: HttpEngine | None = None
        self._restarts = Restarts()
        self._pid, self._was_told = 0, False  # of the engine that is followed; whether it reported its own problem
        self._adapters = Adapters()
        self._refusal: MidfillError | None = None  # why an adapter is missing and the base model answers

    def _try_again(self) -> None:
        if self.status.state == "off":
            self._set(EngineStatus("starting", model=self._config.model))
            self._asked.set()

    async def stats(self) -> dict[str, Any]:
        """Return the engine's counters; {} while there is no engine."""
        return await self._engine.stats() if self._engine is not None else {}

    async def debug_block(self, seconds: float) -> None:
        """Keep the engine's worker busy."""
        if self._engine is None:
            raise EngineError("no engine", "wait")
        with contextlib.suppress(httpx.HTTPError):
            await self._engine.client.post("/midfill/debug/block", json={"seconds": seconds}, timeout=seconds + 30)

    def report(self, error: EngineError) -> None:
        """Report that a request failed. The followed events show a lost engine; nothing more is needed."""
        log.warning("a request failed: %s", error.message)

    # ---- following -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            lost = await self._once()
            await self._drop()
            self._restarts.lost()
            if self._restarts.is_over:
                await self._give_up(lost)
                continue
            if self.status.state != "error" or not self._was_told:
                state: State = "starting" if self._restarts.n_failures <= 1 else "error"
                self._set(EngineStatus(state, lost.message, lost.remedy, model=self._config.model))
            await asyncio.sleep(self._restarts.wait_s)

    async def _once(self) -> MidfillError:
        """Find or start an engine and follow it to its end; return the end in words."""
        self._pid, self._was_told = 0, False
        try:
            self._engine = await spawn.find_or_spawn(self._config)
            await self._follow(self._engine)
            lost = MidfillError("the engine stopped", "midfill starts it again")
        except MidfillError as error:
            return error
        except (httpx.HTTPError, OSError, ValueError, TypeError, KeyError) as error:
            lost = MidfillError(f"the engine stopped unexpectedly ({type(error).__name__})", "midfill starts it again")
        await self._drop()  # tell waiting requests now; how the engine ended is known in a moment
        if self._was_told:
            return MidfillError(self.status.message, self.status.remedy)
        return await spawn.why(self._config, self._pid) or lost

    async def _give_up(self, lost: MidfillError) -> None:
        """Start no engine until the user asks for one."""
        log.error("the engine is given up: %s", lost.message)
        message = f"the engine failed {MAX_FAILURES} times: {lost.message}"
        self._asked.clear()
        remedy = f"{lost.remedy}; {TRY_AGAIN}" if lost.remedy else TRY_AGAIN
        self._set(EngineStatus("off", message, remedy, model=self._config.model))
        await self._asked.wait()
        self._restarts.once_more()

    async def _follow(self, engine: HttpEngine) -> None:
        """Take over every status until the connection ends."""
        async for state in self._states(engine):
            self._pid, status, info = state.pid, state.status, state.info
            self._was_told = status.state == "error"
            if state.draining:
                if status.state == "error":
                    self._set(status)
                return
            if self.completer is not None and info is not None:
                self.completer.info = info  # the context for which there is memory changes
            if status.state == "ready" and self.completer is None and info is not None:
                status = await self._make_ready(engine, info, status)
                self._restarts.ready()
            self._set(self._of_adapter(status, state.adapters))

    def _of_adapter(self, status: EngineStatus, adapters: list[dict[str, Any]]) -> EngineStatus:
        """Return ``status`` with any change of our adapter's files since it was loaded."""
        completer = self.completer
        if completer is not None and status.state == "ready":
            if (refusal := self._refusal) is not None:  # the base model answers: a warning
                message = f"{refusal.message}; using {self._adapters.instead or 'the base model'}"
                status = dataclasses.replace(status, message=message, remedy=refusal.remedy)
            for entry in (entry for entry in adapters if entry["name"] in self._adapters.names):
                completer.adapter_digests[str(entry["name"])] = str(entry["digest"])
                if (problem := entry.get("problem")) is not None:
                    return dataclasses.replace(status, message=problem["message"], remedy=problem["remedy"])
        return status

    async def _states(self, engine: HttpEngine) -> AsyncIterator[EngineState]:
        try:
            async with aclosing(engine.states(SILENT_S)) as states:  # type: ignore[type-var]
                async for state in states:
                    yield state
        except httpx.ReadTimeout:
            self._kill_stuck()
            raise

    def _kill_stuck(self) -> None:
        where = record.place(self._config)
        recorded = record.find(where)
        if self._pid and recorded is not None and recorded.pid == self._pid and record.is_running(where):
            ends.write(where.end, self._pid, f"it did not answer for {SILENT_S:.0f} s")
            with contextlib.suppress(OSError):
                os.kill(self._pid, getattr(signal, "SIGKILL", signal.SIGTERM))

    async def _make_ready(self, engine: HttpEngine, info: ModelInfo, status: EngineStatus) -> EngineStatus:
        self._set(EngineStatus("starting", stage="loading the adapter", model=info.name, pid=status.pid))
        self._adapters, self._refusal = await load_adapters(engine, self._config, info)
        renderer = EngineRenderer(engine, self._config.order, heal=self._config.token_healing)
        self._set(EngineStatus("starting", stage="connecting", model=info.name, pid=status.pid))
        where = record.place(self._config)
        self.completer = Completer(
            AdapterKeeper(Wary(engine, Suspects(where.suspects)), self._adapters.folders), renderer, info, self._config,
            adapter=self._adapters.default, adapters=self._adapters.of_part, sources=self._sources,
            habits=await asyncio.to_thread(_habits, self._config), resident=True,
            on_battery=lambda: BATTERY.in_use,
        )  # fmt: skip
        return EngineStatus(
            "ready", status.message, status.remedy, model=info.name, adapter=str(self._adapters), device=info.device,
            pid=status.pid,
        )  # fmt: skip

    def _set(self, status: EngineStatus) -> None:
        if self.completer is not None and status.state == "ready":
            status = EngineStatus(
                "ready", status.message, status.remedy, model=status.model, adapter=str(self._adapters),
                device=status.device, pid=status.pid,
            )  # fmt: skip
        super()._set(status)

    async def _drop(self) -> None:
        await super()._drop()
        if self._engine is not None:
            await self._engine.aclose()
            self._engine = None


def _habits(config: Config) -> Callable[[Trigger], AcceptanceHabits]:
    """Return what became of earlier suggestions, if that is recorded. Takes a moment: call it from a thread."""
    found: dict[Trigger, AcceptanceHabits] = {}
    with contextlib.suppress(MidfillError):
        triggers: tuple[Trigger, ...] = ("automatic", "invoked") if config.records else ()
        found = {trigger: AcceptanceHabits.of(records.settled(trigger)) for trigger in triggers}
    return lambda trigger: found.get(trigger, AcceptanceHabits())
