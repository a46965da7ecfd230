"""The engine's thread: it loads the model, then runs step after step for the current requests."""

from __future__ import annotations

import gc
import itertools
import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch

from midfill import fim
from midfill.engine.base import EngineError, GenerateRequest
from midfill.engine.local.forward.attention import ROWWISE
from midfill.engine.local.forward.cuda_setup import static_decoder
from midfill.engine.local.forward.runner import Runner
from midfill.engine.local.lora.adapter import Adapter, ResidentAdapters
from midfill.engine.local.model.load import LoadedModel, load, needs_floats
from midfill.engine.local.request import Request, RunningRequest
from midfill.engine.local.scheduler import Scheduler
from midfill.engine.local.sequence.generation import Generation, Sampling
from midfill.engine.local.sequence.healing import TokenIndex
from midfill.engine.local.sequence.kv_cache import KVSlots
from midfill.engine.local.shortage import MAX_IN_ROW, Shortage, is_out_of_memory
from midfill.engine.local.store import models, preparing
from midfill.engine.local.worker import RequestLog, Worker
from midfill.engine.suspects import WorkLog
from midfill.faults import described
from midfill.types import EngineStatus, MidfillError, ModelInfo, Snapshot

log = logging.getLogger(__name__)
T = TypeVar("T")

N_SLOTS = 4
# A request is refused if this many already wait: its answer would come too late.
MAX_WAITING = 64
# The prompt budget that is still answered in good time: measured in docs/log.md.
CONTEXT_TOKENS = {"cpu": 768, "cuda": 2048}
# After loading, the model must still give this answer; a library upgrade that breaks it shows
# here, not in the user's code.
SELF_TEST = ("def add(a, b):\n    return ", "a + b")
LEAVING = ("the engine is shutting down", "ask again")


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to load and how; the names are those of the user's settings."""

    spec: str
    device: str
    dtype: str
    template: str
    max_adapters: int


