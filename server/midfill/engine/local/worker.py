"""What the engine's thread does with a loaded model: step after step, and background work in quiet moments."""

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

from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.engine.local.forward.attention import Rows
from midfill.engine.local.forward.runner import Cancelled, Runner
from midfill.engine.local.lora.adapter import ResidentAdapters
from midfill.engine.local.request import Output, Request, RunningRequest
from midfill.engine.local.scheduler import SHARED_CHUNK, Scheduler
from midfill.engine.local.sequence.generation import Generation, OverflowedError, Sampling, Token
from midfill.engine.local.sequence.healing import Endless, ForcedPrefix, GivenAnswer, TokenIndex
from midfill.engine.local.sequence.kv_cache import KVSlots, Rotate, Slot
from midfill.engine.local.sequence.logit_bias import LogitBias
from midfill.engine.local.sequence.prompt_lookup import Drafter
from midfill.engine.local.shortage import is_out_of_memory
from midfill.engine.local.threads import Threads
from midfill.engine.suspects import WorkLog
from midfill.faults import described
from midfill.tokenizer import CodeTokenizer

log = logging.getLogger(__name__)

# A suffix that was kept although the cursor moved is read again after this long without a request.
REFRESH_AFTER_S = 0.4
REFRESH_CHUNK = 64
# Capturing a graph (cuda_graphs.py) takes about ten milliseconds: not while the next request may come at once.
CAPTURE_AFTER_S = 0.02


class RequestLog:
    """Counters since the start, and the last requests."""

    def __init__(self) -> None:
        self.recent: collections.deque[dict[str, Any]] = collections.deque(maxlen=32)
        self.totals = collections.Counter[str]()
        self._numbers = itertools.count(1)

    def add(self, ended: Request | RunningRequest, reason: str) -> None:
        """Record that ``ended`` is over, and why."""
        asked, stats = ended.asked, ended.stats()
        if asked.prefill_only:  # no client gets an answer
            self.totals["n_read" if reason == "length" else "n_unread"] += 1
            return
        entry: dict[str, Any] = {"n": next(self._numbers), "id": asked.request_id, "finish_reason": reason}
        self.recent.append(entry | asdict(stats) | ended.figures())
        self.totals[f"n_{reason}"] += 1
        self.totals["n_requests"] += 1
        self.totals["n_prompt"] += stats.n_prompt
        self.totals["n_cached"] += stats.n_cached
        self.totals["n_decoded"] += stats.n_decoded


