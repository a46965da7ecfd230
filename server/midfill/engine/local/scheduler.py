"""Which requests the next batch evaluates, from those that wait and those that run."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from midfill.engine.base import GenerateRequest
from midfill.engine.local.forward.attention import ROWWISE
from midfill.engine.local.request import Request, RunningRequest
from midfill.engine.local.sequence.generation import PREFILL_CHUNK

# While another request generates, a prompt is read beside it in smaller pieces.
SHARED_CHUNK = 64
# The reading speed is known from this many of the last pieces of prompts.
N_PACES = 8
# If one person's prompts queue up, the current answer goes first, and the next prompt is read
# beside one step in this many.
QUEUED_EVERY = 8


class Scheduler:
    """Owns the queues: requests that wait and requests that run. Not thread-safe: the waiting requests change under the
    engine's lock, the running ones only on its thread."""

    def __init__(self) -> None:
        self.chunk, self.shared_chunk = PREFILL_CHUNK, SHARED_CHUNK
        self.waiting: list[Request] = []  # replaced as a whole, so that other threads may look at it at any time
        self.running: list[RunningRequest] = []
        self._served: dict[str, int] = {}  # window -> when it last got a slot
        self._read: dict[str, tuple[int, str]] = {}  # person -> when their last prompt was begun, for which window
        self._reading: RunningRequest | None = None  # the request whose prompt is being read, to its end
        self._spared: Request | RunningRequest | None = None  # the request whose prompt is read although it is too late
        self._n_alone = 0  # steps in which answers continued and no prompt was read, though one waits
        self._was_between = False  # whether the last piece came from a shorter prompt read in between
        self._paces: collections.deque[float] = collections.deque(maxlen=N_PACES)
        self._clock = 0

    @property
    def someone_waits(self) -> bool:
        """Whether any request is not background work."""
        asked = [*(request.asked for request in self.waiting), *(running.asked for running in self.running)]
        return any(not one.background for one in asked)

    def add(self, requests: Sequence[Request]) -> None:
        """Add ``requests`` to those that wait."""
        self.waiting = [*self.waiting, *requests]

    def withdraw(self, request: Request) -> None:
        """Remove ``request`` from those that wait."""
        self.waiting = [one for one in self.waiting if one is not request]

    def run(self, running: RunningRequest) -> None:
        """Add ``running``, which was started and has its slot."""
        self.running.append(running)

    def end(self, running: RunningRequest) -> None:
        """Remove ``running``, which is over. No error if it was removed already."""
        self.running = [one for one in self.running if one is not running]

    def start(self, n_free: int) -> list[Request]:
        """Return at most ``n_free`` waiting requests to be given slots, and every cancelled one as well.

        People go before background work, then the window that was served longest ago; in each window
        the newest request goes first.
        """
        cancelled = [request for request in self.waiting if request.cancelled.is_set()]
        self.waiting = [request for request in self.waiting if not request.cancelled.is_set()]
        fit = [request for request in self.waiting if not self._reads_the_same(request)]
        started: list[Request] = []
        while len(started) < n_free and fit:
            request = min(fit, key=self._turn)
            if request.asked.background and (self.someone_waits or self.running or started):
                break  # background work runs alone: a person's request then finds a free slot
            fit.remove(request)
            self.withdraw(request)
            if not request.asked.background:
                self._clock += 1
                self._served[request.asked.window] = self._clock
            started.append(request)
        if not (self.waiting or self.running or started):
            self._served.clear()
            self._read.clear()
            self._reading = None
        return cancelled + started

    def put_back(self, running: RunningRequest) -> None:
        """Make ``running``, which lost its slot, wait again."""
        self.end(running)
        self.add([running.request])

    def displaced(self) -> RunningRequest | None:
        """Return a request that should give up its slot, or None. Nothing of its prompt was read yet, and it
        would be read only after a later request of the same person, which waits for a slot. Giving up the slot
        counts as its window's turn."""
        waiting = [request for request in self.waiting if not request.asked.background]
        newest = {one.asked.person: one.arrived for one in sorted(waiting, key=lambda one: one.arrived)}
        unread = [one for one in self._people() if not one.n_steps and one.generation.n_pending > self.shared_chunk]
        older = [one for one in unread if one.asked.window and one is not self._reading]
        older = [one for one in older if one.request.arrived < newest.get(one.asked.person, 0.0)]
        if (oldest := min(older, key=lambda one: one.request.arrived, default=None)) is not None:
            self._clock += 1
            self._served[oldest.asked.window] = self._clock
        return oldest

    def read(self, n_tokens: int, seconds: float) -> None:
        """Record that ``n_tokens`` of a prompt were read in ``seconds``."""
        self._paces.append(seconds / n_tokens)

    def late(self, now: float) -> list[Request | RunningRequest]:
        """Return the requests to give up in favour of others that wait: they cannot have a first token before their
        deadline, even if nothing else is done from ``now`` on.

        If none of them can, the one being read continues: its keys and values are kept, and
        the next request finds them.
        """
        token_s = min(self._paces, default=0.0)
        unread: list[tuple[Request | RunningRequest, Request, int]] = [
            *((one, one, 0) for one in self.waiting if not one.asked.background),
            *((one, one.request, one.generation.n_pending) for one in self._people() if not one.first_token),
        ]
        unread = [row for row in unread if row[1].index == 0 and not row[1].cancelled.is_set()]
        late = [row for row in unread if now + token_s * row[2] > row[1].deadline]
        self._spared = None
        if late and len(late) == len(unread):
            spared = next((row for row in late if row[0] is self._reading), max(late, key=lambda row: row[1].arrived))
            late.remove(spared)
            self._spared = spared[0]
        return [row[0] for row in late]

    def n_before(self, request: GenerateRequest) -> int:
        """Return how many waiting requests go before ``request`` or rank equally: people do not
        queue behind background work."""
        return sum(one.asked.background <= request.background and not one.cancelled.is_set() for one in self.waiting)

    def _reads_the_same(self, request: Request) -> bool:
        """Whether ``request`` is a further candidate whose first candidate has yet to read the same prompt."""
        if request.index == 0:
            return False
        unread = [one.request for one in self.running if one.generation.n_pending > 1]
        return any(one.out is request.out and one.index == 0 for one in (*self.waiting, *unread))

    def _turn(self, request: Request) -> tuple[bool, bool, int, float, int]:
        asked, window = request.asked, request.asked.window
        # The newest of a window goes first; requests that name no window go in order.
        age = -request.arrived if window else request.arrived
        return asked.background, asked.prefill_only, self._served.get(window, 0), age, request.index

    def batch(self) -> list[tuple[RunningRequest, int, int]]:
        """Return the next forward pass as (request, most prompt tokens, most drafts).

        Of the requests that decode and the one whose prompt is read, the one unserved for longest chooses the adapter;
        all with the same adapter join it.
        """
        candidates = self._people() or self.running
        decoding = [one for one in candidates if one.generation.n_pending <= 1]
        reading = self._next_to_read([one for one in candidates if one.generation.n_pending > 1])
        digests = [one.request.digest for one in candidates if one is reading or one in decoding]
        if not digests:
            return []
        decoding = [one for one in decoding if one.request.digest == digests[0]]
        n_drafts = ROWWISE // len(decoding) - 1 if decoding else 0
        batch = [(one, 1, n_drafts if one.asked.speculate else 0) for one in decoding]
        joins = reading is not None and reading.request.digest == digests[0]
        if reading is not None and joins and not (decoding and self._answers_first(candidates)):
            n_drafts = ROWWISE if reading.asked.speculate and not decoding else 0
            limit = self.shared_chunk if decoding else self.chunk
            if reading.asked.prefill_only:  # a request may break this piece off and its work is lost, so it is small
                limit, n_drafts = min(self.shared_chunk, reading.generation.n_pending - 1), 0
            batch.append((reading, limit, n_drafts))
        return batch

    def _answers_first(self, running: list[RunningRequest]) -> bool:
        """Whether this step reads no prompt beside the answers. Each piece of the next prompt would delay the current
        answer and bring no other closer, as others wait behind that prompt or it is too late itself. If several
        people ask, they share every step."""
        n_unread = sum(one.generation.n_pending > 1 for one in running)
        self._n_alone = (self._n_alone + 1) % QUEUED_EVERY
        queued = n_unread > 1 or self._reading is self._spared
        return queued and len({one.asked.person for one in running}) == 1 and self._n_alone != 0

    def _next_to_read(self, unread: list[RunningRequest]) -> RunningRequest | None:
        """Return the request whose prompt to read a piece of: the one begun, to its end, so that some are
        answered in time when many ask at once. A prompt with little left to read, as after a keystroke,
        goes between two of its pieces."""
        if not unread:
            return None
        if self._reading in unread:
            others = [one for one in unread if one is not self._reading]
            short = [one for one in others if one.generation.n_pending <= self.shared_chunk]
            if self._was_between or not short:
                self._was_between = False
                return self._reading
            self._was_between = True
            return min(short, key=self._reading_turn)
        self._reading, self._was_between = min(unread, key=self._reading_turn), False
        self._clock += 1
        self._read[self._reading.asked.person] = (self._clock, self._reading.asked.window)
        return self._reading

    def _reading_turn(self, running: RunningRequest) -> tuple[int, bool, float]:
        """Sort key: people take turns. Of one person the newest request goes first, in whichever window, but
        no window goes twice while another waits. The window in which the user types is thus read at once,
        and no window is left behind."""
        asked, arrived = running.asked, running.request.arrived
        when, window = self._read.get(asked.person, (0, ""))
        return when, bool(window) and asked.window == window, -arrived if asked.window else arrived

    def _people(self) -> list[RunningRequest]:
        """Return the running requests that are not background work."""
        return [one for one in self.running if not one.asked.background]

    def turn(self, served: Sequence[RunningRequest]) -> None:
        """Move ``served``, which had their step, behind the others."""
        self.running = sorted(self.running, key=lambda one: one in served)
