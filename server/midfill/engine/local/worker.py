"""What the engine's thread does with a loaded model: one step after another, and what is left for quiet moments."""

from __future__ import annotations

import collections
import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from midfill.engine.base import Delta, EngineError
from midfill.engine.local.adapters import AdapterSwitch
from midfill.engine.local.attention import Rows
from midfill.engine.local.decode import Generation, OverflowedError, Sampling, Token
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.healing import Beginning, Vocabulary
from midfill.engine.local.job import Job, Output
from midfill.engine.local.kv_cache import KVSlots, Rotate, Slot
from midfill.engine.local.prompt_lookup import Drafter
from midfill.engine.local.scheduler import SHARED_CHUNK, Scheduler
from midfill.engine.local.shortage import is_out_of_memory
from midfill.engine.local.threads import Threads
from midfill.engine.local.wanted import Wanted
from midfill.engine.suspects import WorkLog
from midfill.faults import described
from midfill.tokenizer import CodeTokenizer

log = logging.getLogger(__name__)

# A suffix that was kept though the cursor moved is read again when nobody has asked for so long.
REFRESH_AFTER_S = 0.4
REFRESH_CHUNK = 64
# A graph (cuda.py) takes some ten milliseconds to capture: not while the next request is to be expected at once.
CAPTURE_AFTER_S = 0.02


class Records:
    """Counters since the start, and the last requests."""

    def __init__(self) -> None:
        self.recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=32)
        self.totals = collections.Counter[str]()
        self._numbers = itertools.count(1)

    def add(self, job: Job, reason: str) -> None:
        """``job`` has ended."""
        if job.request.prefill_only:  # nobody's answer
            self.totals["n_read" if reason == "length" else "n_unread"] += 1
            return
        entry: dict[str, Any] = {"n": next(self._numbers), "id": job.request.request_id, "finish_reason": reason}
        self.recent.append(entry | asdict(job.stats()) | job.figures())
        self.totals[f"n_{reason}"] += 1
        self.totals["n_requests"] += 1
        self.totals["n_prompt"] += len(job.request.prompt)
        self.totals["n_cached"] += job.n_cached
        self.totals["n_decoded"] += job.n_decoded


