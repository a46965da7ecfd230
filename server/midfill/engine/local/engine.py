"""The resident engine: one worker thread, a few KV slots, requests that take turns token by token."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch

from midfill import fim
from midfill.engine.base import AdapterMissingError, BadRequestError, Delta, EngineError, GenerateRequest
from midfill.engine.local import models, preparing
from midfill.engine.local.adapter_loader import AdapterLoader
from midfill.engine.local.adapters import Adapter, AdapterSwitch, read_adapter
from midfill.engine.local.attention import ROWWISE
from midfill.engine.local.cuda import static_decoder
from midfill.engine.local.decode import Generation, Sampling
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.healing import Vocabulary
from midfill.engine.local.job import Job
from midfill.engine.local.kv_cache import KVSlots
from midfill.engine.local.load import LoadedModel, load, needs_floats
from midfill.engine.local.scheduler import Scheduler
from midfill.engine.local.shortage import MAX_IN_ROW, Shortage, is_out_of_memory
from midfill.engine.local.worker import Records, Worker
from midfill.engine.suspects import Suspects, WorkLog, refusal
from midfill.faults import described
from midfill.tokenizer import CodeTokenizer
from midfill.types import EngineStatus, MidfillError, ModelInfo

log = logging.getLogger(__name__)
T = TypeVar("T")

N_SLOTS = 4
# Waiting requests beyond this are refused: nobody reads an answer that comes after so many others.
MAX_WAITING = 64
# A prompt budget that is answered in good time: measured in docs/log.md.
CONTEXT_TOKENS = {"cpu": 768, "cuda": 2048}
# After loading, the model must still say this; a library upgrade that breaks it shows here, not in someone's code.
SELF_TEST = ("def add(a, b):\n    return ", "a + b")
LEAVING = ("the engine is leaving", "ask again")


class LocalEngine:
    """Owns the model. Everything that touches torch happens on its one worker thread."""

    def __init__(
        self, spec: str = "auto", *, device: str = "auto", dtype: str = "auto", template: str = "auto",
        max_adapters: int = 8, suspects: Suspects | None = None, work_log: WorkLog | None = None,
    ) -> None:  # fmt: skip
        """``suspects``: prompts that are refused; ``work_log`` is told what is worked on."""
        self._spec, self._device, self._dtype, self._template = spec, device, dtype, template
        self._max_adapters = max_adapters
        self._adapter_used: dict[str, int] = {}  # when each was last asked for, to know which makes room
        self._clock = itertools.count(1)
        self._loader = AdapterLoader(self)
        self._calls: list[Callable[[], None]] = []
        self._vocabulary: Future[Vocabulary] = Future()
        self._scheduler = Scheduler()
        self._wake = threading.Condition()
        self._closing = False
        self._model: LoadedModel | None = None
        self._switch: AdapterSwitch | None = None
        self._records = Records()
        self._suspects, self._work_log = suspects, work_log
        self._shortage = Shortage()
        self._info: ModelInfo | None = None
        self.status = EngineStatus("starting", pid=os.getpid())
        self.n_progress = 0  # grows while the worker gets on; a watchdog reads it
        self._working = False
        self._thread = threading.Thread(target=self._run, name="midfill-engine", daemon=True)

    def start(self) -> None:
        """Begin loading; ``status`` tells how far it is."""
        self._thread.start()
        self._loader.start()

    @property
    def info(self) -> ModelInfo | None:
        """What is served, with the context that there is memory for now; None until it is ready."""
        return self._shortage.applied(self._info) if self._info is not None else None

    @property
    def tokenizer(self) -> CodeTokenizer | None:
        """The model's; None until it is ready."""
        return self._model.tokenizer if self._model is not None else None

    @property
    def busy(self) -> bool:
        """Whether the worker has something to do, also where it does not come to it."""
        return self._working or bool(self._scheduler.waiting or self._calls)

    # ---- asked from the event loop -----------------------------------------------------------------------------

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Closing the iterator cancels. Raises EngineError."""
        adapter = self.check(request)
        out: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        loop, now = asyncio.get_running_loop(), time.monotonic()
        jobs = [Job(request, loop, out, adapter, index, arrived=now) for index in range(request.n)]
        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            if self._scheduler.n_before(request) >= MAX_WAITING:
                raise EngineError("the engine has too many waiting requests", "try again")
            self.n_progress += not self.busy  # idle until now: that was no standstill
            self._scheduler.waiting += jobs
            self._wake.notify()
        n_open = len(jobs)
        try:
            while n_open:
                item = await out.get()
                if isinstance(item, Exception):
                    raise item
                n_open -= item.finish_reason is not None
                yield item
        finally:
            for job in jobs:
                job.cancel()

    def check(self, request: GenerateRequest) -> Adapter | None:
        """Whether ``request`` can be answered now; its adapter. Raises BadRequestError or another EngineError."""
        info = self.info
        if info is None or self._model is None:
            raise EngineError("the engine is not ready", self.status.remedy or "wait until the model is loaded")
        n_prompt = len(request.prompt)
        if not request.prompt or min(request.prompt) < 0 or max(request.prompt) >= self._model.vocabulary:
            raise BadRequestError("the prompt is empty or holds ids outside the vocabulary", "render it for this model")
        if n_prompt + request.max_tokens > info.max_context:
            raise BadRequestError(
                f"the prompt of {n_prompt} tokens leaves no room", f"the model takes {info.max_context}"
            )
        if info.most_tokens and n_prompt > info.most_tokens:
            raise EngineError(
                f"memory is short: a prompt of {n_prompt} tokens is not read now",
                f"at most {info.most_tokens} tokens for the next minute",
            )
        if self._suspects is not None and request.prompt in self._suspects:
            raise refusal()
        if request.adapter is None:
            return None
        assert self._switch is not None
        if (adapter := self._switch.adapters.get(request.adapter)) is None:
            raise AdapterMissingError(f"adapter {request.adapter[:64]!r} is not loaded", "load it first")
        self._adapter_used[request.adapter] = next(self._clock)
        return adapter

    async def load_adapter(self, name: str, folder: Path) -> dict[str, Any]:
        """Make the adapter in ``folder`` usable as ``name``. Raises MidfillError, and the old one stays.

        Generating goes on meanwhile. Files that are replaced later are noticed (adapter_loader.py).
        """
        return _facts(await self._while_serving(lambda: self._loader.load(name, folder)))

    async def check_adapter(self, folder: Path) -> dict[str, Any]:
        """Whether the adapter in ``folder`` could be loaded; nothing of it stays. Raises MidfillError."""
        return _facts(await self._while_serving(lambda: self._loader.check(folder)))

    async def unload_adapter(self, name: str) -> None:
        """Forget the adapter ``name``."""
        await self._while_serving(lambda: self._post(lambda: self._unload_adapter(name)))

    async def block(self, seconds: float) -> None:
        """Keep the worker from its work, for tests."""
        await self._while_serving(lambda: self._post(lambda: time.sleep(seconds)))

    async def _while_serving(self, begin: Callable[[], Future[T]]) -> T:
        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            future = begin()
        return await asyncio.wrap_future(future)

    def _post(self, action: Callable[[], None]) -> Future[None]:
        """Have the worker do it after its present step. Raises EngineError."""
        future: Future[None] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                action()
            except Exception as error:  # noqa: BLE001 - handed to the caller
                future.set_exception(error)
            else:
                future.set_result(None)

        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            self.n_progress += not self.busy
            self._calls.append(run)
            self._wake.notify()
        return future

    def figures(self) -> dict[str, Any]:
        """Counters since the start, and the last requests."""
        scheduler = self._scheduler
        n_slots = len(self._slots.slots) if self.info is not None else 0
        slots = {"n_slots": n_slots, "n_active": len(scheduler.running), "n_waiting": len(scheduler.waiting)}
        return {**slots, "totals": dict(self._records.totals), "recent": list(self._records.recent)}

    def adapters(self) -> list[dict[str, Any]]:
        """The resident adapters."""
        if self._switch is None:
            return []
        return [
            {"name": a.name, "folder": str(a.folder), "rank": a.rank, "alpha": a.alpha, "base": a.base,
             "parameters": a.parameters, "digest": a.digest, "problem": _problem(self._loader.problems.get(a.name))}
            for a in self._switch.adapters.values()
        ]  # fmt: skip

    async def aclose(self) -> None:
        """Stop the worker after its present step."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    # ---- on the loader's thread --------------------------------------------------------------------------------

    def resident_adapters(self) -> Mapping[str, Adapter]:
        """By name; a mapping that does not change any more."""
        return self._switch.adapters if self._switch is not None else {}

    def read_adapter(self, name: str, folder: Path) -> Adapter:
        """Read, check and make ready for use. Raises MidfillError."""
        if self.info is None or self._model is None:
            raise EngineError("the engine is not ready", self.status.remedy or "wait until the model is loaded")
        adapter = read_adapter(name, folder, self._model.model, self._model.base_names)
        self._runner.make_ready(adapter)
        return adapter

    def install_adapter(self, adapter: Adapter, *, replacing: Adapter | None) -> None:
        """Make it usable and wait until it is; nothing if ``replacing`` is not resident any more."""
        self._post(lambda: self._install_adapter(adapter, replacing)).result()

    # ---- on the worker thread ----------------------------------------------------------------------------------

    def _run(self) -> None:
        worker = None
        try:
            worker = self._load()
        except MidfillError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - the thread's last words must reach a person
            log.error("loading failed: %s", described(error))
            self._give_up(_no_memory() if is_out_of_memory(error) else _broke("loading the model failed", error))
        if worker is not None:
            try:
                with torch.inference_mode():
                    self._serve(worker)
            except Exception as error:  # noqa: BLE001 - whoever waits is answered
                log.error("the worker failed: %s", described(error))
                self._give_up(_no_memory() if is_out_of_memory(error) else _broke("the engine failed", error))
                self._fail_all(worker)
        for call in self._calls:  # whoever waits is told
            call()
        self._loader.close()

    def _give_up(self, error: MidfillError) -> None:
        self.status = EngineStatus("error", error.message, error.remedy, pid=os.getpid())
        with self._wake:
            self._closing = True

    def _progress(self, stage: str, fraction: float) -> None:
        self.n_progress += 1
        self.status = EngineStatus(
            "starting", stage=stage, progress=min(1.0, fraction), model=self._spec, pid=os.getpid()
        )

    def _load(self) -> Worker:
        self._progress("starting", 0.0)
        source = models.resolve(self._spec)
        floats = needs_floats(self._device, self._dtype)
        compiling = preparing.Compiling() if not floats else None
        try:
            folder = preparing.prepare(source, self._progress, floats=floats)
        except MidfillError:
            if self._spec != "auto" or source.kind == "embedded":
                raise
            source = models.resolve("embedded")  # auto promised the reference only where it can be had
            folder = preparing.prepare(source, self._progress, floats=floats)
        loaded = load(folder, source.name, device=self._device, dtype=self._dtype, progress=self._progress)
        called = " ".join(sorted({source.name, *loaded.base_names}))
        template = fim.find(self._template, loaded.tokenizer, called)
        self._switch = AdapterSwitch(loaded.model)
        self._runner = Runner(loaded.model)
        if self._runner.compiled is not None:
            self._progress("compiling", 0.0)  # for the first time on this machine; otherwise read
            if compiling is not None:
                compiling.wait()
            self._runner.warm_up()
        self._rotate = self._runner.find_rotation()
        budget = min(CONTEXT_TOKENS.get(loaded.device.type, CONTEXT_TOKENS["cpu"]), loaded.max_context // 2)
        self._slots, max_context = self._make_slots(loaded, budget)
        self._model = loaded
        self._progress("checking", 0.0)
        if source.kind == "embedded":
            self._self_test(template)
        pool = ThreadPoolExecutor(1)  # half a second; the first request that needs it waits for what is left of that
        self._vocabulary = pool.submit(Vocabulary, loaded.tokenizer, loaded.vocabulary)
        pool.shutdown(wait=False)
        self._info = info = ModelInfo(
            name=source.name,
            tokenizer_file=str(folder / "tokenizer.json"),
            template=None if template is fim.PREFIX_ONLY else template.name,
            context_tokens=budget,
            max_context=max_context,
            device=_device_name(loaded.device),
            dtype=loaded.number_format,
            parameters=loaded.parameters,
            suffix_shift=loaded.device.type == "cpu" and self._rotate is not None,
        )
        why = fim.why_not_filling(called) or "the model has no FIM tokens"
        says = "" if info.template else f"{why}: it completes from the text before the cursor only"
        self.status = EngineStatus("ready", says, model=source.name, device=info.device, pid=os.getpid())
        return Worker(
            loaded.tokenizer, self._vocabulary, self._runner, self._slots, self._switch, self._rotate, self._scheduler,
            self._records, self._get_on, self._ended, self._ran_out, self._work_log,
        )  # fmt: skip

    def _get_on(self) -> None:
        self.n_progress += 1

    def _ran_out(self, n_prompt: int) -> None:
        """Memory ran out. What only makes the next answer quicker is given up; too often in a row, all of it."""
        assert self._info is not None
        self._shortage.hit(n_prompt, self._info.context_tokens)
        self._slots.drop_idle()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self._shortage.is_over:
            self._give_up(MidfillError(
                f"memory ran out {MAX_IN_ROW} times in a row",
                "a new engine is started; close other programs, or set context_tokens lower",
            ))  # fmt: skip

    def _ended(self, job: Job, reason: str) -> None:
        if reason in ("stop", "length"):
            self._shortage.went_well()
        if job.adapter is not None:
            self._make_room()

    def _make_slots(self, loaded: LoadedModel, budget: int) -> tuple[KVSlots, int]:
        """Slots, and how many tokens a request may have: on a GPU what fits its memory, once and for all."""
        if loaded.device.type != "cuda":
            return KVSlots(N_SLOTS), loaded.max_context
        static = static_decoder(self._runner, budget, loaded.max_context, N_SLOTS)
        self._runner.static = static
        switch = self._switch
        static.residents = lambda: switch.adapters.values() if switch is not None else ()
        self._scheduler.chunk, self._scheduler.shared_chunk = static.chunk, static.chunk // 4
        return KVSlots(slots=static.slots), min(loaded.max_context, static.capacity - ROWWISE)

    def _self_test(self, template: fim.FimTemplate) -> None:
        """The embedded model's known answer; also warms it up. Raises MidfillError."""
        assert self._model is not None
        prompt, expected = SELF_TEST
        tokenizer = self._model.tokenizer
        from midfill.types import Snapshot

        ids = fim.FimRenderer(template, tokenizer).render(Snapshot("", 0, "python", prompt, len(prompt))).ids
        slot, _ = self._slots.take(ids, None)
        generation, answer = Generation(slot, Sampling()), list[int]()
        with torch.inference_mode():
            while len(answer) < len(tokenizer.encode(expected)):
                rows = generation.rows()
                (logits,) = self._runner.forward([rows])
                answer += [token.id for token in generation.take(rows, logits)]
        self._slots.release(slot)
        if (said := tokenizer.decode(answer)) != expected:
            raise MidfillError(
                f"the model fails its self-test: {said[:40]!r} instead of {expected!r}",
                "a library upgrade may have broken it: run midfill model prepare --force, then midfill doctor",
            )

    def _serve(self, worker: Worker) -> None:
        scheduler = self._scheduler
        while True:
            with self._wake:
                self._working = bool(scheduler.running)
                self.n_progress += 1
                if not (self.busy or self._closing):
                    self._wake.wait(worker.rest_s())
                    self.n_progress += 1
                if self._closing:
                    break
                calls, self._calls = self._calls, []
                worker.make_way()
                started = scheduler.start(len(self._slots.slots) - len(scheduler.running))
                self._working = bool(scheduler.running or started or calls)
            if not self._working:
                worker.use_rest(self._something_came)
                continue
            for call in calls:
                call()
            scheduler.running += [job for job in started if worker.begin(job)]
            worker.step()
        self._fail_all(worker)

    def _fail_all(self, worker: Worker) -> None:
        left = EngineError(self.status.message, self.status.remedy) if self.status.state == "error" else None
        for job in [*self._scheduler.running, *self._scheduler.waiting]:
            worker.fail(job, left or EngineError(*LEAVING))
        self._scheduler.waiting.clear()

    def _something_came(self) -> bool:
        return bool(self._scheduler.waiting or self._calls or self._closing)

    def _install_adapter(self, adapter: Adapter, replacing: Adapter | None) -> None:
        assert self._switch is not None
        if replacing is None or self._switch.adapters.get(adapter.name) is replacing:
            self._switch.add(adapter)
            self._adapter_used[adapter.name] = next(self._clock)
            self._make_room(adapter.name)

    def _make_room(self, newest: str = "") -> None:
        """Forget the adapters that were asked for longest ago, beyond how many may be resident."""
        assert self._switch is not None
        adapters = self._switch.adapters
        needed = {id(job.adapter) for job in (*self._scheduler.running, *self._scheduler.waiting)}
        idle = [name for name, adapter in adapters.items() if id(adapter) not in needed and name != newest]
        idle.sort(key=lambda name: self._adapter_used.get(name, 0))
        for name in idle[: max(0, len(adapters) - self._max_adapters)]:
            self._unload_adapter(name)

    def _unload_adapter(self, name: str) -> None:
        if self._switch is not None:
            self._switch.remove(name)
            self._adapter_used.pop(name, None)


def _broke(what: str, error: Exception) -> MidfillError:
    """Of the exception its kind alone: its text is not written for people, and may hold anything."""
    return MidfillError(f"{what} ({described(error)})", "run: midfill doctor")


def _no_memory() -> MidfillError:
    return MidfillError(
        "the model does not fit into this machine's memory", "close other programs, or choose a smaller model"
    )


def _facts(adapter: Adapter) -> dict[str, Any]:
    return {
        "name": adapter.name, "rank": adapter.rank, "alpha": adapter.alpha, "parameters": adapter.parameters,
        "digest": adapter.digest,
    }  # fmt: skip


def _problem(error: MidfillError | None) -> dict[str, str] | None:
    return {"message": error.message, "remedy": error.remedy} if error is not None else None


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