class EngineThread(threading.Thread):
    """Owns the model: everything that touches it happens on this thread. Any thread may use ``status``, ``n_progress``
    and the methods of the first part. ``on_end`` is called when the thread ends."""

    def __init__(
        self, settings: LoadOptions, on_end: Callable[[], None], work_log: WorkLog | None,
        compiling: preparing.Compiling | None = None,
    ) -> None:  # fmt: skip
        super().__init__(name="midfill-engine", daemon=True)
        self._settings, self._on_end, self._work_log = settings, on_end, work_log
        self._compiling = compiling
        self.scheduler, self.records, self.shortage = Scheduler(), RequestLog(), Shortage()
        self.model: LoadedModel | None = None
        self.runner: Runner  # set by loading, like the fields below
        self.slots: KVSlots
        self.residents: ResidentAdapters | None = None
        self.status = EngineStatus("starting", pid=os.getpid())
        self.n_progress = 0  # grows while work progresses; a watchdog reads it
        self._info: ModelInfo | None = None
        self._vocabulary: Future[TokenIndex] = Future()
        self._adapter_used: dict[str, int] = {}  # when each adapter was last asked for; the oldest makes room
        self._clock = itertools.count(1)
        self._calls: list[Callable[[], None]] = []
        self._wake = threading.Condition()
        self._closing = self._working = False

    @property
    def info(self) -> ModelInfo | None:
        """The model, with the context that memory allows now; None until the model is loaded."""
        return self.shortage.applied(self._info) if self._info is not None else None

    @property
    def busy(self) -> bool:
        """Whether there is work, even if the thread is stuck and does not get to it."""
        return self._working or bool(self.scheduler.waiting or self._calls)

    def submit(self, asked: GenerateRequest, requests: Sequence[Request]) -> None:
        """Queue ``requests``, the candidates of ``asked``. Raises EngineError."""
        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            if self.scheduler.n_before(asked) >= MAX_WAITING:
                raise EngineError("too many requests are waiting", "try again")
            self.n_progress += not self.busy  # idle until now: the watchdog must not take that for a standstill
            self.scheduler.add(requests)
            self._wake.notify()

    def post(self, action: Callable[[], None]) -> Future[None]:
        """Have the thread call ``action`` after its current step; the future carries its errors.
        Raises EngineError if closing."""
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

    def while_serving(self, begin: Callable[[], T]) -> T:
        """Call ``begin`` and return its result; the thread cannot close meanwhile. Raises
        EngineError if it is closing already."""
        with self._wake:
            if self._closing:
                raise EngineError(*LEAVING)
            return begin()

    def close(self) -> None:
        """End the thread after its current step."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    def used(self, adapter: str) -> None:
        """Record that ``adapter`` was asked for."""
        self._adapter_used[adapter] = next(self._clock)

    # ---- on the thread itself ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Load the model, and serve requests until ``close``."""
        worker = None
        try:
            worker = self._load()
        except MidfillError as error:
            self._give_up(error)
        except Exception as error:  # noqa: BLE001 - the reason why the thread ends must reach the user
            log.error("loading failed: %s", described(error))
            self._give_up(_no_memory() if is_out_of_memory(error) else _broke("loading the model failed", error))
        if worker is not None:
            try:
                with torch.inference_mode():
                    self._serve(worker)
            except Exception as error:  # noqa: BLE001 - every waiting request gets an answer
                log.error("the worker failed: %s", described(error))
                self._give_up(_no_memory() if is_out_of_memory(error) else _broke("the engine failed", error))
                self._fail_all(worker)
        for call in self._calls:  # every caller that waits is told
            call()
        self._on_end()

    def _give_up(self, error: MidfillError) -> None:
        self.status = EngineStatus("error", error.message, error.remedy, pid=os.getpid())
        with self._wake:
            self._closing = True
        if self._compiling is not None:
            self._compiling.end()  # the process stays a moment, so that its clients learn why

    def _progress(self, stage: str, fraction: float) -> None:
        self.n_progress += 1
        self.status = EngineStatus(
            "starting", stage=stage, progress=min(1.0, fraction), model=self._settings.spec, pid=os.getpid()
        )

    def _load(self) -> Worker:
        self._progress("starting", 0.0)
        settings = self._settings
        source = models.resolve(settings.spec)
        floats = needs_floats(settings.device, settings.dtype)
        if self._compiling is None and not floats:
            self._compiling = preparing.Compiling()
        try:
            folder = preparing.prepare(source, self._progress, floats=floats)
        except MidfillError:
            if settings.spec != "auto" or source.kind == "embedded":
                raise
            source = models.resolve("embedded")  # "auto" may only choose the reference model if it can be had
            folder = preparing.prepare(source, self._progress, floats=floats)
        loaded = load(folder, source.name, device=settings.device, dtype=settings.dtype, progress=self._progress)
        called = " ".join(sorted({source.name, *loaded.base_names}))
        template = fim.find(settings.template, loaded.tokenizer, called)
        self.residents = ResidentAdapters(loaded.model)
        self.runner = Runner(loaded.model)
        if self.runner.compiled is not None:
            self._progress("compiling", 0.0)  # compiles the first time on this machine; later starts read the cache
            if self._compiling is not None:
                self._compiling.wait()
            self.runner.warm_up()
        elif self._compiling is not None:
            self._compiling.end()
        rotate = self.runner.find_rotation()
        budget = min(CONTEXT_TOKENS.get(loaded.device.type, CONTEXT_TOKENS["cpu"]), loaded.max_context // 2)
        self.slots, max_context = self._make_slots(loaded, budget)
        self.model = loaded
        self._progress("checking", 0.0)
        if source.kind == "embedded":
            self._self_test(template)
        pool = ThreadPoolExecutor(1)  # takes half a second; the first request that needs it waits for the rest of that
        self._vocabulary = pool.submit(TokenIndex, loaded.tokenizer, loaded.vocabulary)
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
            suffix_shift=loaded.device.type == "cpu" and rotate is not None,
            scores=True,
        )
        why = fim.why_not_filling(called) or "the model has no FIM tokens"
        says = "" if info.template else f"{why}: it completes from the text before the cursor only"
        self.status = EngineStatus("ready", says, model=source.name, device=info.device, pid=os.getpid())
        return Worker(
            loaded.tokenizer, self._vocabulary, self.runner, self.slots, self.residents, rotate, self.scheduler,
            self.records, self._get_on, self._ended, self._ran_out, self._work_log,
        )  # fmt: skip

    def _get_on(self) -> None:
        self.n_progress += 1

    def _ran_out(self, n_prompt: int) -> None:
        """Handle that memory ran out: drop what only makes the next answer faster. Gives up if
        it happens too often in a row."""
        assert self._info is not None
        self.shortage.hit(n_prompt, self._info.context_tokens)
        self.slots.drop_idle()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if self.shortage.is_over:
            self._give_up(MidfillError(
                f"the engine ran out of memory {MAX_IN_ROW} times in a row",
                "midfill starts a new engine; close other programs, or lower context_tokens",
            ))  # fmt: skip

    def _ended(self, request: Request, reason: str) -> None:
        if reason in ("stop", "length"):
            self.shortage.went_well()
        if request.adapter is not None:
            self._make_room()

    def _make_slots(self, loaded: LoadedModel, budget: int) -> tuple[KVSlots, int]:
        """Return the slots, and how many tokens a request may have: on a GPU what fits
        its memory, fixed from then on."""
        if loaded.device.type != "cuda":
            return KVSlots(N_SLOTS), loaded.max_context
        static = static_decoder(self.runner, budget, loaded.max_context, N_SLOTS)
        self.runner.static = static
        residents = self.residents
        static.residents = lambda: residents.adapters.values() if residents is not None else ()
        self.scheduler.chunk, self.scheduler.shared_chunk = static.chunk, static.chunk // 4
        return KVSlots(slots=static.slots), min(loaded.max_context, static.capacity - ROWWISE)

    def _self_test(self, template: fim.FimTemplate) -> None:
        """Check that the embedded model gives the known answer; this also warms it up. Raises MidfillError."""
        assert self.model is not None
        prompt, expected = SELF_TEST
        tokenizer = self.model.tokenizer
        ids = fim.FimRenderer(template, tokenizer).render(Snapshot("", 0, "python", prompt, len(prompt))).ids
        slot, _ = self.slots.take(ids, None)
        generation, answer = Generation(slot, Sampling()), list[int]()
        with torch.inference_mode():
            while len(answer) < len(tokenizer.encode(expected)):
                rows = generation.rows()
                (logits,) = self.runner.forward([rows])
                answer += [token.id for token in generation.take(rows, logits)]
        self.slots.release(slot)
        if (said := tokenizer.decode(answer)) != expected:
            raise MidfillError(
                f"the model failed its self-test: {said[:40]!r} instead of {expected!r}",
                "a library upgrade may have broken it: run midfill model prepare --force, then midfill doctor",
            )

    def _serve(self, worker: Worker) -> None:
        scheduler = self.scheduler
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
                worker.yield_core()
                started = scheduler.start(len(self.slots.slots) - len(scheduler.running))
                self._working = bool(scheduler.running or started or calls)
            if not self._working:
                worker.use_rest(self._something_came)
                continue
            for call in calls:
                call()
            for request in started:
                worker.begin(request)
            worker.step()
        self._fail_all(worker)

    def _fail_all(self, worker: Worker) -> None:
        left = EngineError(self.status.message, self.status.remedy) if self.status.state == "error" else None
        everyone: list[Request | RunningRequest] = [*self.scheduler.running, *self.scheduler.waiting]
        for one in everyone:
            worker.fail(one, left or EngineError(*LEAVING))
        self.scheduler.waiting = []

    def _something_came(self) -> bool:
        return bool(self.scheduler.waiting or self._calls or self._closing)

    def install_adapter(self, adapter: Adapter, replacing: Adapter | None) -> None:
        """Make ``adapter`` usable. Does nothing if ``replacing`` is no longer resident."""
        assert self.residents is not None
        if replacing is None or self.residents.adapters.get(adapter.name) is replacing:
            self.residents.add(adapter)
            self._adapter_used[adapter.name] = next(self._clock)
            self._make_room(adapter.name)

    def _make_room(self, newest: str = "") -> None:
        """Unload the adapters that were asked for longest ago until no more than ``max_adapters`` are resident."""
        assert self.residents is not None
        adapters = self.residents.adapters
        requests = [*self.scheduler.waiting, *(running.request for running in self.scheduler.running)]
        needed = {id(request.adapter) for request in requests}
        idle = [name for name, adapter in adapters.items() if id(adapter) not in needed and name != newest]
        idle.sort(key=lambda name: self._adapter_used.get(name, 0))
        for name in idle[: max(0, len(adapters) - self._settings.max_adapters)]:
            self.unload_adapter(name)

    def unload_adapter(self, name: str) -> None:
        """Forget the adapter ``name``."""
        if self.residents is not None:
            self.residents.remove(name)
            self._adapter_used.pop(name, None)


def _broke(what: str, error: Exception) -> MidfillError:
    """Return an error that names only the exception's type: its text is not written for
    users, and may hold anything."""
    return MidfillError(f"{what} ({described(error)})", "run: midfill doctor")


def _no_memory() -> MidfillError:
    return MidfillError(
        "the model does not fit into this machine's memory", "close other programs, or choose a smaller model"
    )


def _device_name(device: torch.device) -> str:
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)
