"""The path of one keystroke: refuse, find, wait, begin, follow."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from midfill import asking, triggers
from midfill.adapter_names import chosen
from midfill.config import Config
from midfill.context.gather import ContextSource, follow, gather, known_at
from midfill.context.knowledge.names import Known
from midfill.dismissals import DISMISSED, Dismissals
from midfill.eagerness import Knob, scope_of
from midfill.engine.base import MAX_TOKENS, Engine, EngineError, GenerateRequest
from midfill.fim import FimRenderer, Prompt
from midfill.going_on import go_on
from midfill.in_flight import InFlight, candidates_of
from midfill.postprocess import AcceptanceHabits, invents, is_whole_sentence
from midfill.read_ahead import ReadAhead, accepted, entered
from midfill.renderers import Renderer
from midfill.reuse import Middle, Reuse, ReuseQuery, digest
from midfill.triggers import Debounce, ScopeAt
from midfill.types import Completion, Facts, ModelInfo, Origin, PromptFacts, Refusal, Snapshot, Stats, Trigger

# A client may cancel before it asks again: a generation waits this long for the next request, which may continue it.
LINGER_S = 0.05
# A suggestion that was shown for this long may be accepted soon.
IDLE_S = 0.15


@dataclass(slots=True)
class _InProgress:
    """A request on its way: what it asks for, and the facts known so far."""

    asked: ReuseQuery
    facts: Facts

    def note(self, **facts: Any) -> None:
        self.facts = dataclasses.replace(self.facts, **facts)

    def ended(self, finish_reason: str) -> Completion:
        return Completion("", self.asked.snapshot, True, finish_reason=finish_reason, facts=self.facts)

    def refused(self, refusal: Refusal) -> Completion:
        self.note(refusal=refusal)
        return self.ended("refused")


class Completer:
    """Turns snapshots into middles.

    ``resident``: in a process that lives on, a generation without followers lingers for a moment, and idle time is
    used to continue the suggestion on screen. ``outcomes``: what became of earlier suggestions.
    """

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        info: ModelInfo,
        config: Config,
        *,
        adapter: str | None = None,
        adapters: Mapping[str, str | None] = MappingProxyType({}),
        sources: Sequence[ContextSource] = (),
        habits: Callable[[Trigger], AcceptanceHabits] = lambda _trigger: AcceptanceHabits(),
        scope_at: ScopeAt = scope_of,
        resident: bool = False,
        on_battery: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engine, self.renderer, self.info, self.config = engine, renderer, info, config
        self.adapter, self._adapters = adapter, adapters
        self.sources, self.scope_at, self.resident = sources, scope_at, resident
        self.knob = Knob(lambda: self.config, habits, on_battery, MAX_TOKENS)
        self.reuse, self.debounce, self.dismissals = Reuse[InFlight](), Debounce(), Dismissals()
        # The clock of the keys; a replay has its own.
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        for source in sources:
            source.budget = self.snippet_budget
        # By adapter; a version changes with the files, and middles of earlier versions are not shown any more.
        self.adapter_digests: dict[str, str] = {}
        self._reading = ReadAhead(self._prefill_of, lambda request: self.engine.stream(request))
        self._idle: asyncio.TimerHandle | None = None

    def adapter_of(self, snapshot: Snapshot) -> str | None:
        """Return the adapter that answers in a document; None: the base model."""
        return chosen(self.adapter, self._adapters, snapshot)

    def use_adapters(self, adapter: str | None, adapters: Mapping[str, str | None]) -> None:
        """From now on use these adapters: one in general, and others for some languages and folders."""
        self.adapter, self._adapters = adapter, adapters

    def _answered_by(self, snapshot: Snapshot) -> str:
        adapter = self.adapter_of(snapshot)
        digest = self.adapter_digests.get(adapter or "", "")
        return f"{self.info.name}/{adapter}/{digest}/{self.info.template}/{self.config.order}/{self.knob}"

    def facts(self, snapshot: Snapshot, trigger: Trigger) -> Facts:
        """Return the facts of a request that are known before it is made."""
        adapter = self.adapter_of(snapshot) or "none"
        return Facts(trigger, self.info.name, adapter, self.adapter_digests.get(adapter, ""))

    @property
    def budget(self) -> int:
        """Prompt budget in tokens."""
        asked = self.config.context_tokens or self.info.context_tokens
        asked = min(asked, self.info.most_tokens or asked)
        return max(64, min(asked, self.info.max_context - self.knob.max_tokens("invoked")))

    @property
    def snippet_budget(self) -> int:
        """Tokens of the budget that context from other files may use."""
        return int(self.budget * FimRenderer.SNIPPET_SHARE)

    async def stream(
        self, snapshot: Snapshot, *, trigger: Trigger = "automatic", n: int = 1
    ) -> AsyncIterator[Completion]:
        """Yield the middle as it grows; each value replaces the one before. Raises EngineError.

        The engine makes ``n`` candidates; the last value has all of them. Closing the iterator stops the engine within
        one step, unless another request follows the same generation by then.
        """
        request = self._arrived(snapshot, trigger, n)
        if (refusal := self._refuse(request)) is not None:
            yield request.refused(refusal)
            return
        found = self._find(request)
        if isinstance(found, Middle):
            yield self._final(found, request, "typed through" if found.n_typed else "cache")
            return
        if found is None and trigger == "automatic":
            if (refusal := self._refuse_place(request)) is not None:
                yield request.refused(refusal)
                return
            await self._wait(request)
        start, middle = time.monotonic(), None
        while middle is None:
            known = self.reuse.in_flight(request.asked)
            origin: Origin = "growing" if known is not None else "engine"
            running = known or self._begin(request.asked, trigger)
            typed, n_seen = running.typed(snapshot), 0
            async with running.followed(functools.partial(self._lingers, running)):
                while running.is_along(typed) and (n_seen := await running.grown(n_seen)):
                    yield self._partial(running, request, origin)
            if running.stopped and not running.preempted:  # the document changed: nothing fits any more
                yield request.ended("cancelled")
                return
            middle = None if running.preempted else running.middle(typed)
        request.note(prompt=running.facts)
        ttft_s = max(0.0, (running.first_at or time.monotonic()) - start)
        stats = dataclasses.replace(running.stats, ttft_s=ttft_s, total_s=time.monotonic() - start)
        yield self._final(middle, request, origin, stats)

    async def last(self, snapshot: Snapshot, *, trigger: Trigger = "invoked", n: int = 1) -> Completion:
        """Return the whole middle. Raises EngineError."""
        last = Completion("", snapshot, True)
        async with aclosing(self.stream(snapshot, trigger=trigger, n=n)) as completions:  # type: ignore[type-var]
            async for completion in completions:
                last = completion
        return last

    def rests(self, snapshot: Snapshot | None) -> None:
        """The cursor rests in ``snapshot``: read its prompt before a request comes. None: it rests nowhere."""
        if snapshot is None:
            self._reading.stop()
            return
        wanted = self.resident and self.knob.ahead and self._switched_off(snapshot) is None
        if wanted and not self.reuse.has(self._asked(snapshot)):
            known_at(self.sources, snapshot)  # infers names for that place
            self._reading.begin(snapshot)

    def edited(self, uri: str, text_of: Callable[[], str | None]) -> None:
        """A document changed. Stop now, not at the next request, what is generated for it and not typed along.

        ``text_of`` returns its text, or None if it is unavailable; it is called only if something runs or was
        dismissed.
        """
        if uri == self._reading.uri:
            self._reading.stop()
        running = [each for each in self.reuse.running if each.snapshot.uri == uri]
        text = text_of() if running else None
        for each in running:
            if text is not None and not each.survives(text):
                each.cancel()
        self.dismissals.edited(uri, text_of)

    def dismiss(self, snapshot: Snapshot, text: str) -> None:
        """The user dismissed ``text`` at the cursor, and the other candidates with it: none comes back by itself."""
        self._not_idle()
        asked = self._asked(snapshot)
        known, running = self.reuse.finished(asked), self.reuse.in_flight(asked)
        shown, standing = known.shown if known else (), running.standing(running.typed(snapshot)) if running else ()
        self.dismissals.add(snapshot, (text, *shown, *standing))

    async def aclose(self) -> None:
        """Stop everything that runs."""
        self._not_idle()
        await self._reading.aclose()
        for running in list(self.reuse.running):
            await running.stop()

    # ---- refuse, find, wait ----------------------------------------------------------------------------------------

    def _asked(self, snapshot: Snapshot, trigger: Trigger = "automatic", n: int = 1) -> ReuseQuery:
        return ReuseQuery(snapshot, self._answered_by(snapshot), n, trigger == "invoked")

    def _arrived(self, snapshot: Snapshot, trigger: Trigger, n: int) -> _InProgress:
        self._not_idle()
        self._reading.stop()
        if trigger == "automatic":
            self.debounce.key(snapshot.uri, self.clock())
        return _InProgress(self._asked(snapshot, trigger, n), self.facts(snapshot, trigger))

    def _refuse(self, request: _InProgress) -> Refusal | None:
        """Return the setting that refuses an automatic request. A manual request brings back what was dismissed."""
        snapshot = request.asked.snapshot
        if not request.asked.invoked:
            return self._switched_off(snapshot)
        self.dismissals.forget(snapshot)
        return None

    def _switched_off(self, snapshot: Snapshot) -> Refusal | None:
        return triggers.switched_off(snapshot, self.config.disabled_languages, self.config.disabled_files)

    def _find(self, request: _InProgress) -> Middle | InFlight | None:
        """Return the rest of a middle whose start was typed, unless it names a member that its receiver lacks."""
        snapshot = request.asked.snapshot

        def usable(middle: Middle) -> bool:
            known = known_at(self.sources, snapshot).certain
            return not (known and any(invents(text, snapshot, known) for text in middle.shown[:1]))

        def context_of(place: Snapshot) -> str:
            return digest(gather(self.sources, place), known_at(self.sources, place).only)

        return self.reuse.find(request.asked, context_of, usable)

    def _refuse_place(self, request: _InProgress) -> Refusal | None:
        """Return why the cursor's place gets no automatic suggestion."""

        def scope_at(snapshot: Snapshot) -> str:
            request.note(scope=self.scope_at(snapshot))
            return request.facts.scope

        odd = triggers.out_of_place(request.asked.snapshot, self.knob.disabled_scopes, scope_at)
        if odd is None and is_whole_sentence(request.asked.snapshot):
            return Refusal("whole_sentence", "the sentence before the cursor is complete")
        return odd

    async def _wait(self, request: _InProgress) -> None:
        """Wait for the next key, as long as one is likely to come."""
        request.note(debounce_s=(pause_s := self.knob.pause(self.debounce, request.asked.snapshot.uri)))
        if pause_s:
            await self.sleep(pause_s)

    # ---- begin, follow ---------------------------------------------------------------------------------------------

    def _begin(self, asked: ReuseQuery, trigger: Trigger, *, background: bool = False) -> InFlight:
        """Generate. Stop generations without followers: the user did something else than they were for."""
        for old in self.reuse.running:
            if not old.n_followers:
                old.cancel()
        start = time.monotonic()
        snippets = gather(self.sources, asked.snapshot)
        facts = PromptFacts(tuple(snippets), context_s=time.monotonic() - start)
        candidates = candidates_of(asked.snapshot, trigger, asked.n, self.knob, self.config.disabled_rules)
        running = InFlight(
            asked.snapshot, asked.answered_by, candidates, secrets.token_hex(8), trigger, facts, background=background
        )
        self.reuse.running.append(running)
        running.start(self._generate(running), self.reuse.running.remove)
        return running

    async def _generate(self, running: InFlight) -> None:
        """The engine's part: write the prompt, generate, and keep the result for reuse."""
        start, snapshot, snippets = time.monotonic(), running.snapshot, running.facts.snippets
        prompt = await self.renderer.render(snapshot, snippets, self.budget)
        render_s, running.n_prompt = time.monotonic() - start, len(prompt.ids)
        known = known_at(self.sources, snapshot)  # names that arrived while the prompt was rendered count too
        request = self._request_for(running, prompt, render_s, known)
        await self._stream_into(running, request)
        late = known_at(self.sources, snapshot)
        if late.only != known.only and running.is_denied(late.certain):  # the model spelled a member without the list
            running.restart(self.knob, self.config.disabled_rules)
            known, request = late, self._request_for(running, prompt, render_s, late)
            await self._stream_into(running, request)
        while said := running.resume():
            try:
                await self._stream_into(running, asking.again(request, prompt.forced_prefix + said))
            except EngineError:  # the text so far is an answer
                break
        running.end()
        if self.info.scores and running.invoked:
            await go_on(running, self.engine, self.renderer.encode, prompt, request)
        if not running.background:
            self.debounce.answered(running.first_at - start)
        middle = running.middle("")
        assert middle is not None
        self.reuse.store(snapshot, running.answered_by, middle, digest(snippets, known.only))
        if running.background and not middle.shown and (later := entered(snapshot)) is not None:
            asyncio.get_running_loop().call_soon(self._go_ahead, later)

    def _request_for(self, running: InFlight, prompt: Prompt, render_s: float, known: Known) -> GenerateRequest:
        """Return the request of ``running``, and tell it the names that are ``known`` at its place."""
        request = self._request(prompt, running.snapshot, running.trigger, running.facts.snippets, known)
        request = dataclasses.replace(request, n=len(running.candidates), background=running.background)
        running.facts = asking.prompt_facts(running.facts, prompt, self.budget, render_s, known, request)
        running.know(known.certain)
        return request

    async def _stream_into(self, running: InFlight, request: GenerateRequest) -> None:
        async with aclosing(self.engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                if delta.finish_reason == "cancelled":  # half of a background generation answers nothing
                    running.preempted = True
                    raise asyncio.CancelledError
                if delta.finish_reason or not running.first_at:  # names that arrived meanwhile count
                    running.know(known_at(self.sources, running.snapshot).certain)
                if running.push(delta):
                    break
                follow(self.sources, running.snapshot, running.candidates[0].raw)

    def _lingers(self, running: InFlight) -> float:
        """Seconds that ``running`` waits for another request, unless a newer generation has taken its place."""
        return LINGER_S if self.resident and self.reuse.running[-1:] == [running] else 0.0

    def _request(self, prompt: Prompt, snapshot: Snapshot, trigger: Trigger, *context: Any) -> GenerateRequest:
        adapter, max_tokens = self.adapter_of(snapshot), self.knob.max_tokens(trigger)
        return asking.request_of(prompt, snapshot, self.config, self.info, adapter, max_tokens, *context)

    # ---- what is shown ---------------------------------------------------------------------------------------------

    def _partial(self, running: InFlight, request: _InProgress, origin: Origin) -> Completion:
        request.note(prompt=running.facts)
        standing = running.standing(running.typed(request.asked.snapshot))[:1]
        text = "" if self._is_dismissed(standing, request) else "".join(standing)
        raw, facts = running.candidates[0].raw, request.facts
        return Completion(text, request.asked.snapshot, origin=origin, raw=raw, id=running.id, facts=facts)

    def _final(self, middle: Middle, request: _InProgress, origin: Origin, stats: Stats | None = None) -> Completion:
        snapshot, hidden = request.asked.snapshot, ""
        if not middle.shown:
            hidden = self.knob.why_hidden(request.facts.trigger, dict(middle.rules), middle.confidence)
        request.note(rules=middle.rules, confidence=middle.confidence, hidden=hidden)
        text, *others = middle.shown or ("",)
        final = Completion(
            text, snapshot, True, origin, middle.finish_reason, stats, middle.raw, middle.id, tuple(others),
            request.facts,
        )  # fmt: skip
        if self._is_dismissed(middle.shown, request):
            request.note(refusal=DISMISSED)
            return dataclasses.replace(final, text="", others=(), finish_reason="refused", facts=request.facts)
        if self.resident and self.knob.ahead and text:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._go_ahead, accepted(snapshot, text))
        return final

    def _is_dismissed(self, texts: Sequence[str], request: _InProgress) -> bool:
        snapshot = request.asked.snapshot
        return not request.asked.invoked and any(self.dismissals.hides(snapshot, text) for text in texts)

    # ---- ahead of a request ----------------------------------------------------------------------------------------

    def _go_ahead(self, snapshot: Snapshot) -> None:
        """Ask in the background for what comes after the suggestion, as if it were accepted."""
        self._idle = None
        asked = self._asked(snapshot)
        if not self.reuse.has(asked):
            self._begin(asked, "automatic", background=True)

    async def _prefill_of(self, snapshot: Snapshot) -> GenerateRequest:
        """Return the request that reads the prompt of ``snapshot``, as a request made now would have it."""
        snippets = gather(self.sources, snapshot)
        prompt = await self.renderer.render(snapshot, snippets, self.budget)
        return asking.prefill_only(self._request(prompt, snapshot, "automatic"))

    def _not_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def prompt(self, snapshot: Snapshot) -> Prompt:
        """Return the prompt of a request made now, as text."""
        prompt = await self.renderer.render(snapshot, gather(self.sources, snapshot), self.budget)
        return dataclasses.replace(prompt, text=await self.renderer.spell(prompt))
