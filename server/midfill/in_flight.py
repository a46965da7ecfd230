"""A generation in flight: several requests may follow it, one after the other or at once.

The next key cancels the request that began it. If that key only types along what is being generated, the next request
follows by then and the generation continues. The last follower to leave stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from dataclasses import replace
from typing import Any

from midfill.eagerness import Knob
from midfill.engine.base import Delta
from midfill.postprocess import GO_ON, PostProcessor
from midfill.reuse import Middle, ReuseKey, is_along, place_of, rests
from midfill.syntax.calls import Certain
from midfill.types import PromptFacts, Snapshot, Stats, Trigger

# A model that stops before its middle is complete is asked to continue this often.
MAX_RESUMED = 3
MAX_AGAIN = 4096  # characters of its output that it spells again for that
# Further candidates get as long as the first one took after its first piece, but at least this long.
PATIENCE_S = 0.3
# This many tokens before its limit, a candidate begins to be shown by whole lines and arguments only.
NEAR_LIMIT = 16

NO_FACTS = PromptFacts()


class Candidate:
    """The text of one candidate as it grows."""

    def __init__(self, processor: PostProcessor, max_tokens: int = 0, *, invoked: bool = False) -> None:
        """``max_tokens``: the limit after which it is broken off, if known; ``invoked``: an explicit request."""
        self.processor, self._max_tokens, self._invoked = processor, max_tokens, invoked
        self.raw = self.reason = self._shown = self._longer = ""
        self.published = ""  # what was shown while it grew: it only ever gets longer
        self._judged = ("", "")
        self.resumed: list[str] = []  # where the model stopped and was asked to continue
        self.stats = Stats()
        self.n_pieces = self.n_tokens = 0
        self._sum = 0.0

    def push(self, delta: Delta) -> None:
        """Take the next piece; text after its end does not belong to it."""
        self.stats = delta.stats or self.stats
        if self.reason:
            return
        self.n_pieces += bool(delta.text)
        self.raw += delta.text
        self.n_tokens += len(delta.logprobs)
        self._sum += sum(delta.logprobs)
        if delta.text or not self.resumed:  # what it only spells again was noted before
            self.processor.note(delta.text, delta.logprobs, delta.offsets)
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

    def know(self, known: Certain) -> None:
        """Take what is known by now of the names near the cursor."""
        self.processor.know(known)
        self._judged = ("", "")

    def _is_to_go_on(self) -> bool:
        """Whether the model stopped although more is surely missing. If it added nothing since, it has no more."""
        has_more = not self.resumed or len(self.raw.rstrip()) > len(self.resumed[-1])
        if not has_more or len(self.resumed) == MAX_RESUMED or not self.raw.isascii():
            return False
        if not self.raw:  # an explicit request after something that opens a block wants its body
            return self._invoked and self.processor.awaits_body
        if not self.raw.rpartition("\n")[2].strip() or len(self.raw) >= MAX_AGAIN:
            return False  # it began a new line and stopped all the same, or would have too much to spell
        return self.processor.stopped_early(self.raw, self.stats.stop_logprob)

    def resume(self) -> str:
        """Return the forced prefix with which it continues on another line; "" if it is complete."""
        if self.reason or not self._is_to_go_on():
            return ""
        self.resumed.append(self.raw.rstrip())
        self.raw += "\n"
        self.processor.note("\n", ())
        return self.raw

    def end(self, reason: str) -> None:
        """End it for ``reason``, if there is one and it has not ended before."""
        if reason and not self.reason:
            self.reason = reason
            self.processor.over()

    def go_on(self, longer: str) -> None:
        """Show ``longer``, which begins with what is shown, in its place, as far as the rules allow."""
        allowed = self.processor.longer(longer)
        if len(allowed) > len(self.shown) and allowed.startswith(self.shown):
            self._longer = allowed

    @property
    def shown(self) -> str:
        """Return what is shown of it now; at its end this begins with everything published so far."""
        if self._longer:
            return self._longer
        if (key := (self.raw, self.reason)) != self._judged:
            cut_short = self.reason == "length"
            processed = self.processor.shown(self.raw, cut_short=cut_short, finished=bool(self.reason))
            if self.reason and not processed.startswith(self.published):
                processed = self.processor.kept(self.published, cut_short=cut_short)
            self._shown, self._judged = processed, key
        return self._shown

    @property
    def rules(self) -> tuple[tuple[str, int], ...]:
        """Return the rules that made `shown` of it, and how many characters each removed."""
        went_on = ((GO_ON, len(self._shown) - len(self._longer)),) if self._longer else ()
        return tuple((applied.rule, applied.n_removed) for applied in self.processor.applied) + went_on

    @property
    def probability(self) -> float | None:
        """The geometric mean of its tokens' probabilities, 0 to 1; None if the engine did not report them."""
        return math.exp(self._sum / self.n_tokens) if self.n_tokens else None


def candidates_of(snapshot: Snapshot, trigger: Trigger, n: int, knob: Knob, off: Collection[str]) -> list[Candidate]:
    """Return ``n`` empty candidates for the position of ``knob``; ``off``: names of rules that are not applied."""
    gate, one_line, max_tokens = knob.gate(trigger), knob.one_line(trigger), knob.max_tokens(trigger)
    processors = [PostProcessor(snapshot, off, gate, one_line=one_line) for _ in range(n)]
    return [Candidate(processor, max_tokens, invoked=trigger == "invoked") for processor in processors]