@dataclass(slots=True)
class Worker:
    """Only the engine's thread calls it. ``on_progress`` is told when work gets on, ``on_end`` of each job's end and
    why, ``on_shortage`` of the prompt's length when memory ran out."""

    tokenizer: CodeTokenizer
    vocabulary: Future[Vocabulary]
    runner: Runner
    slots: KVSlots
    switch: AdapterSwitch
    rotate: Rotate | None
    scheduler: Scheduler
    records: Records
    on_progress: Callable[[], None]
    on_end: Callable[[Job, str], None]
    on_shortage: Callable[[int], None] = lambda n_prompt: None
    work_log: WorkLog | None = None
    threads: Threads = field(default_factory=Threads)

    def begin(self, job: Job) -> bool:
        """Give ``job`` its slot; False where it is over already."""
        try:
            return self._begin(job)
        except Exception as error:  # noqa: BLE001 - as of a step: it is this request that fails
            self._broken(job, error)
            return False

    def _begin(self, job: Job) -> bool:
        job.started = time.monotonic()
        if job.cancelled.is_set():
            self._finish(job, "cancelled")
            return False
        request = job.request
        if request.prefill_only and self.threads.is_crowded:
            self._finish(job, "cancelled")
            return False
        if self.work_log is not None:
            self.work_log.begin(id(job), request.prompt)
        job.slot, job.n_cached = self.slots.take(request.prompt, job.digest, request.suffix, self.rotate)
        job.output = Output(self.tokenizer, request)
        beginning = self._beginning(request.beginning) if request.beginning else None
        wanted = Wanted(request.wanted, self.vocabulary.result(), only=request.wanted_only) if request.wanted else None
        drafter = Drafter([slot.completion for slot in [job.slot, *self.slots.slots]]) if request.speculate else None
        rank = job.index if request.temperature == 0 else 0
        seed = request.seed + job.index if request.seed is not None else None
        sampling = Sampling(request.temperature, request.top_p, seed, rank)
        job.generation = Generation(
            job.slot, sampling, beginning=beginning, drafter=drafter, wanted=wanted, logprobs=request.logprobs
        )
        return True

    def _beginning(self, text: str) -> Beginning:
        return Beginning(text, self.vocabulary.result())

    def step(self) -> None:
        """One forward pass for as many jobs as go together."""
        for job in [job for job in self.scheduler.running if job.cancelled.is_set()]:
            self._finish(job, "cancelled")
        self._end_reading()
        batch = [(job, job.generation.rows(limit, drafts)) for job, limit, drafts in self.scheduler.batch()]  # type: ignore[union-attr]
        if batch:
            self.threads.adjust()
            if batch[0][0].request.prefill_only and self.threads.is_crowded:
                self._finish(batch[0][0], "cancelled")
                return
            self.scheduler.turn([job for job, _ in batch])
            self._evaluate(batch)

    def _evaluate(self, batch: list[tuple[Job, Rows]]) -> None:
        jobs = [job for job, _ in batch]
        start = time.monotonic()
        try:
            logits = self.runner.forward([rows for _, rows in batch], jobs[0].adapter, lambda: self._is_over(jobs))
        except Cancelled:
            for job, rows in batch:
                job.generation.abandon(rows)  # type: ignore[union-attr]
            return
        except Exception as error:  # noqa: BLE001 - one broken request must not end the worker, nor those beside it
            if len(batch) == 1:
                self._broken(jobs[0], error)
            for one in batch if len(batch) > 1 else []:
                self._evaluate([one])
            return
        if len(batch) == 1 and len(batch[0][1].ids) >= SHARED_CHUNK:
            self.scheduler.read(len(batch[0][1].ids), time.monotonic() - start)
        for (job, rows), its in zip(batch, logits, strict=True):
            job.n_steps += 1
            try:
                tokens = job.generation.take(rows, its)  # type: ignore[union-attr]
            except OverflowedError as error:
                self.fail(job, EngineError(error.message, error.remedy))
            else:
                self._hand_out(job, tokens)

    def _end_reading(self) -> None:
        """End what is only read and is read by now: all but its last token, which every request reads itself."""
        for job in [job for job in self.scheduler.running if job.request.prefill_only]:
            assert job.generation is not None
            if job.generation.n_pending <= 1:
                self._finish(job, "length")

    def _is_over(self, jobs: list[Job]) -> bool:
        """Whether no request waits for the present step any more, or one came that goes first. Asked between layers,
        so the work gets on."""
        self.on_progress()
        if all(job.cancelled.is_set() for job in jobs):
            return True
        mine = jobs[0].request
        return any(
            mine.background > job.request.background or mine.prefill_only > job.request.prefill_only
            for job in self.scheduler.waiting
        )

    def _broken(self, job: Job, error: Exception) -> None:
        if ran_out := is_out_of_memory(error):
            where = "device" if isinstance(error, torch.OutOfMemoryError) else "machine"
            answer = EngineError(f"the {where} ran out of memory", "a shorter context is used for a while")
        else:
            log.error("a generation failed: %s", described(error))
            answer = EngineError(f"the generation failed ({type(error).__name__})", "run: midfill doctor")
        error.__traceback__ = None  # it holds the tensors of the step
        if ran_out:  # before it is answered: who asks again at once is to know
            if job.slot is not None:
                job.slot.forget()
            self.on_shortage(len(job.request.prompt))
        self.fail(job, answer)

    def _hand_out(self, job: Job, tokens: list[Token]) -> None:
        """What ``tokens`` say, to whoever waits for it."""
        assert job.output is not None
        text, reason = "", ""
        logprobs: list[float] = []
        is_first = bool(tokens) and not job.first_token
        if is_first:
            job.first_token = time.monotonic()
        for token in tokens:
            piece, reason = job.output.push(token)
            if piece and logprobs and not text and job.request.logprobs:  # those so far only spelled the beginning
                job.send(Delta("", None, job.stats() if is_first else None, job.index, tuple(logprobs)))
                is_first, logprobs = False, []
            text += piece
            if token.id in self.tokenizer.control_ids:
                job.stop_logprob = token.logprob if job.request.logprobs else 0.0
            else:
                job.n_decoded += 1
                logprobs.append(token.logprob)
            if reason:
                break
        told = tuple(logprobs) if job.request.logprobs else ()
        if reason:
            self._finish(job, reason, text, told)
        elif text or is_first or told:
            job.send(Delta(text, None, job.stats() if is_first else None, job.index, told))

    def _finish(self, job: Job, reason: str, text: str = "", logprobs: tuple[float, ...] = ()) -> None:
        self._free(job, reason)
        self.records.add(job, reason)
        job.send(Delta(text, reason, job.stats(), job.index, logprobs))

    def fail(self, job: Job, error: EngineError) -> None:
        """``job`` ends with ``error``; what its slot holds is not trusted."""
        if job.slot is not None:
            job.slot.forget()
        self._free(job, "error")
        self.records.add(job, "error")
        job.send(error)

    def _refuse(self, job: Job, error: EngineError) -> None:
        """``job`` ends with ``error`` before its first token; what was read of its prompt stays in the slot."""
        if job in self.scheduler.waiting:
            self.scheduler.waiting.remove(job)
        self._free(job, "late")
        self.records.add(job, "late")
        job.send(error)

    def _free(self, job: Job, reason: str) -> None:
        if self.work_log is not None:
            self.work_log.end(id(job))
        if job.slot is not None:
            self.slots.release(job.slot)
            job.slot = None
        if job in self.scheduler.running:
            self.scheduler.running.remove(job)
        self.on_end(job, reason)

    def make_way(self) -> None:
        """Background work that holds every slot gives them up to a person: it would wait for that person's end, who
        waits for a slot. What is only read gives its slot to whatever comes, which may be what it was read for. A
        person's newest request gets the slot of one that would be read after it, and what would come too late goes."""
        for job in self.scheduler.late(time.monotonic()):
            self._refuse(job, EngineError("too much was asked at once to answer this in time", "ask again"))
        running, waiting = self.scheduler.running, self.scheduler.waiting
        if any(not job.request.prefill_only for job in waiting):
            for job in [job for job in running if job.request.prefill_only]:
                self._put_back(job)
        is_full = len(running) == len(self.slots.slots) and all(job.request.background for job in running)
        if is_full and any(not job.request.background for job in waiting):
            for job in running:
                job.cancel()
        displaced = self.scheduler.displaced() if len(running) == len(self.slots.slots) else None
        if displaced is not None:
            self._put_back(displaced)

    def _put_back(self, job: Job) -> None:
        """``job`` waits again; what was read of its prompt stays in the slot."""
        if self.work_log is not None:
            self.work_log.end(id(job))
        if job.slot is not None:
            self.slots.release(job.slot)
        job.slot = job.generation = job.output = None
        self.scheduler.put_back(job)

    def rest_s(self) -> float | None:
        """How long to wait for a request before the time is used otherwise; None: there is nothing to do."""
        if self.runner.static is not None and self.runner.static.pending:
            return CAPTURE_AFTER_S
        return REFRESH_AFTER_S if self._stale() else None

    def use_rest(self, something_came: Callable[[], bool]) -> None:
        """One piece of the work that nobody waits for, given up as soon as ``something_came``."""
        if self.runner.static is not None and self.runner.static.pending:
            self.runner.static.capture_next()
        elif self._stale():
            self._refresh(something_came)

    def _stale(self) -> list[Slot]:
        """Slots whose suffix was read before the text in front of it changed, the latest used first."""
        stale = [slot for slot in self.slots.slots if slot.age and not slot.busy and slot.can_refresh]
        return sorted(stale, key=lambda slot: -slot.last_used)

    def _refresh(self, something_came: Callable[[], bool]) -> None:
        """Read a stale suffix again, as it is without shifting, piece by piece; whatever comes goes first."""
        slot = self._stale()[0]
        adapters = {adapter.digest: adapter for adapter in self.switch.adapters.values()}
        if slot.adapter is not None and slot.adapter not in adapters:
            slot.truncate(0)
            return
        adapter = adapters[slot.adapter] if slot.adapter is not None else None
        try:
            while slot.age and not something_came():
                rows = slot.stale_rows(REFRESH_CHUNK)
                self.runner.forward([Rows(slot, [slot.ids[at] for at in rows], rows, 0)], adapter, something_came)
                slot.refreshed(len(rows))
                self.on_progress()
        except Cancelled:
            pass
        except Exception as error:  # noqa: BLE001 - what is kept may be half new: forget it
            log.error("refreshing failed: %s", described(error))
            slot.forget()
