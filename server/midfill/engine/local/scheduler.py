"""Who is evaluated next: one batch after another, from the requests that wait and those that run."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from midfill.engine.base import GenerateRequest
from midfill.engine.local.attention import ROWWISE
from midfill.engine.local.decode import PREFILL_CHUNK
from midfill.engine.local.job import Job

# While somebody's tokens are flowing, a prompt is read in smaller pieces beside them.
SHARED_CHUNK = 64
# Pieces of prompts by which it is known how fast they are read.
N_PACES = 8
# Where one person's prompts queue up, an answer comes first, and the next prompt is read beside one step in so many.
QUEUED_EVERY = 8


class Scheduler:
    """Jobs that wait and jobs that run. Not thread-safe: the engine holds its lock, or is the worker."""

    def __init__(self) -> None:
        self.chunk, self.shared_chunk = PREFILL_CHUNK, SHARED_CHUNK
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self._served: dict[str, int] = {}  # window -> when it was last given a slot
        self._read: dict[str, tuple[int, str]] = {}  # person -> when a prompt was last begun for them, for which window
        self._reading: Job | None = None  # whose prompt is read, to its end
        self._n_alone = 0  # steps in which answers went on and no prompt was read, though one waits
        self._was_between = False  # whether the last piece read was of a shorter prompt than that
        self._paces: collections.deque[float] = collections.deque(maxlen=N_PACES)
        self._clock = 0

    @property
    def someone_waits(self) -> bool:
        """Whether a person waits for anything."""
        return any(not job.request.background for job in (*self.waiting, *self.running))

    def start(self, n_free: int) -> list[Job]:
        """At most ``n_free`` waiting jobs, to be given slots; every cancelled one as well.

        A person before background work, the window that was served longest ago first, of each window the newest.
        """
        cancelled = [job for job in self.waiting if job.cancelled.is_set()]
        self.waiting = [job for job in self.waiting if not job.cancelled.is_set()]
        fit = [job for job in self.waiting if not self._reads_the_same(job)]
        started: list[Job] = []
        while len(started) < n_free and fit:
            job = min(fit, key=self._turn)
            if job.request.background and (self.someone_waits or self.running or started):
                break  # alone: whoever comes finds a free slot
            fit.remove(job)
            self.waiting.remove(job)
            if not job.request.background:
                self._clock += 1
                self._served[job.request.window] = self._clock
            started.append(job)
        if not (self.waiting or self.running or started):
            self._served.clear()
            self._read.clear()
            self._reading = None
        return cancelled + started

    def put_back(self, job: Job) -> None:
        """``job`` lost its slot, and waits again."""
        self.running.remove(job)
        self.waiting.append(job)

    def displaced(self) -> Job | None:
        """A job that holds a slot, of which nothing was read yet, and that would be read after one that the same person
        asked for later and that waits for a slot. It has had its turn."""
        newest = {job.request.person: job.arrived for job in sorted(self._people(self.waiting), key=_arrived)}
        unread = [job for job in self._people(self.running) if not job.n_steps and _n_pending(job) > self.shared_chunk]
        older = [job for job in unread if job.request.window and job is not self._reading]
        older = [job for job in older if job.arrived < newest.get(job.request.person, 0.0)]
        if (oldest := min(older, key=_arrived, default=None)) is not None:
            self._clock += 1
            self._served[oldest.request.window] = self._clock
        return oldest

    def read(self, n_tokens: int, seconds: float) -> None:
        """``n_tokens`` of a prompt were read in ``seconds``."""
        self._paces.append(seconds / n_tokens)

    def late(self, now: float) -> list[Job]:
        """Jobs to be given up for others that wait: they cannot have a first token before their deadline even if
        nothing else is done from ``now`` on.

        Where none can, the one that is read goes on: what it comes to is kept, and the next request finds it.
        """
        token_s = min(self._paces, default=0.0)
        jobs = self._people([*self.waiting, *self.running])
        jobs = [job for job in jobs if job.index == 0 and not job.first_token and not job.cancelled.is_set()]
        late = [job for job in jobs if now + token_s * _n_pending(job) > job.deadline]
        if len(late) < len(jobs) or not late:
            return late
        spared = self._reading if self._reading in late else max(late, key=_arrived)
        return [job for job in late if job is not spared]

    def n_before(self, request: GenerateRequest) -> int:
        """How many wait whose turn comes before a new one's or with it: a person does not queue behind background."""
        return sum(job.request.background <= request.background and not job.cancelled.is_set() for job in self.waiting)

    def _reads_the_same(self, job: Job) -> bool:
        """Whether ``job`` is a further candidate of a request whose prompt is still to be read by the first one."""
        first = (other for other in (*self.waiting, *self.running) if other.out is job.out and other.index == 0)
        return job.index > 0 and any(other.generation is None or _n_pending(other) > 1 for other in first)

    def _turn(self, job: Job) -> tuple[bool, bool, int, float, int]:
        window = job.request.window
        # Of a window the newest; those that do not say whose they are come in order.
        age = -job.arrived if window else job.arrived
        request = job.request
        return request.background, request.prefill_only, self._served.get(window, 0), age, job.index

    def batch(self) -> list[tuple[Job, int, int]]:
        """(job, tokens of its prompt at most, drafts at most) for the next forward pass.

        Of those that decode and the one whose prompt is read, the longest-unserved chooses the adapter, and all that
        have the same join.
        """
        candidates = self._people(self.running) or self.running
        decoding = [job for job in candidates if _n_pending(job) <= 1]
        reading = self._next_to_read([job for job in candidates if _n_pending(job) > 1])
        digests = [job.digest for job in candidates if job is reading or job in decoding]
        if not digests:
            return []
        decoding = [job for job in decoding if job.digest == digests[0]]
        n_drafts = ROWWISE // len(decoding) - 1 if decoding else 0
        batch = [(job, 1, n_drafts if job.request.speculate else 0) for job in decoding]
        if reading is not None and reading.digest == digests[0] and not (decoding and self._answers_first(candidates)):
            n_drafts = ROWWISE if reading.request.speculate and not decoding else 0
            limit = self.shared_chunk if decoding else self.chunk
            if reading.request.prefill_only:  # a piece that is broken off for a request is lost, so it is a small one
                limit, n_drafts = min(self.shared_chunk, _n_pending(reading) - 1), 0
            batch.append((reading, limit, n_drafts))
        return batch

    def _answers_first(self, jobs: list[Job]) -> bool:
        """Whether nothing is read beside this step: each piece of the next prompt would make the answer before it late,
        and bring none nearer, as others wait behind it. Several people share every step."""
        n_unread = sum(_n_pending(job) > 1 for job in jobs)
        self._n_alone = (self._n_alone + 1) % QUEUED_EVERY
        return n_unread > 1 and len({job.request.person for job in jobs}) == 1 and self._n_alone != 0

    def _next_to_read(self, unread: list[Job]) -> Job | None:
        """The prompt to read a piece of: the one that was begun, to its end, so that at least some are answered in time
        where many ask at once. A short rest, as after a keystroke, goes between two of its pieces.
        """
        if not unread:
            return None
        if self._reading in unread:
            short = [job for job in unread if job is not self._reading and _n_pending(job) <= self.shared_chunk]
            if self._was_between or not short:
                self._was_between = False
                return self._reading
            self._was_between = True
            return min(short, key=self._reading_turn)
        self._reading, self._was_between = min(unread, key=self._reading_turn), False
        self._clock += 1
        self._read[self._reading.request.person] = (self._clock, self._reading.request.window)
        return self._reading

    def _reading_turn(self, job: Job) -> tuple[int, bool, float]:
        """People in turn; of one person the newest, in whichever window, but no window twice while another waits: so
        one in which somebody types is read at once, and none is left behind."""
        when, window = self._read.get(job.request.person, (0, ""))
        is_again = bool(window) and job.request.window == window
        return when, is_again, -job.arrived if job.request.window else job.arrived

    @staticmethod
    def _people(jobs: Sequence[Job]) -> list[Job]:
        """Those for which a person waits."""
        return [job for job in jobs if not job.request.background]

    def turn(self, served: Sequence[Job]) -> None:
        """``served`` had their step: others come first next time."""
        self.running = [job for job in self.running if job not in served] + [
            job for job in self.running if job in served
        ]


def _arrived(job: Job) -> float:
    return job.arrived


def _n_pending(job: Job) -> int:
    """Tokens of its prompt that are still to be read, 0 where that is not known: it waits for a slot."""
    return job.generation.n_pending if job.generation is not None else 0