class InFlight:
    """One generation for one place. ``trigger``: of the request that began it; ``background``: no request did."""

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
        self.facts = facts  # of the prompt, once it is written
        self.place: ReuseKey = place_of(snapshot, answered_by)
        self.n_prompt = 0  # tokens
        self.first_at = 0.0  # when its first piece came, on the monotonic clock
        self._best_ended = 0.0  # when its first candidate ended
        self.n_followers = 0
        self.preempted = False  # the engine dropped it in favour of another request
        self.n_asked = len(candidates)
        self._n_changes = 0
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    # ---- for whoever generates -------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, None], on_end: Callable[[InFlight], None]) -> None:
        """Run ``work``, which pushes pieces; ``on_end`` is called when it is over, in any case."""

        def ended(task: asyncio.Task[None]) -> None:
            on_end(self)
            if not task.cancelled():
                task.exception()  # raised to the followers; without any, nothing is lost
            self._wake()

        self._task = asyncio.create_task(work)
        self._task.add_done_callback(ended)

    def push(self, delta: Delta) -> bool:
        """A piece of text came; return whether the candidates have enough."""
        now = time.monotonic()
        self.first_at = self.first_at or now
        if delta.index < len(self.candidates):
            candidate = self.candidates[delta.index]
            candidate.push(delta)
            if delta.index:  # only the first candidate is ever asked to continue
                candidate.end(delta.finish_reason or "")
        if self.candidates[0].reason or (delta.finish_reason and not delta.index):
            self._best_ended = self._best_ended or now
        if self.enough:
            return True
        self._wake()
        return False

    def publish(self) -> None:
        """Show all that the first candidate has, while it may yet grow."""
        self.candidates[0].published = self.candidates[0].shown
        self._wake()

    def know(self, known: Certain) -> None:
        """Check every candidate against the names known by now."""
        for candidate in self.candidates:
            candidate.know(known)

    def is_denied(self, known: Certain) -> bool:
        """Check every candidate against what is ``known``; return whether nothing was published and a candidate that
        names no member of its receiver has nothing left to show."""
        self.know(known)
        shown = [candidate.published or candidate.shown for candidate in self.candidates]
        return not any(shown) and any(name == "drop_invented" for name, _ in self.candidates[0].rules)

    def restart(self, knob: Knob, off: Collection[str]) -> None:
        """Forget the output so far: it is generated once more, into new candidates."""
        self.candidates = candidates_of(self.snapshot, self.trigger, self.n_asked, knob, off)
        self._best_ended = 0.0

    def resume(self) -> str:
        """Return the forced prefix with which the first candidate continues (Candidate.resume); the others stay as
        they are."""
        said = self.candidates[0].resume()
        if said:
            self._best_ended = 0.0
            self.candidates = self.candidates[:1] + [each for each in self.candidates[1:] if each.reason]
        return said

    def end(self) -> None:
        """No more text comes. An engine that gives fewer candidates, or no reason, has finished."""
        self.first_at = self.first_at or time.monotonic()
        for candidate in self.candidates[:1] if self.enough else self.candidates:
            candidate.end("stop")
        self.candidates = [candidate for candidate in self.candidates if candidate.reason]

    @property
    def invoked(self) -> bool:
        """Whether an explicit request began it."""
        return self.trigger == "invoked"

    @property
    def enough(self) -> bool:
        """Whether every candidate has ended, or the first has and the others take much longer than it did."""
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
        """Stop it; when this returns, the engine no longer works on it."""
        self.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _wake(self) -> None:
        self._n_changes += 1
        self._event.set()
        self._event = asyncio.Event()

    # ---- for who follows -------------------------------------------------------------------------------------------

    def typed(self, snapshot: Snapshot) -> str:
        """Return what was typed since its place, up to ``snapshot``'s cursor."""
        return snapshot.text[self.place.cursor : snapshot.cursor]

    def is_along(self, typed: str) -> bool:
        """Whether there is more after ``typed``, or may still come."""
        first = self.candidates[0]
        return is_along((first.shown,), typed, may_grow=not first.reason)

    def survives(self, text: str) -> bool:
        """Whether it is still useful once its document is ``text``: the user types along it or, in the background,
        towards it."""
        if not text.endswith(self.snapshot.suffix):
            return False
        head = text[: len(text) - len(self.snapshot.suffix)]
        if head.startswith(self.snapshot.prefix):
            return self.is_along(head.removeprefix(self.snapshot.prefix))
        return self.background and self.snapshot.prefix.startswith(head)

    @contextlib.asynccontextmanager
    async def followed(self, lingers: Callable[[], float] = lambda: 0.0) -> AsyncIterator[None]:
        """While inside, it has a follower. The last one to leave stops it after ``lingers()`` seconds, if no other
        comes."""
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
        """Wait until there is more than at ``n_seen``; return the number for the next call, 0 at the end. Raises
        EngineError."""
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
        """Whether nothing more comes, for any reason."""
        return self._task is not None and self._task.done()

    def standing(self, typed: str) -> tuple[str, ...]:
        """Return what is left to show after ``typed``, while it grows."""
        return rests((self.candidates[0].published,), typed)

    def middle(self, typed: str) -> Middle | None:
        """Return the finished middle after ``typed``; None if it is empty and the model was not asked at this very
        place.

        Each text appears once, the one with the most probable first token first, then by probability: the first one is
        the one that grew on the screen, and the user would have to read again if another took its place.
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
            len(typed), self.invoked,
        )  # fmt: skip
