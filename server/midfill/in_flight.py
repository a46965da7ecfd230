"""A generation in flight: several requests may follow it, one after the other or at once.

The request that began it is dropped with the next key; where that key only types along what is being generated, the
next request has begun to follow by then, and the generation goes on. The last one to leave stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from midfill.eagerness import Knob
from midfill.engine.base import Delta
from midfill.postprocess import PostProcessor
from midfill.reuse import Middle, Place, is_along, place_of, rests
from midfill.types import PromptFacts, Snapshot, Stats, Trigger

# A model that stops before its middle is whole is asked so often to go on.
MAX_RESUMED = 3
MAX_AGAIN = 4096  # characters that it spells again to that end
# The further candidates get as long as the first one took from its first piece on, but so long at least.
PATIENCE_S = 0.3
# Tokens before the last one that it may have, from which on it is shown by whole lines and arguments.
NEAR_LIMIT = 16

NO_FACTS = PromptFacts()


class Candidate:
    """One candidate's text as it grows."""

    def __init__(self, processor: PostProcessor, max_tokens: int = 0, *, by_hand: bool = False) -> None:
        """``max_tokens``, where known, after which it is broken off; ``by_hand``: the user asked for it."""
        self.processor, self._max_tokens, self._by_hand = processor, max_tokens, by_hand
        self.raw = self.reason = self._shown = ""
        self.published = ""  # what was shown of it while it grew: it only ever gets longer
        self._judged = ("", "")
        self.resumed: list[str] = []  # where the model stopped and was to go on
        self.stats = Stats()
        self.n_pieces = self.n_tokens = 0
        self._sum = 0.0

    def push(self, delta: Delta) -> None:
        """Take its next piece; what comes after its end is not its own."""
        self.stats = delta.stats or self.stats
        if self.reason:
            return
        self.n_pieces += bool(delta.text)
        self.raw += delta.text
        self.n_tokens += len(delta.logprobs)
        self._sum += sum(delta.logprobs)
        if delta.text or not self.resumed:  # what it only spells again was noted
            self.processor.note(delta.text, delta.logprobs)
        reason = delta.finish_reason or self.processor.ends(self.raw)
        if not (reason == "stop" and self._is_to_go_on()):
            self.end(reason)
        if not self.reason:
            self._publish()

    def _publish(self) -> None:
        is_near_limit = bool(self._max_tokens) and self.n_tokens >= self._max_tokens - NEAR_LIMIT
        sure = self.processor.sure(self.raw, is_near_limit=is_near_limit)
        if sure.startswith(self.published):
            self.published = sure

    def know(self, members: Mapping[str, frozenset[str]]) -> None:
        """All members of receivers near the cursor, as far as they are known by now."""
        self.processor.know(members)
        self._judged = ("", "")

    def _is_to_go_on(self) -> bool:
        """Whether the model stopped where more is surely missing. Where nothing was added since, it has no more."""
        has_more = not self.resumed or len(self.raw.rstrip()) > len(self.resumed[-1])
        if not has_more or len(self.resumed) == MAX_RESUMED or not self.raw.isascii():
            return False
        if not self.raw:  # who asks behind what opens a block wants its body
            return self._by_hand and self.processor.awaits_body
        if not self.raw.rpartition("\n")[2].strip() or len(self.raw) >= MAX_AGAIN:
            return False  # it began a new line and stopped all the same, or would have too much to spell
        return self.processor.stopped_early(self.raw, self.stats.stop_logprob)

    def resume(self) -> str:
        """What it is to begin with again, so that it goes on in another line; "" where it has its end."""
        if self.reason or not self._is_to_go_on():
            return ""
        self.resumed.append(self.raw.rstrip())
        self.raw += "\n"
        self.processor.note("\n", ())
        return self.raw

    def end(self, reason: str) -> None:
        """It ends for ``reason``, if that is one and it has not ended before."""
        if reason and not self.reason:
            self.reason = reason
            self.processor.over()

    @property
    def shown(self) -> str:
        """What is shown of it as it stands; at its end that begins with all that was published."""
        if (key := (self.raw, self.reason)) != self._judged:
            cut_short = self.reason == "length"
            processed = self.processor.shown(self.raw, cut_short=cut_short, finished=bool(self.reason))
            if self.reason and not processed.startswith(self.published):
                processed = self.processor.kept(self.published, cut_short=cut_short)
            self._shown, self._judged = processed, key
        return self._shown

    @property
    def rules(self) -> tuple[tuple[str, int], ...]:
        """Which rules made `shown` of it, and how many characters each took."""
        return tuple((applied.rule, applied.n_removed) for applied in self.processor.applied)

    @property
    def probability(self) -> float | None:
        """The mean (geometric) probability of its tokens, 0 to 1; None where the engine did not tell."""
        return math.exp(self._sum / self.n_tokens) if self.n_tokens else None