@dataclass(slots=True)
class Worker:
    """Serves the requests; only the engine's thread calls it. It calls ``on_progress`` while work progresses,
    ``on_end`` with each request that ended and why, ``on_shortage`` with the prompt's length when memory ran out."""

    tokenizer: CodeTokenizer
    vocabulary: Future[TokenIndex]
    runner: Runner
    slots: KVSlots
    residents: ResidentAdapters
    rotate: Rotate | None
    scheduler: Scheduler
    records: RequestLog
    on_progress: Callable[[], None]
    on_end: Callable[[Request, str], None]
    on_shortage: Callable[[int], None] = lambda n_prompt: None
    work_log: WorkLog | None = None
    threads: Threads = field(default_factory=Threads)

    def begin(self, request: Request) -> None:
        """Give ``request`` a slot, unless it is over already."""
        if request.cancelled.is_set() or (request.asked.prefill_only and self.threads.is_crowded):
            self._finish(request, "cancelled")
            return
        if self.work_log is not None:
            self.work_log.begin(id(request), request.asked.prompt)
        try:
            self._begin(request)
        except Exception as error:  # noqa: BLE001 - as in a step: only this request fails
            self._broken(request, error)

    def _begin(self, request: Request) -> None:
        asked, started = request.asked, time.monotonic()
        slot, n_cached = self.slots.take(asked.prompt, request.digest, asked.suffix, self.rotate)
        try:
            generation = self._generation(request, slot)
        except Exception:
            slot.forget()
            self.slots.release(slot)
            raise
        self.scheduler.run(
            RunningRequest(request, slot, generation, Output(self.tokenizer, asked), n_cached, started=started)
        )  # fmt: skip

    def _generation(self, request: Request, slot: Slot) -> Generation:
        asked = request.asked
        forced_prefix = self._forced_prefix(asked.forced_prefix) if asked.forced_prefix else None
        given = GivenAnswer(asked.given) if asked.given else None
        endless = Endless(self.vocabulary.result(), self.tokenizer.control_ids) if asked.ignore_eos else None
        bias = self._bias(asked) if asked.bias_names else None
        drafter = Drafter([one.completion for one in [slot, *self.slots.slots]]) if asked.speculate else None
        rank = request.index if asked.temperature == 0 else 0
        seed = asked.seed + request.index if asked.seed is not None else None
        sampling = Sampling(asked.temperature, asked.top_p, seed, rank)
        return Generation(
            slot, sampling, forced_prefix=given or forced_prefix, drafter=drafter, bias=bias,
            logprobs=asked.logprobs, endless=endless,
        )  # fmt: skip

    def _bias(self, asked: GenerateRequest) -> LogitBias:
        names, advantages = asked.bias_names, asked.bias_advantages
        return LogitBias(names, self.vocabulary.result(), only=asked.bias_only, advantages=advantages)

    def _forced_prefix(self, text: str) -> ForcedPrefix:
        return ForcedPrefix(text, self.vocabulary.result())

    def step(self) -> None:
        """Run one forward pass for as many requests as go together."""
        for running in [one for one in self.scheduler.running if one.request.cancelled.is_set()]:
            self._finish(running, "cancelled")
        self._end_reading()
        batch = [(running, running.generation.rows(limit, drafts)) for running, limit, drafts in self.scheduler.batch()]
        if batch:
            self.threads.adjust()
            if batch[0][0].asked.prefill_only and self.threads.is_crowded:
                self._finish(batch[0][0], "cancelled")
                return
            self.scheduler.turn([running for running, _ in batch])
            self._evaluate(batch)

    def _evaluate(self, batch: list[tuple[RunningRequest, Rows]]) -> None:
        requests, start = [running.request for running, _ in batch], time.monotonic()
        try:
            logits = self.runner.forward(
                [rows for _, rows in batch], requests[0].adapter, lambda: self._is_over(requests)
            )  # fmt: skip
        except Cancelled:
            for running, rows in batch:
                running.generation.abandon(rows)
            return
        except Exception as error:  # noqa: BLE001 - one broken request must not end the worker, nor the others
            if len(batch) == 1:
                self._broken(batch[0][0], error)
            for one in batch if len(batch) > 1 else []:
                self._evaluate([one])
            return
        if len(batch) == 1 and len(batch[0][1].ids) >= SHARED_CHUNK:
            self.scheduler.read(len(batch[0][1].ids), time.monotonic() - start)
        for (running, rows), its in zip(batch, logits, strict=True):
            running.count_step()
            try:
                tokens = running.generation.take(rows, its)
            except OverflowedError as error:
                self.fail(running, EngineError(error.message, error.remedy))
            else:
                self._hand_out(running, tokens)

    def _end_reading(self) -> None:
        """End the requests that only read a prompt and have read it: all but its last token,
        which every request reads itself."""
        for running in [one for one in self.scheduler.running if one.asked.prefill_only]:
            if running.generation.n_pending <= 1:
                self._finish(running, "length")

    def _is_over(self, requests: list[Request]) -> bool:
        """Whether no request waits for the current step any more, or one with precedence has come. The runner asks
        between layers, so this call also reports progress."""
        self.on_progress()
        if all(request.cancelled.is_set() for request in requests):
            return True
        mine = requests[0].asked
        return any(
            mine.background > one.asked.background or mine.prefill_only > one.asked.prefill_only
            for one in self.scheduler.waiting
        )

    def _broken(self, broken: Request | RunningRequest, error: Exception) -> None:
        if ran_out := is_out_of_memory(error):
            where = "device" if isinstance(error, torch.OutOfMemoryError) else "machine"
            answer = EngineError(f"the {where} ran out of memory", "the engine uses a shorter context for a while")
        else:
            log.error("a generation failed: %s", described(error))
            answer = EngineError(f"the generation failed ({type(error).__name__})", "run: midfill doctor")
        error.__traceback__ = None  # it keeps the step's tensors alive
        if ran_out:  # before the answer: a client that asks again at once must see it
            if isinstance(broken, RunningRequest):
                broken.slot.forget()
            self.on_shortage(len(broken.asked.prompt))
        self.fail(broken, answer)

    def _hand_out(self, running: RunningRequest, tokens: list[Token]) -> None:
        """Send the text of ``tokens`` to the request's client."""
        request, asked = running.request, running.asked
        text, reason = "", ""
        logprobs: list[float] = []
        offsets: list[int] = []
        is_first = bool(tokens) and not running.first_token
        if is_first:
            running.first_token = time.monotonic()
        for token in tokens:
            piece, reason = running.output.push(token)
            if piece and logprobs and not text and asked.logprobs:  # the tokens so far only spelled the forced prefix
                stats = running.stats() if is_first else None
                request.send(Delta("", None, stats, request.index, tuple(logprobs)))
                is_first, logprobs, offsets = False, [], []
            if token.id in self.tokenizer.control_ids:
                running.stop_logprob = token.logprob if asked.logprobs else 0.0
            else:
                running.n_decoded += 1
                logprobs.append(token.logprob)
                offsets.append(len(text))
            text += piece
            if reason:
                break
        told = (tuple(logprobs), tuple(offsets)) if asked.logprobs else ((), ())
        if reason:
            self._finish(running, reason, text, *told)
        elif text or is_first or told[0]:
            request.send(Delta(text, None, running.stats() if is_first else None, request.index, *told))

    def _finish(
        self, ended: Request | RunningRequest, reason: str, text: str = "", logprobs: tuple[float, ...] = (),
        offsets: tuple[int, ...] = (),
    ) -> None:  # fmt: skip
        request = self._end(ended, reason)
        request.send(Delta(text, reason, ended.stats(), request.index, logprobs, offsets))

    def fail(self, failed: Request | RunningRequest, error: EngineError) -> None:
        """End ``failed`` with ``error``; the content of its slot is not trusted."""
        if isinstance(failed, RunningRequest):
            failed.slot.forget()
        self._end(failed, "error").send(error)

    def _end(self, ended: Request | RunningRequest, reason: str) -> Request:
        """Take away the slot of ``ended``, if it has one, and return the request to answer."""
        if isinstance(ended, RunningRequest):
            request = ended.request
            self._give_up_slot(ended)
            self.scheduler.end(ended)
        else:
            request = ended
            if self.work_log is not None:
                self.work_log.end(id(request))
        self.on_end(request, reason)
        self.records.add(ended, reason)
        return request

    def _give_up_slot(self, running: RunningRequest) -> None:
        if self.work_log is not None:
            self.work_log.end(id(running.request))
        self.slots.release(running.slot)

    def yield_core(self) -> None:
        """Free slots for requests with precedence. Background work that holds every slot gives them up to a person, who
        would otherwise wait for its end. A request that only reads a prompt gives its slot to any other that comes,
        which may be the one it was read for. A person's newest request gets the slot of one that would be read after
        it. A request that would be too late is ended."""
        scheduler, n_slots = self.scheduler, len(self.slots.slots)
        for late in scheduler.late(time.monotonic()):  # the part of its prompt that was read stays in the slot
            answer = EngineError("too many requests at once: this one could not be answered in time", "ask again")
            if isinstance(late, Request):
                scheduler.withdraw(late)
            self._end(late, "late").send(answer)
        if any(not request.asked.prefill_only for request in scheduler.waiting):
            for running in [one for one in scheduler.running if one.asked.prefill_only]:
                self._put_back(running)
        is_full = len(scheduler.running) == n_slots and all(one.asked.background for one in scheduler.running)
        if is_full and any(not request.asked.background for request in scheduler.waiting):
            for running in scheduler.running:
                running.request.cancelled.set()
        displaced = scheduler.displaced() if len(scheduler.running) == n_slots else None
        if displaced is not None:
            self._put_back(displaced)

    def _put_back(self, running: RunningRequest) -> None:
        """Make ``running`` wait again; the part of its prompt that was read stays in the slot."""
        self._give_up_slot(running)
        self.scheduler.put_back(running)

    def rest_s(self) -> float | None:
        """Return how many seconds to wait for a request before background work begins; None if there is none to do."""
        if self.runner.static is not None and self.runner.static.pending:
            return CAPTURE_AFTER_S
        return REFRESH_AFTER_S if self._stale() else None

    def use_rest(self, something_came: Callable[[], bool]) -> None:
        """Do one piece of background work; drop it as soon as ``something_came`` returns True."""
        if self.runner.static is not None and self.runner.static.pending:
            self.runner.static.capture_next()
        elif self._stale():
            self._refresh(something_came)

    def _stale(self) -> list[Slot]:
        """Return the slots whose suffix was read before the text in front of it changed, last used first."""
        stale = [slot for slot in self.slots.slots if slot.age and not slot.busy and slot.can_refresh]
        return sorted(stale, key=lambda slot: -slot.last_used)

    def _refresh(self, something_came: Callable[[], bool]) -> None:
        """Read a stale suffix again piece by piece, which makes it exact; any request that comes goes first."""
        slot = self._stale()[0]
        adapters = {adapter.digest: adapter for adapter in self.residents.adapters.values()}
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
        except Exception as error:  # noqa: BLE001 - the kept values may be half new: forget them
            log.error("refreshing failed: %s", described(error))
            slot.forget()
