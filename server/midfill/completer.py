"""The path of one keystroke: cache, growing generation, trigger, context, prompt, engine, post-processing."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from types import MappingProxyType
from typing import Literal

from midfill import triggers
from midfill.cache import Middle, MiddleCache, accepted, digest, entered
from midfill.config import SCOPES, Config
from midfill.context.gather import ContextSource, gather, known_at
from midfill.context.knowledge.names import NOTHING, Known
from midfill.context.wanted import wanted
from midfill.dismissals import Dismissals
from midfill.eagerness import Knob, Outcomes
from midfill.engine.base import MAX_TOKENS, Engine, EngineError, GenerateRequest
from midfill.fim import FimRenderer, Prompt
from midfill.growing import Candidate, Growing
from midfill.postprocess import Judge, Place, invents, is_whole_sentence
from midfill.read_ahead import ReadAhead
from midfill.renderers import Renderer
from midfill.trace import Trace
from midfill.triggers import Debounce, Refusal, ScopeAt
from midfill.types import Completion, ModelInfo, Snapshot, Snippet, Trigger

_numbers = itertools.count(1)

# A client that cancels before it asks again: so long a generation waits for the next request, which may go on with it.
LINGER_S = 0.05
# A suggestion that was shown for so long is perhaps about to be accepted.
IDLE_S = 0.15
DISMISSED = Refusal(
    "dismissed", "you dismissed this suggestion here; it comes back when you ask by hand or change the line otherwise"
)


def scope_of(snapshot: Snapshot) -> str:
    """Where the cursor stands: one of config.SCOPES, or code."""
    kind = Place.of(snapshot).kind
    return kind if kind in SCOPES else "code"


class Completer:
    """Turns snapshots into middles.

    ``resident``: in a process that lives on, a generation that nobody follows lingers for a moment, and idle time is
    used to go on after the suggestion that is shown. ``outcomes``: what became of earlier suggestions.
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
        outcomes: Callable[[Trigger], Outcomes] = lambda _trigger: (),
        scope_at: ScopeAt = scope_of,
        resident: bool = False,
        on_battery: Callable[[], bool] = lambda: False,
    ) -> None:
        self.engine, self.renderer, self.info, self.config = engine, renderer, info, config
        self.adapter, self._adapters = adapter, adapters
        self.sources, self.scope_at, self.resident = sources, scope_at, resident
        self.knob = Knob(lambda: self.config, outcomes, on_battery, MAX_TOKENS)
        self.cache, self.debounce, self.dismissals = MiddleCache(), Debounce(), Dismissals()
        # The keys' time; a replay has one of its own.
        self.clock: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
        for source in sources:
            source.budget = self.snippet_budget
        # By adapter; they change with its files, and middles of the earlier ones are not shown again.
        self.adapter_digests: dict[str, str] = {}
        self._growing: list[Growing] = []
        self._reading = ReadAhead(self._prefill_of, lambda request: self.engine.stream(request))
        self._idle: asyncio.TimerHandle | None = None

    def adapter_of(self, language: str) -> str | None:
        """The adapter that answers in documents of an LSP language id; None: the plain base."""
        return self._adapters.get(language, self.adapter)

    def use_adapters(self, adapter: str | None, adapters: Mapping[str, str | None]) -> None:
        """From now on these answer: one, and others for some languages."""
        self.adapter, self._adapters = adapter, adapters

    def _answered_by(self, snapshot: Snapshot) -> str:
        adapter = self.adapter_of(snapshot.language)
        digest = self.adapter_digests.get(adapter or "", "")
        return f"{self.info.name}/{adapter}/{digest}/{self.info.template}/{self.config.order}/{self.knob}"

    @property
    def budget(self) -> int:
        """Tokens a prompt may have."""
        asked = self.config.context_tokens or self.info.context_tokens
        asked = min(asked, self.info.most_tokens or asked)
        return max(64, min(asked, self.info.max_context - self.knob.max_tokens("invoked")))

    @property
    def snippet_budget(self) -> int:
        """Tokens of these that pieces of other files may have."""
        return int(self.budget * FimRenderer.SNIPPET_SHARE)

    async def stream(
        self, snapshot: Snapshot, *, trigger: Trigger = "automatic", n: int = 1, trace: Trace | None = None
    ) -> AsyncIterator[Completion]:
        """Yield the middle as it grows; each value replaces the one before. Raises EngineError.

        ``n`` candidates are asked for; the last value has them. ``trace`` is told what happens. Closing the iterator
        stops the engine within one step, unless another request follows the same generation by then.
        """
        trace = trace or Trace()
        self._arrived(snapshot, trigger, trace)
        if trigger == "automatic" and (off := self._switched_off(snapshot)) is not None:
            yield _refused(off, snapshot, trace)
            return
        by_hand = trigger == "invoked"
        if by_hand:
            self.dismissals.forget(snapshot)
        known = self.cache.lookup(snapshot, self._answered_by(snapshot), self._context_of, n_wanted=n, by_hand=by_hand)
        if known is not None and not self._invents(known, snapshot):
            trace.hit = "typed through" if known.n_typed else "cache"
            yield self._final(known, snapshot, trace)
            return
        if trigger == "automatic" and self._along(snapshot, trigger, n) is None:
            if (odd := self._out_of_place(snapshot, trace)) is not None:
                yield _refused(odd, snapshot, trace)
                return
            await self._wait_for_the_next_key(snapshot, trace)
        start, middle = time.monotonic(), None
        while middle is None:
            growing = self._along(snapshot, trigger, n) or self._begin(snapshot, trigger, n, trace)
            trace.take_over(growing.trace)
            typed, n_seen = snapshot.text[growing.place.cursor : snapshot.cursor], 0
            async with growing.followed(functools.partial(self._lingers, growing)):
                while growing.leads_on(typed) and (n_seen := await growing.grown(n_seen)):
                    standing = growing.standing(typed)
                    text = "" if self._is_dismissed(standing[:1], snapshot, trigger) else "".join(standing[:1])
                    yield Completion(text, snapshot, raw=growing.candidates[0].raw, id=growing.id)
            if growing.given_up:
                continue
            if growing.stopped:  # the document changed: nothing fits any more
                yield Completion("", snapshot, True, finish_reason="cancelled")
                return
            middle = growing.middle(typed)
        trace.take_over(growing.trace)
        ttft_s = max(0.0, (growing.first_at or time.monotonic()) - start)
        trace.stats = dataclasses.replace(growing.stats, ttft_s=ttft_s, total_s=time.monotonic() - start)
        yield self._final(middle, snapshot, trace)

    async def last(
        self, snapshot: Snapshot, *, trigger: Trigger = "invoked", n: int = 1, trace: Trace | None = None
    ) -> Completion:
        """The whole middle. Raises EngineError."""
        last = Completion("", snapshot, True)
        async with aclosing(self.stream(snapshot, trigger=trigger, n=n, trace=trace)) as completions:  # type: ignore[type-var]
            async for completion in completions:
                last = completion
        return last

    def rests(self, snapshot: Snapshot | None) -> None:
        """The cursor rests in ``snapshot``: its prompt is read before it is asked for. None: it rests nowhere."""
        self._reading.stop() if snapshot is None else self._read_ahead(snapshot)

    def edited(self, uri: str, text_of: Callable[[], str | None]) -> None:
        """A document changed. What is generated for it, and not typed along, stops now and not at the next request.

        ``text_of`` tells its text, None where that is not to be had; it is asked only where something runs, or was
        dismissed.
        """
        if uri == self._reading.uri:
            self._reading.stop()
        running = [growing for growing in self._growing if growing.snapshot.uri == uri]
        text = text_of() if running else None
        for growing in running:
            if text is not None and not growing.survives(text):
                growing.cancel()
        self.dismissals.edited(uri, text_of)

    def dismiss(self, snapshot: Snapshot, text: str) -> None:
        """The user dismissed ``text`` at the cursor, and with it the other candidates: none comes back by itself."""
        self._not_idle()
        known = self.cache.lookup(snapshot, self._answered_by(snapshot))
        growing = self._along(snapshot, "automatic", 1)
        others = growing.standing(snapshot.text[growing.place.cursor : snapshot.cursor]) if growing else ()
        self.dismissals.add(snapshot, (text, *(known.shown if known is not None else ()), *others))

    async def aclose(self) -> None:
        """Stop whatever runs."""
        self._not_idle()
        await self._reading.aclose()
        for growing in list(self._growing):
            await growing.stop()

    # ---- before the engine -----------------------------------------------------------------------------------------

    def _arrived(self, snapshot: Snapshot, trigger: Trigger, trace: Trace) -> None:
        self._not_idle()
        self._reading.stop()
        trace.place(snapshot, trigger)
        trace.model, trace.adapter = self.info.name, self.adapter_of(snapshot.language) or "none"
        trace.adapter_digest = self.adapter_digests.get(trace.adapter, "")
        if trigger == "automatic":
            self.debounce.key(snapshot.uri, self.clock())

    def _switched_off(self, snapshot: Snapshot) -> Refusal | None:
        return triggers.switched_off(snapshot, self.config.languages_off, self.config.globs_off)

    def _out_of_place(self, snapshot: Snapshot, trace: Trace) -> Refusal | None:
        def scope_at(snapshot: Snapshot) -> str:
            trace.scope = self.scope_at(snapshot)
            return trace.scope

        odd = triggers.out_of_place(snapshot, self.knob.scopes_off, scope_at)
        if odd is None and is_whole_sentence(snapshot):
            return Refusal("whole_sentence", "the sentence before the cursor has its end")
        return odd

    async def _wait_for_the_next_key(self, snapshot: Snapshot, trace: Trace) -> None:
        trace.debounce_s = self.knob.pause(self.debounce, snapshot.uri)
        if trace.debounce_s:
            await self.sleep(trace.debounce_s)

    def _invents(self, middle: Middle, snapshot: Snapshot) -> bool:
        """Whether an answer that was made before a receiver's members were known names another one."""
        members = known_at(self.sources, snapshot).complete
        return bool(members) and any(invents(text, snapshot, members) for text in middle.shown[:1])

    def _context_of(self, snapshot: Snapshot) -> str:
        return digest(gather(self.sources, snapshot))

    # ---- the engine ------------------------------------------------------------------------------------------------

    def _along(self, snapshot: Snapshot, trigger: Trigger, n: int) -> Growing | None:
        """What grows where this request only typed along it; the nearest one."""
        fitting = [
            growing
            for growing in self._growing
            if growing.n_asked >= n
            and (growing.by_hand or trigger == "automatic")
            and growing.fits(snapshot, self._answered_by(snapshot))
        ]
        return max(fitting, key=lambda growing: growing.place.cursor, default=None)

    def _begin(
        self, snapshot: Snapshot, trigger: Trigger, n: int, trace: Trace, *, background: bool = False
    ) -> Growing:
        """Generate. What nobody follows gives way: something else was done than what it was for."""
        for old in self._growing:
            if not old.n_followers:
                old.cancel()
        start = time.monotonic()
        snippets = gather(self.sources, snapshot)
        trace.context_s = time.monotonic() - start
        trace.snippets = [
            {"path": each.path, "source": each.source, "score": each.score, "n_chars": len(each.text)}
            for each in snippets
        ]
        gate, off, one_line = self.knob.gate(trigger), self.config.rules_off, self.knob.one_line(trigger)
        judges = [Judge(snapshot, off, gate, one_line=one_line) for _ in range(n)]
        candidates = [Candidate(judge, self.knob.max_tokens(trigger)) for judge in judges]
        growing = Growing(
            snapshot, self._answered_by(snapshot), candidates, secrets.token_hex(8), trace, background=background
        )
        self._growing.append(growing)
        growing.start(self._generate(growing, snippets, background=background), self._growing.remove)
        return growing

    async def _generate(self, growing: Growing, snippets: Sequence[Snippet], *, background: bool) -> None:
        """The engine's part: prompt, generation, and into the cache with what came of it."""
        start, trace = time.monotonic(), growing.trace
        prompt = await self.renderer.render(growing.snapshot, snippets, self.budget)
        trace.render_s, trace.budget = time.monotonic() - start, self.budget
        trace.n_prefix, trace.n_suffix, trace.n_snippets = prompt.n_prefix, prompt.n_suffix, prompt.n_snippets
        known = known_at(self.sources, growing.snapshot)  # what has come while the prompt was rendered counts too
        request = self._request(prompt, growing.snapshot, snippets, trace.trigger, len(growing.candidates), known)
        request = dataclasses.replace(request, background=background)
        growing.know(known.complete)
        if known.here is not None:
            trace.names = {
                "receiver": known.here.receiver, "source": known.here.source, "n": len(known.here.names),
                "complete": known.here.is_complete, "only": request.wanted_only,
            }  # fmt: skip
        growing.n_prompt = len(prompt.ids)
        await self._follow(request, growing)
        # A model that has learned to stop does so too early at times. It has to spell what it said again, which the
        # engine verifies in one pass, and a new line; then it goes on.
        while said := growing.resume():
            number = f"{os.getpid()}-{next(_numbers)}"
            beginning = prompt.beginning + said
            again = dataclasses.replace(
                request, request_id=number, n=1, beginning=beginning, wanted=(), wanted_only=False
            )
            try:
                await self._follow(again, growing)
            except EngineError:  # what stands is an answer
                break
        growing.end()
        if not background:
            self.debounce.answered(growing.first_at - start)
        middle = growing.middle("")
        assert middle is not None
        self.cache.store(growing.snapshot, growing.answered_by, middle, digest(snippets))
        if background and not middle.shown and (later := entered(growing.snapshot)) is not None:
            asyncio.get_running_loop().call_soon(self._go_ahead, later)

    async def _follow(self, request: GenerateRequest, growing: Growing) -> None:
        async with aclosing(self.engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                if delta.finish_reason == "cancelled":  # half of it is nobody's answer
                    growing.given_up = True
                    raise asyncio.CancelledError
                if delta.finish_reason or not growing.first_at:  # what has come meanwhile counts
                    growing.know(known_at(self.sources, growing.snapshot).complete)
                growing.push(delta)
                if growing.enough:
                    break

    def _lingers(self, growing: Growing) -> float:
        """Seconds that ``growing`` waits for another request; a newer generation has taken its place otherwise."""
        return LINGER_S if self.resident and self._growing[-1:] == [growing] else 0.0

    def _request(
        self, prompt: Prompt, snapshot: Snapshot, snippets: Sequence[Snippet], trigger: Trigger, n: int,
        known: Known = NOTHING,
    ) -> GenerateRequest:  # fmt: skip
        likely, only = wanted(snapshot, snippets, known) if self.config.favour_names else ((), False)
        shift = self.config.suffix_shift
        keeps_suffix = self.info.suffix_shift if shift == "auto" else shift == "on"
        adapter = self.adapter_of(snapshot.language)
        return GenerateRequest(
            prompt.ids, self.knob.max_tokens(trigger), adapter=adapter,
            request_id=f"{os.getpid()}-{next(_numbers)}", n=n, logprobs=True,
            suffix=prompt.suffix if keeps_suffix else None, beginning=prompt.beginning, wanted=likely,
            wanted_only=only, speculate=self.config.prompt_lookup, window=str(os.getpid()),
            within_s=self.config.first_answer_s, session=digest_of_session(adapter, snapshot.uri),
        )  # fmt: skip

    # ---- after it --------------------------------------------------------------------------------------------------

    def _is_dismissed(self, texts: Sequence[str], snapshot: Snapshot, trigger: Trigger) -> bool:
        return trigger == "automatic" and any(self.dismissals.hides(snapshot, text) for text in texts)

    def _final(self, middle: Middle, snapshot: Snapshot, trace: Trace) -> Completion:
        trace.id, trace.finish_reason, trace.confidence = middle.id, middle.finish_reason, middle.confidence
        trace.show(middle.shown, middle.raw, middle.rules)
        if not middle.shown:
            trace.hidden = self.knob.why_hidden(trace.trigger, dict(middle.rules), middle.confidence)
        if self._is_dismissed(middle.shown, snapshot, trace.trigger):
            return _refused(DISMISSED, snapshot, trace)
        text, *others = middle.shown or ("",)
        if self.resident and self.knob.ahead and text:
            self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._go_ahead, accepted(snapshot, text))
        source: Literal["engine", "cache"] = "cache" if trace.hit in ("cache", "typed through") else "engine"
        return Completion(
            text, snapshot, True, source, middle.finish_reason, trace.stats, middle.raw, middle.id, tuple(others)
        )  # fmt: skip

    def _go_ahead(self, snapshot: Snapshot) -> None:
        """Ask in the background what comes after the suggestion, as if it were accepted."""
        self._idle = None
        if not self._is_known(snapshot):
            self._begin(snapshot, "automatic", 1, Trace(), background=True)

    def _is_known(self, snapshot: Snapshot) -> bool:
        """Whether the middle at this place is there or on its way."""
        known = self.cache.has(snapshot, self._answered_by(snapshot))
        return known or self._along(snapshot, "automatic", 1) is not None

    def _read_ahead(self, snapshot: Snapshot) -> None:
        wanted = self.resident and self.knob.ahead and self._switched_off(snapshot) is None
        if wanted and not self._is_known(snapshot):
            known_at(self.sources, snapshot)  # which has names inferred for that place
            self._reading.begin(snapshot)

    async def _prefill_of(self, snapshot: Snapshot) -> GenerateRequest:
        """The request that reads the prompt of ``snapshot``, as one that is asked now would have it."""
        snippets = gather(self.sources, snapshot)
        prompt = await self.renderer.render(snapshot, snippets, self.budget)
        request = self._request(prompt, snapshot, (), "automatic", 1)
        return dataclasses.replace(request, max_tokens=1, background=True, prefill_only=True, beginning="")

    def _not_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    async def prompt(self, snapshot: Snapshot) -> Prompt:
        """The prompt as it would be sent, spelled out."""
        prompt = await self.renderer.render(snapshot, gather(self.sources, snapshot), self.budget)
        return dataclasses.replace(prompt, text=await self.renderer.spell(prompt))


def digest_of_session(adapter: str | None, uri: str) -> str:
    """A name of (adapter, workspace, file) that tells none of them; a document's URI holds the latter two."""
    return hashlib.blake2s(f"{adapter}\0{uri}".encode("utf-8", "replace"), digest_size=12).hexdigest()


def _refused(refusal: Refusal, snapshot: Snapshot, trace: Trace) -> Completion:
    trace.refuse(refusal.name, refusal.why)
    return Completion("", snapshot, True, finish_reason="refused")