def candidates_of(snapshot: Snapshot, trigger: Trigger, n: int, knob: Knob, off: Collection[str]) -> list[Candidate]:
    """``n`` empty candidates as the ``knob`` stands; ``off`` are names of rules that are not applied."""
    gate, one_line, max_tokens = knob.gate(trigger), knob.one_line(trigger), knob.max_tokens(trigger)
    processors = [PostProcessor(snapshot, off, gate, one_line=one_line) for _ in range(n)]
    return [Candidate(processor, max_tokens, by_hand=trigger == "invoked") for processor in processors]


class InFlight:
    """One generation for one place. ``trigger``: of the request that began it; ``background``: there was none."""

    def __init__(
        self,
        snapshot: Snapshot,
        answered_by: str,
        candidates: list[Candidate],
        id: str = "",
        trigger: Trigger = "automatic",
        facts: PromptFacts = NO_FACTS,
        *,
        background: bool = False,
    ) -> None:
        self.snapshot, self.answered_by, self.candidates, self.id = snapshot, answered_by, candidates, id
        self.trigger, self.background = trigger, background
        self.facts = facts  # of the prompt, as far as it is written
        self.place: Place = place_of(snapshot, answered_by)
        self.n_prompt = 0  # tokens
        self.first_at = 0.0  # when its first piece came, on the monotonic clock
        self._best_ended = 0.0  # when its first candidate did
        self.n_followers = 0
        self.preempted = False  # by the engine, for somebody else's sake
        self.n_asked = len(candidates)
        self._n_changes = 0
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- for whoever generates -------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, None], on_end: Callable[[InFlight], None]) -> None:
        """Run ``work``, which pushes; ``on_end`` is told when it is over, one way or the other."""

        def ended(task: asyncio.Task[None]) -> None:
            on_end(self)
            if not task.cancelled():
                task.exception()  # is raised to the followers; without any, nobody misses it
            self._wake()

        self._task = asyncio.create_task(work)
        self._task.add_done_callback(ended)

    def push(self, delta: Delta) -> bool:
        """A piece came; whether it is enough."""
        now = time.monotonic()
        self.first_at = self.first_at or now
        if delta.index < len(self.candidates):
            candidate = self.candidates[delta.index]
            candidate.push(delta)
            if delta.index:  # only the first is ever asked to go on
                candidate.end(delta.finish_reason or "")
        if self.candidates[0].reason or (delta.finish_reason and not delta.index):
            self._best_ended = self._best_ended or now
        if self.enough:
            return True
        self._wake()
        return False

    def know(self, members: Mapping[str, frozenset[str]]) -> None:
        """Hold every candidate against what is known by now."""
        for candidate in self.candidates:
            candidate.know(members)

    def is_denied(self, members: Mapping[str, frozenset[str]]) -> bool:
        """Hold every candidate against ``members``; whether nothing was published and one that names none of them has
        left nothing to show."""
        self.know(members)
        shown = [candidate.published or candidate.shown for candidate in self.candidates]
        return not any(shown) and any(name == "drop_invented" for name, _ in self.candidates[0].rules)

    def restart(self, knob: Knob, off: Collection[str]) -> None:
        """Forget what was said: it is generated once more, into new candidates."""
        self.candidates = candidates_of(self.snapshot, self.trigger, self.n_asked, knob, off)
        self._best_ended = 0.0

    def resume(self) -> str:
        """What the first candidate is to begin with again (Candidate.resume); the others have what they have."""
        said = self.candidates[0].resume()
        if said:
            self._best_ended = 0.0
            self.candidates = self.candidates[:1] + [each for each in self.candidates[1:] if each.reason]
        return said

    def end(self) -> None:
        """No more comes: an engine that gives fewer candidates, or no reason, has said all it has to say."""
        self.first_at = self.first_at or time.monotonic()
        for candidate in self.candidates[:1] if self.enough else self.candidates:
            candidate.end("stop")
        self.candidates = [candidate for candidate in self.candidates if candidate.reason]

    @property
    def by_hand(self) -> bool:
        """Whether an invoked request began it."""
        return self.trigger == "invoked"

    @property
    def enough(self) -> bool:
        """Whether every candidate has its end, or the first one has and the others take much longer than it did."""
        if all(candidate.reason for candidate in self.candidates):
            return True
        if not self._best_ended:
            return False
        patience = max(PATIENCE_S, self._best_ended - self.first_at)
        return time.monotonic() - self._best_ended > patience

    @property
    def stats(self) -> Stats:
        """The figures of the first candidate, with the tokens of all."""
        first = self.candidates[0].stats
        n_decoded = sum(max(candidate.stats.n_decoded, candidate.n_pieces) for candidate in self.candidates)
        return replace(first, n_prompt=first.n_prompt or self.n_prompt, n_decoded=n_decoded)

    def cancel(self) -> None:
        """Stop it in a moment."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Stop it; the engine has let go when this returns."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        self._n_changes += 1
        self._event.set()
        self._event = asyncio.Event()

    # ---- for who follows -------------------------------------------------------------------------------------------

    def typed(self, snapshot: Snapshot) -> str:
        """What was typed since its place, up to ``snapshot``'s cursor."""
        return snapshot.text[self.place.cursor : snapshot.cursor]

    def is_along(self, typed: str) -> bool:
        """Whether there is more after ``typed``, or may still be."""
        first = self.candidates[0]
        return is_along((first.shown,), typed, may_grow=not first.reason)

    def survives(self, text: str) -> bool:
        """Whether it is still of use when its document has become ``text``: the user types along it or, in the
        background, towards it."""
        if not text.endswith(self.snapshot.suffix):
            return False
        head = text[: len(text) - len(self.snapshot.suffix)]
        if head.startswith(self.snapshot.prefix):
            return self.is_along(head.removeprefix(self.snapshot.prefix))
        return self.background and self.snapshot.prefix.startswith(head)

    @contextlib.asynccontextmanager
    async def followed(self, lingers: Callable[[], float] = lambda: 0.0) -> AsyncIterator[None]:
        """While inside, it is needed. The last one to leave stops it: ``lingers()`` seconds later, if nobody comes."""
        self.n_followers += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            yield
        finally:
            self.n_followers -= 1
            if not self.n_followers and not self.is_over:
                if linger_s := lingers():
                    self._timer = asyncio.get_running_loop().call_later(linger_s, self.cancel)
                else:
                    await self.stop()

    async def grown(self, n_seen: int) -> int:
        """Wait until more stands than at ``n_seen``; the number for the next call, 0 at the end. Raises EngineError."""
        while self._n_changes == n_seen and not self.is_over:
            await self._event.wait()
        if not self.is_over:
            return self._n_changes
        assert self._task is not None
        if not self._task.cancelled() and (fault := self._task.exception()) is not None:
            raise fault
        return 0

    @property
    def stopped(self) -> bool:
        """Whether it was stopped before its end."""
        return self._task is not None and self._task.cancelled()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes, whatever the reason."""
        return self._task is not None and self._task.done()

    def standing(self, typed: str) -> tuple[str, ...]:
        """What is left to show after ``typed``, while it grows."""
        return rests((self.candidates[0].published,), typed)

    def middle(self, typed: str) -> Middle | None:
        """What came of it after ``typed``; None if that is nothing, and the model was not asked at this very place.

        Each text once, the most probable beginning first, then by probability: the first one is what grew on the
        screen, and another in its place would make a person read twice.
        """
        first, *others = self.candidates
        ranked = [first, *sorted(others, key=lambda candidate: -(candidate.probability or 0.0))]
        shown = tuple(dict.fromkeys(text for candidate in ranked if (text := candidate.shown)))
        best = next((candidate for candidate in ranked if candidate.shown), first)
        left = rests(shown, typed)
        if typed and not left:
            return None
        return Middle(
            best.raw, best.reason, left, self.id, self.n_asked, best.processor.confidence, best.rules,
            len(typed), self.by_hand,
        )  # fmt: skip
