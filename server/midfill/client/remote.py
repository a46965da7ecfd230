"""The language server's link to engines elsewhere: connected in the background, followed, and never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from midfill import fim
from midfill.adapter_names import NO_ADAPTER, summands
from midfill.addresses import leaving, read_address
from midfill.client.adapters import Adapters, each_of
from midfill.client.base import BackgroundLink, StatusHandler
from midfill.client.fallback import LocalFallback
from midfill.client.rendering import RenderProcess
from midfill.completer import Completer
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.engine.adapter_setting import AUTO, EMBEDDED
from midfill.engine.base import AdapterMissingError, EngineError, GenerateRequest
from midfill.faults import in_words
from midfill.fim import FimRenderer
from midfill.postprocess import AcceptanceHabits
from midfill.remote import cancels
from midfill.remote.client import RemoteEngine
from midfill.remote.connect import Remote, connect, told_to_people
from midfill.remote.vocabulary import InlineVocabulary, Vocabulary
from midfill.renderers import InlineRenderer, Renderer
from midfill.tokenizer import CodeTokenizer
from midfill.types import EngineStatus, MidfillError, Trigger

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 2.0, 60.0  # seconds until it connects again
LOOK_S = 2.0  # seconds between two looks at pointers and at replicas that did not answer
N_PROBE_TOKENS = 1

MakeHabits = Callable[[Config], Callable[[Trigger], AcceptanceHabits]]  # what became of earlier suggestions


class RemoteLink(BackgroundLink):
    """Connects, and connects again. Every problem is in the status; requests meanwhile get no suggestion."""

    def __init__(
        self,
        config: Config,
        on_status: StatusHandler,
        sources: Sequence[ContextSource] = (),
        habits: MakeHabits = lambda _config: lambda _trigger: AcceptanceHabits(),
    ) -> None:
        status = EngineStatus("starting", leaving(config.engine), model=config.model)
        super().__init__(config, on_status, sources, status)
        self._habits = habits
        self._remote: Remote | None = None
        self._renderer: RenderProcess | None = None
        self._adapters = Adapters()
        self._refusal: MidfillError | None = None  # of an adapter

    async def stats(self) -> dict[str, Any]:
        """Return what is known of the replicas."""
        if self._remote is None:
            return {}
        replicas = self._remote.engine.replicas.values()
        return {
            "replicas": [
                {"host": replica.name, "asked": replica.may_be_asked,
                 "problem": replica.problem.message if replica.problem else ""}
                for replica in replicas
            ]
        }  # fmt: skip

    async def debug_block(self, seconds: float) -> None:
        """Do nothing: an engine elsewhere must not be kept from its work."""

    def report(self, error: EngineError) -> None:
        """Report that a request failed; if no replica is left to ask, the status says why."""
        log.warning("a request failed: %s", error.message)
        if isinstance(error, AdapterMissingError):
            self._refusal = error  # the engine has dropped it; the base model answers once the next look finds out
        self._tell()

    # ---- connecting ------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while True:
            try:
                await self._connect()
                wait_s = FIRST_WAIT_S
                await self._follow()
            except Exception as error:  # noqa: BLE001 - whatever it is: it is told, and tried again
                await self._drop()
                known = in_words(error)
                message = "; ".join(filter(None, (known.message, leaving(self._config.engine))))
                self._set(EngineStatus("error", message, known.remedy, model=self._config.model))
            self._asked.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), wait_s)
            wait_s = min(LONGEST_WAIT_S, 2 * wait_s)

    async def _connect(self) -> None:
        fallback = LocalFallback(self._config) if self._config.engine_fallback not in NO_ADAPTER else None
        remote = await connect(self._config, self._vocabulary, fallback=fallback)
        self._remote = remote
        assert self._renderer is not None
        if remote.binds and not remote.problems and self._config.token_healing:
            await self._renderer.heal()
        if fallback is not None:
            fallback.fits = remote.info
        adapters, self._refusal = await usable(remote, self._config)
        renderer: Renderer = self._renderer
        self.completer = Completer(
            remote.engine, renderer, remote.info, self._config, adapter=adapters.default,
            adapters=adapters.of_part, sources=self._sources,
            habits=await asyncio.to_thread(self._habits, self._config), resident=True,
        )  # fmt: skip
        self._look_at_pointers(adapters)
        self._adapters = adapters
        self._tell()

    async def _vocabulary(self, file: Path, model: str) -> Vocabulary:
        if self._renderer is not None:
            await self._renderer.aclose()
        self._renderer = RenderProcess(str(file), self._config.template, self._config.order, model=model)
        return self._renderer

    async def _follow(self) -> None:
        """Watch pointers, retry missing replicas, and show problems, until the link must connect again."""
        assert self._remote is not None
        await cancels.look(self._remote.engine)
        missing = set(self._remote.problems)
        waited_s, pause_s = 0.0, FIRST_WAIT_S
        while True:
            await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self._look_at_pointers, self._adapters)
            self._tell()
            waited_s += LOOK_S
            if self._refusal is not None:
                await self._look_at_adapters()
            if missing and waited_s >= pause_s:
                waited_s, pause_s = 0.0, min(LONGEST_WAIT_S, 2 * pause_s)
                await self._try_missing(missing)

    async def _try_missing(self, missing: set[str]) -> None:
        """Try a replica that did not answer when we connected."""
        assert self._remote is not None
        for host in sorted(missing):
            settings = dataclasses.replace(
                self._config, engine=tuple(one for one in self._config.engine if read_address(one).name == host)
            )
            renderer = self._renderer
            assert renderer is not None

            async def vocabulary(_file: Path, _model: str, found: RenderProcess = renderer) -> Vocabulary:
                return found

            try:
                found = await connect(settings, vocabulary)
            except MidfillError as error:
                self._remote.problems[host] = error
                continue
            self._remote.engine.replicas[host] = found.engine.replicas[host]
            self._remote.problems.pop(host, None)
            missing.discard(host)

    async def _look_at_adapters(self) -> None:
        """Look for adapters that were missing, and for ones that have gone."""
        assert self._remote is not None
        assert self.completer is not None
        self._adapters, self._refusal = await usable(self._remote, self._config)
        self.completer.use_adapters(self._adapters.default, self._adapters.of_part)
        self._tell()

    def _look_at_pointers(self, adapters: Adapters) -> None:
        """Make sure that middles of a replaced adapter are not shown again."""
        if self._remote is None or self.completer is None:
            return
        for name in {name for name in (adapters.default, *adapters.of_part.values()) if name}:
            with contextlib.suppress(EngineError):
                self.completer.adapter_digests[name] = self._remote.pointers.resolve(name)

    # ---- telling ---------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        remote = self._remote
        if remote is None or self.completer is None:
            return
        where, remedy = told_to_people(self._config, remote)
        status = EngineStatus(
            "ready", where, remedy, model=remote.info.name, adapter=str(self._adapters), device=remote.info.device
        )
        problem = remote.engine.problem or self._refusal
        if problem is not None and (remote.engine.problem is None or remote.engine.fallback is None):
            message = "; ".join(filter(None, (problem.message, where)))
            status = dataclasses.replace(status, state="error", message=message, remedy=problem.remedy)
        self._set(status)

    async def _drop(self) -> None:
        await super()._drop()
        if self._renderer is not None:
            await self._renderer.aclose()
            self._renderer = None
        if self._remote is not None:
            await self._remote.engine.aclose()
            self._remote = None


async def usable(remote: Remote, config: Config) -> tuple[Adapters, MidfillError | None]:
    """Return the adapters that ``config`` names and the engines have, each tried with one token; and the first
    refusal."""
    refusal: MidfillError | None = None

    async def look(setting: str) -> str | None:
        nonlocal refusal
        names = [name for name in summands(setting) if name not in (*NO_ADAPTER, AUTO, EMBEDDED)]
        if not names:
            return None
        try:
            await _has(remote, "+".join(names))
        except MidfillError as error:
            if isinstance(error, AdapterMissingError):
                remedy = error.remedy
                if len(names) > 1:  # only midfill's own engine adds adapters
                    remedy = f"publish them as one: midfill adapters export {setting} FOLDER"
                refusal = refusal or MidfillError(f"{error.message}; using the base model", remedy)
                return None
        return "+".join(names)

    return Adapters(*await each_of(config, look)), refusal


async def _has(remote: Remote, name: str) -> None:
    vocabulary = next(e.vocabulary for r in remote.engine.replicas.values() if isinstance(e := r.engine, RemoteEngine))
    request = GenerateRequest(
        tuple(await vocabulary.encode("x = 1\n")), N_PROBE_TOKENS, adapter=name, request_id="midfill-probe-adapter"
    )
    async with aclosing(remote.engine.elsewhere(request)) as deltas:  # type: ignore[type-var]
        async for _ in deltas:
            pass


@contextlib.asynccontextmanager
async def remote_session(config: Config) -> AsyncIterator[Completer]:
    """Return a completer over engines elsewhere, for commands. Raises MidfillError."""
    made: list[FimRenderer] = []

    async def vocabulary(file: Path, model: str) -> Vocabulary:
        made.append(await asyncio.to_thread(renderer_of, file, model, config))
        return InlineVocabulary(made[-1])

    remote = await connect(config, vocabulary)
    try:
        adapters, refusal = await usable(remote, config)
        if refusal is not None:
            raise refusal
        if remote.binds and config.token_healing:
            template, tokenizer = made[-1].template, made[-1].tokenizer
            made.append(FimRenderer(template, tokenizer, config.order, heal=True))
        completer = Completer(
            remote.engine, InlineRenderer(made[-1]), remote.info, config, adapter=adapters.default,
            adapters=adapters.of_part,
        )  # fmt: skip
        try:
            yield completer
        finally:
            await completer.aclose()
    finally:
        await remote.engine.aclose()


def renderer_of(file: Path, model: str, config: Config) -> FimRenderer:
    """Return the renderer for a tokenizer's file, without token healing. Raises MidfillError."""
    tokenizer = CodeTokenizer.from_file(file)
    return FimRenderer(fim.find(config.template, tokenizer, model), tokenizer, config.order)
