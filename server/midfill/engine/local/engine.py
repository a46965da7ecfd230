"""The resident engine: one worker thread, a few KV slots, requests that take turns token by token."""

from __future__ import annotations

import asyncio
import collections
import itertools
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from midfill import fim
from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.local import models
from midfill.engine.local.adapters import Adapter, AdapterSwitch, read_adapter
from midfill.engine.local.decode import Cancelled, Runner, Sampling, generate
from midfill.engine.local.kv_cache import KVSlots, Slot
from midfill.engine.local.load import LoadedModel, load
from midfill.tokenizer import TextStream
from midfill.types import EngineStatus, MidfillError, ModelInfo, Stats

log = logging.getLogger(__name__)

N_SLOTS = 4
# Waiting requests beyond this are refused: nobody reads an answer that comes after so many others.
MAX_WAITING = 64
# A prompt budget that is answered in good time: measured in docs/log.md.
CONTEXT_TOKENS = {"cpu": 768, "cuda": 2048}
# After loading, the model must still say this; a library upgrade that breaks it shows here, not in someone's code.
SELF_TEST = ("def add(a, b):\n    return ", "a + b")
LEAVING = ("the engine is leaving", "ask again")


@dataclass(slots=True, eq=False)
class Job:
    """One request on its way through the worker."""

    request: GenerateRequest
    loop: asyncio.AbstractEventLoop
    out: asyncio.Queue[Delta | Exception]
    adapter: Adapter | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    arrived: float = field(default_factory=time.monotonic)
    cancelled_at: float = 0.0
    steps_at_cancel: int = 0
    n_steps: int = 0  # forward passes that ran to their end
    n_cached: int = 0
    n_decoded: int = 0
    started: float = 0.0
    first_token: float = 0.0
    slot: Slot | None = None
    tokens: Iterator[int | None] = field(default_factory=lambda: iter(()))
    text: TextStream | None = None
    stops: StopStrings | None = None

    def cancel(self) -> None:
        """Ask the worker to stop; safe from any thread."""
        if not self.cancelled.is_set():
            self.cancelled_at = time.monotonic()
            self.steps_at_cancel = self.n_steps
            self.cancelled.set()

    def send(self, item: Delta | Exception) -> None:
        """Hand an item to whoever waits; nobody may."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.out.put_nowait, item)

    def stats(self) -> Stats:
        """The figures so far."""
        now = time.monotonic()
        return Stats(
            n_prompt=len(self.request.prompt), n_cached=self.n_cached, n_decoded=self.n_decoded,
            queue_s=self.started - self.arrived, ttft_s=(self.first_token or now) - self.arrived,
            total_s=now - self.arrived,
        )  # fmt: skip


class StopStrings:
    """Ends a text at the first of some strings, holding back what might be the beginning of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """(text that is safe to show, whether a stop string was met)."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            shown, self._held = self._held[: min(found)], ""
            return shown, True
        keep = max((n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n])), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def flush(self) -> str:
        """What was held back, when no more comes."""
        held, self._held = self._held, ""
        return held


class LocalEngine:
    """Owns the model. Everything that touches torch happens on its one worker thread."""

    def __init__(
        self, spec: str = "auto", *, device: str = "auto", dtype: str = "auto", template: str = "auto"
    ) -> None:
        self._spec, self._device, self._dtype, self._template = spec, device, dtype, template
        self._calls: collections.deque[Any] = collections.deque()
        self._jobs: collections.deque[Job] = collections.deque()
        self._wake = threading.Condition()
        self._closing = False
        self._model: LoadedModel | None = None
        self._switch: AdapterSwitch | None = None
        self._recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=32)
        self._totals = collections.Counter[str]()
        self._n_active = 0
        self._numbers = itertools.count(1)
        self.info: ModelInfo | None = None
        self.status = EngineStatus("starting", pid=os.getpid())
        self.progress_at = time.monotonic()  # when the worker last got on; a watchdog reads it
        self.busy = False
        self._thread = threading.Thread(target=self._run, name="midfill-engine", daemon=True)

    def start(self) -> None:
        """Begin loading; ``status`` tells how far it is."""
        self._thread.start()

    # ---- asked from the event loop -----------------------------------------------------------------------------

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Closing the iterator cancels. Raises EngineError."""
        if self.info is None:
            raise EngineError("the engine is not ready", self.status.remedy or "wait until the model is loaded")
        adapter = self._check(request)
        job = Job(request, asyncio.get_running_loop(), asyncio.Queue(), adapter)
        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            if len(self._jobs) >= MAX_WAITING:
                raise EngineError("the engine has too many waiting requests", "try again")
            self._jobs.append(job)
            self._wake.notify()
        try:
            while True:
                item = await job.out.get()
                if isinstance(item, Exception):
                    raise item
                yield item
                if item.finish_reason is not None:
                    return
        finally:
            job.cancel()

    def _check(self, request: GenerateRequest) -> Adapter | None:
        assert self._model is not None
        vocabulary = int(self._model.model.get_input_embeddings().num_embeddings)
        if not request.prompt or min(request.prompt) < 0 or max(request.prompt) >= vocabulary:
            raise EngineError("the prompt is empty or holds ids outside the vocabulary", "render it for this model")
        if len(request.prompt) + request.max_tokens > self._model.max_context:
            raise EngineError(
                f"the prompt of {len(request.prompt)} tokens leaves no room",
                f"the model takes {self._model.max_context}",
            )
        if request.adapter is None:
            return None
        assert self._switch is not None
        if (adapter := self._switch.adapters.get(request.adapter)) is None:
            raise EngineError(f"adapter {request.adapter[:64]!r} is not loaded", "load it first")
        return adapter

    async def load_adapter(self, name: str, folder: Path) -> dict[str, Any]:
        """Make the adapter in ``folder`` usable as ``name``. Raises MidfillError, and the old one stays."""
        return await self._call(lambda: self._load_adapter(name, folder))  # type: ignore[no-any-return]

    async def unload_adapter(self, name: str) -> None:
        """Forget the adapter ``name``."""
        await self._call(lambda: self._unload_adapter(name))

    async def block(self, seconds: float) -> None:
        """Keep the worker from its work, for tests."""
        await self._call(lambda: time.sleep(seconds))

    async def _call(self, action: Any) -> Any:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def answer(value: Any, error: BaseException | None) -> None:
            if not future.cancelled():
                future.set_exception(error) if error is not None else future.set_result(value)

        def run() -> None:
            try:
                value, error = action(), None
            except Exception as caught:  # noqa: BLE001 - handed to the caller
                value, error = None, caught
            loop.call_soon_threadsafe(answer, value, error)

        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            self._calls.append(run)
            self._wake.notify()
        return await future

    def figures(self) -> dict[str, Any]:
        """Counters since the start, and the last requests."""
        slots = {"n_slots": N_SLOTS, "n_active": self._n_active, "n_waiting": len(self._jobs)}
        return {**slots, "totals": dict(self._totals), "recent": list(self._recent)}

    def adapters(self) -> list[dict[str, Any]]:
        """The resident adapters."""
        if self._switch is None:
            return []
        return [
            {"name": a.name, "folder": str(a.folder), "rank": a.rank, "alpha": a.alpha, "base": a.base,
             "parameters": a.parameters, "digest": a.digest}
            for a in self._switch.adapters.values()
        ]  # fmt: skip

    async def aclose(self) -> None:
        """Stop the worker after its present step."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    # ---- on the worker thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._load()
        except MidfillError as error:
            self._give_up(error)
        except Exception as error:  # the thread's last words must reach a person
            log.exception("loading failed")
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            self._give_up(MidfillError(f"loading the model failed: {reason}", "run: midfill doctor"))
        with torch.inference_mode():
            self._serve()

    def _give_up(self, error: MidfillError) -> None:
        self.status = EngineStatus("error", error.message, error.remedy, pid=os.getpid())
        with self._wake:
            self._closing = True

    def _progress(self, stage: str, fraction: float) -> None:
        self.progress_at = time.monotonic()
        self.status = EngineStatus(
            "starting", stage=stage, progress=min(1.0, fraction), model=self._spec, pid=os.getpid()
        )

    def _load(self) -> None:
        self._progress("starting", 0.0)
        torch.set_num_threads(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
        source = models.resolve(self._spec)
        try:
            folder = models.prepare(source, self._progress)
        except MidfillError:
            if self._spec != "auto" or source.kind == "embedded":
                raise
            source = models.resolve("embedded")  # auto promised the reference only where it can be had
            folder = models.prepare(source, self._progress)
        loaded = load(folder, source.name, device=self._device, dtype=self._dtype, progress=self._progress)
        template = fim.find(self._template, loaded.tokenizer)
        self._runner = Runner(loaded.model)
        self._slots = KVSlots(self._runner.n_layers, N_SLOTS)
        self._switch = AdapterSwitch(loaded.model)
        self._model = loaded
        self._progress("checking", 0.0)
        if source.kind == "embedded":
            self._self_test(template)
        budget = CONTEXT_TOKENS.get(loaded.device.type, CONTEXT_TOKENS["cpu"])
        self.info = ModelInfo(
            name=source.name,
            tokenizer_file=str(folder / "tokenizer.json"),
            template=None if template is fim.PREFIX_ONLY else template.name,
            context_tokens=min(budget, loaded.max_context // 2),
            max_context=loaded.max_context,
            device=_device_name(loaded.device),
            dtype=loaded.number_format,
            parameters=loaded.parameters,
        )
        says = (
            ""
            if self.info.template
            else "the model has no FIM tokens: it completes from the text before the cursor only"
        )
        self.status = EngineStatus("ready", says, model=source.name, device=self.info.device, pid=os.getpid())

    def _self_test(self, template: fim.FimTemplate) -> None:
        """The embedded model's known answer; also warms it up. Raises MidfillError."""
        assert self._model is not None
        prompt, expected = SELF_TEST
        tokenizer = self._model.tokenizer
        from midfill.types import Snapshot

        ids = fim.FimRenderer(template, tokenizer).render(Snapshot("", 0, "python", prompt, len(prompt))).ids
        slot, _ = self._slots.take(ids, None)
        with torch.inference_mode():
            tokens = generate(self._runner, slot, ids, Sampling(), threading.Event())
            answer = [token for token, _ in zip(tokens, tokenizer.encode(expected), strict=False) if token is not None]
        self._slots.release(slot)
        if (said := tokenizer.decode(answer)) != expected:
            raise MidfillError(
                f"the model fails its self-test: {said[:40]!r} instead of {expected!r}",
                "a library upgrade may have broken it: run midfill model prepare --force, then midfill doctor",
            )

    def _serve(self) -> None:
        active: collections.deque[Job] = collections.deque()
        while True:
            with self._wake:
                self.busy = bool(active or self._jobs or self._calls)
                self.progress_at = time.monotonic()
                while not (active or self._jobs or self._calls or self._closing):
                    self._wake.wait()
                    self.progress_at = time.monotonic()
                if self._closing:
                    break
                self.busy = True
                calls, started = list(self._calls), [job for job in self._jobs if job.cancelled.is_set()]
                self._calls.clear()
                self._jobs = collections.deque(job for job in self._jobs if job not in started)
                n_free = N_SLOTS - len(active)
                started += [self._jobs.popleft() for _ in range(min(n_free, len(self._jobs)))]
            for call in calls:
                call()
            active.extend(job for job in started if self._begin(job))
            self._n_active = len(active)
            for _ in range(len(active)):
                job = active.popleft()
                if self._step(job):
                    active.append(job)
            self._n_active = len(active)
        for job in [*active, *self._jobs]:
            self._fail(job, EngineError(*LEAVING))
        for call in self._calls:
            call()

    def _begin(self, job: Job) -> bool:
        job.started = time.monotonic()
        if job.cancelled.is_set():
            self._finish(job, "cancelled")
            return False
        request = job.request
        assert self._model is not None
        job.slot, job.n_cached = self._slots.take(request.prompt, job.adapter.digest if job.adapter else None)
        job.text, job.stops = TextStream(self._model.tokenizer), StopStrings(request.stop)
        sampling = Sampling(request.temperature, request.top_p, request.seed)
        job.tokens = generate(self._runner, job.slot, request.prompt, sampling, job.cancelled)
        return True

    def _step(self, job: Job) -> bool:
        """One piece of prompt or one token for ``job``; False when it is done."""
        assert self._model is not None
        assert self._switch is not None
        assert job.text is not None
        assert job.stops is not None
        self._switch.active = job.adapter
        try:
            token = next(job.tokens)
            job.n_steps += 1
        except Cancelled:
            return self._finish(job, "cancelled")
        except torch.OutOfMemoryError:
            return self._fail(job, EngineError("the device ran out of memory", "a shorter context is used for a while"))
        except Exception as error:  # one broken request must not end the worker
            log.exception("a generation failed")
            return self._fail(
                job, EngineError(f"the generation failed ({type(error).__name__})", "run: midfill doctor")
            )
        finally:
            self._switch.active = None
        if token is None:
            return True
        is_first = not job.first_token
        job.first_token = job.first_token or time.monotonic()
        if token in self._model.tokenizer.control_ids:
            return self._finish(job, "stop", self._rest(job))
        job.n_decoded += 1
        text, stopped = job.stops.push(job.text.push(token))
        if stopped:
            return self._finish(job, "stop", text)
        if job.n_decoded >= job.request.max_tokens:
            return self._finish(job, "length", text + self._rest(job))
        if text or is_first:
            job.send(Delta(text, stats=job.stats() if is_first else None))
        return True

    @staticmethod
    def _rest(job: Job) -> str:
        """What was held back, now that nothing more comes."""
        assert job.text is not None
        assert job.stops is not None
        text, stopped = job.stops.push(job.text.flush())
        return text if stopped else text + job.stops.flush()

    def _finish(self, job: Job, reason: str, text: str = "") -> bool:
        self._free(job)
        self._record(job, reason)
        job.send(Delta(text, reason, job.stats()))
        return False

    def _fail(self, job: Job, error: EngineError) -> bool:
        if job.slot is not None:
            job.slot.truncate(0)
        self._free(job)
        self._record(job, "error")
        job.send(error)
        return False

    def _free(self, job: Job) -> None:
        if job.slot is not None:
            self._slots.release(job.slot)
            job.slot = None
        job.tokens = iter(())

    def _record(self, job: Job, reason: str) -> None:
        entry: dict[str, Any] = {"n": next(self._numbers), "id": job.request.request_id, "finish_reason": reason}
        entry |= asdict(job.stats())
        if job.cancelled.is_set():
            entry["n_steps_after_cancel"] = job.n_steps - job.steps_at_cancel
            entry["cancel_to_free_s"] = time.monotonic() - job.cancelled_at
        self._recent.append(entry)
        self._totals[f"n_{reason}"] += 1
        self._totals["n_requests"] += 1
        self._totals["n_prompt"] += len(job.request.prompt)
        self._totals["n_cached"] += job.n_cached
        self._totals["n_decoded"] += job.n_decoded

    def _load_adapter(self, name: str, folder: Path) -> dict[str, Any]:
        if self._model is None or self._switch is None:
            raise EngineError("the engine has no model", self.status.remedy)
        adapter = read_adapter(name, folder, self._model.model, self._model.base_names)
        present = self._switch.adapters.get(name)
        if present is None or present.digest != adapter.digest:
            self._switch.add(adapter)
        return {"name": name, "rank": adapter.rank, "alpha": adapter.alpha, "parameters": adapter.parameters}

    def _unload_adapter(self, name: str) -> None:
        if self._switch is not None:
            self._switch.remove(name)


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
