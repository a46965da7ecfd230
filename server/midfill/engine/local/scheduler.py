"""Who is evaluated next: one batch after another, from the requests that wait and those that run."""

from __future__ import annotations

from collections.abc import Sequence

from midfill.engine.base import GenerateRequest
from midfill.engine.local.attention import ROWWISE
from midfill.engine.local.decode import PREFILL_CHUNK
from midfill.engine.local.job import Job

# While somebody's tokens are flowing, a prompt is read in smaller pieces beside them.
SHARED_CHUNK = 64


class Scheduler:
    """Jobs that wait and jobs that run. Not thread-safe: the engine holds its lock, or is the worker."""

    def __init__(self) -> None:
        self.chunk, self.shared_chunk = PREFILL_CHUNK, SHARED_CHUNK
        self.waiting: list[Job] = []
        self.running: list[Job] = []
        self._served: dict[str, int] = {}  # window -> when it was last given a slot
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
        return cancelled + started

    def put_back(self, job: Job) -> None:
        """``job`` lost its slot, and waits again."""
        self.running.remove(job)
        self.waiting.append(job)

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

        The longest-unserved job chooses the adapter; all that decode with it join, and one whose prompt is read.
        """
        candidates = [job for job in self.running if not job.request.background] or self.running
        if not candidates:
            return []
        digest = candidates[0].digest
        same = [job for job in candidates if job.digest == digest]
        decoding = [job for job in same if _n_pending(job) <= 1]
        reading = next((job for job in same if _n_pending(job) > 1), None)
        n_drafts = ROWWISE // len(decoding) - 1 if decoding else 0
        batch = [(job, 1, n_drafts if job.request.speculate else 0) for job in decoding]
        if reading is not None:
            n_drafts = ROWWISE if reading.request.speculate and not decoding else 0
            limit = self.shared_chunk if decoding else self.chunk
            if reading.request.prefill_only:  # a piece that is broken off for a request is lost, so it is a small one
                limit, n_drafts = min(self.shared_chunk, _n_pending(reading) - 1), 0
            batch.append((reading, limit, n_drafts))
        return batch

    def turn(self, served: Sequence[Job]) -> None:
        """``served`` had their step: others come first next time."""
        self.running = [job for job in self.running if job not in served] + [
            job for job in self.running if job in served
        ]


def _n_pending(job: Job) -> int:
    assert job.generation is not None
    return job.generation.n_pending
