"""Suggestion requests: inlineCompletion, its streaming sister, and the completion popup.

Each takes its snapshot at once and generates in a task. Per document the latest request of a family wins; the older
one is answered empty at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from midfill import triggers
from midfill.completer import scope_of
from midfill.engine.base import EngineError
from midfill.lsp import convert, why
from midfill.lsp.documents import Span
from midfill.lsp.protocol import InvalidParams, Params
from midfill.lsp.shapes import Family, Inline, Popup, Shape, StreamingInline, Suggestion
from midfill.postprocess import Place, closed
from midfill.trace import Trace
from midfill.types import Completion, Refusal, Trigger

if TYPE_CHECKING:
    from midfill.lsp.server import MidfillServer

log = logging.getLogger(__name__)

# An automatic request waits so long for an engine that starts, which may have to prepare its model first.
STARTING_S = 600.0
NO_ENGINE = ("no_engine", "the engine is not ready yet")


def inline_completion(ls: MidfillServer, params: Params) -> Any:
    """textDocument/inlineCompletion."""
    return _suggest(ls, params, "inline", lambda asked: Inline(ls, asked))


def streaming_inline_completion(ls: MidfillServer, params: Params) -> Any:
    """midfill/inlineCompletion."""
    return _suggest(ls, params, "inline", lambda asked: StreamingInline(ls, asked))


def popup_completion(ls: MidfillServer, params: Params) -> Any:
    """textDocument/completion."""
    return _suggest(ls, params, "popup", lambda asked: Popup(ls, asked))


def edited(ls: MidfillServer, uri: str) -> None:
    """A document was changed: what is generated for the text as it was may be of no use any more."""
    if ls.completer is not None:
        ls.completer.edited(uri, lambda: ls.documents.whole(uri))
    else:  # what waits for the engine waits with the text as it was
        ls.latest.drop("inline", uri)


class Latest:
    """The suggestion each document waits for, by family."""

    def __init__(self) -> None:
        self._running: dict[tuple[Family, str], tuple[Suggestion, Shape]] = {}
        self.counts = {"requests": 0, "answered": 0, "shown": 0, "cancelled": 0, "superseded": 0}

    def drop(self, family: Family, uri: str) -> None:
        """Answer what waits, empty, and stop its generation."""
        running = self._running.pop((family, uri), None)
        if running is None:
            return
        asked, shape = running
        self.counts["superseded"] += asked.pending.open
        if asked.pending.open:
            asked.trace.refuse("superseded", "a newer request, or the document's end, took its place")
        asked.pending.resolve(shape.empty())
        asked.pending.stop()

    def put(self, asked: Suggestion, shape: Shape) -> None:
        """This is the one now."""
        self._running[asked.family, asked.snapshot.uri] = (asked, shape)

    def done(self, asked: Suggestion) -> None:
        """It needs no stopping any more."""
        key = (asked.family, asked.snapshot.uri)
        if (running := self._running.get(key)) is not None and running[0] is asked:
            del self._running[key]

    def clear(self) -> None:
        """Stop everything."""
        for family, uri in list(self._running):
            self.drop(family, uri)


def _suggest(ls: MidfillServer, params: Params, family: Family, shape_of: Callable[[Suggestion | None], Shape]) -> Any:
    """Take the snapshot and decide whether to generate; the coroutine does it."""
    uri, position = convert.read_uri(params), convert.read_position(params.get("position"))
    ls.latest.counts["requests"] += 1
    ls.latest.drop(family, uri)
    ls.focus.asked(uri, position)
    asked = _read(ls, params, family, uri, position)
    if asked is None:
        trace = Trace(uri=uri, line=position[0] + 1)
        refusal = why.unknown(ls, uri)
        trace.refuse("unknown_document", why.NOT_OPEN if refusal is None else refusal.why)
    else:
        trace = asked.trace
        trace.place(asked.snapshot, asked.trigger)
        _check_engine(ls, asked)
    ls.traces.add(trace)
    if asked is None or (trace.refused and not _waits(ls, asked)):
        ls.latest.counts["answered"] += 1
        ls.outcomes.traced(trace)
        return shape_of(None).empty()
    shape = shape_of(asked)
    ls.latest.put(asked, shape)
    return _run(ls, asked, shape)


def _check_engine(ls: MidfillServer, asked: Suggestion) -> None:
    if not ls.config.enabled:
        asked.trace.refuse(why.DISABLED.name, why.DISABLED.why)
    elif asked.trigger == "automatic" and (refusal := ls.snooze.refusal) is not None:
        asked.trace.refuse(refusal.name, refusal.why)
    elif asked.trigger == "automatic" and ls.completer is None:
        asked.trace.refuse(*NO_ENGINE)
    elif asked.follows_key and (off := _off_while_typing(ls, asked)) is not None:
        asked.trace.refuse(off.name, off.why)


def _off_while_typing(ls: MidfillServer, asked: Suggestion) -> Refusal | None:
    """The setting that keeps a popup away that nobody asked for by hand, though its kind says so."""
    return why.off(ls, asked.snapshot.uri) or triggers.scope_off(asked.snapshot, ls.config.scopes_off, scope_of)


def _waits(ls: MidfillServer, asked: Suggestion) -> bool:
    """Whether an automatic request waits for the engine: a suggestion in the text may come when it can. A popup shows
    nothing of anybody until all have answered."""
    is_starting = ls.config.enabled and ls.completer is None and asked.trace.refused in ("", NO_ENGINE[0])
    return is_starting and asked.trigger == "automatic" and asked.family == "inline"


def _read(ls: MidfillServer, params: Params, family: Family, uri: str, position: tuple[int, int]) -> Suggestion | None:
    context = convert.read_object(params, "context")
    selected = _read_selected(context) if family == "inline" else None
    document, place = ls.documents.get(uri), ls.documents.place(uri, *position)
    # A popup puts its text in at the cursor; only an inline item's range is sure to be replaced beyond it.
    if place is not None and (family == "popup" or selected is not None):
        place = replace(place, closers="")
    snapshot = ls.documents.snapshot(uri, *position, selected, place.closers if place is not None else "")
    pending = ls.protocol.current
    if document is None or place is None or snapshot is None or pending is None:
        return None
    kind = context.get("triggerKind", 1)
    automatic = kind == 2 if family == "inline" else kind in (2, 3)
    token = convert.read_token(params)
    trigger: Trigger = "automatic" if automatic else "invoked"
    follows_key = family == "popup" and ls.documents.follows_key(uri, *position) and not automatic
    return Suggestion(pending, family, document, snapshot, place, trigger, selected, token, follows_key)


def _read_selected(context: Params) -> tuple[Span, str] | None:
    info = convert.read_object(context, "selectedCompletionInfo")
    text = info.get("text")
    if isinstance(text, dict):
        text = text.get("value")
    try:
        return (convert.read_span(info.get("range")), text) if isinstance(text, str) else None
    except InvalidParams:
        return None


async def _run(ls: MidfillServer, asked: Suggestion, shape: Shape) -> None:
    """Generate until the end; answer then, or at the deadline with what stands. The rest goes on into the cache.

    An automatic request that finds no engine waits for one: its client asks again only with the next key, and whatever
    ends the request otherwise ends the waiting.
    """
    timer: asyncio.TimerHandle | None = None
    try:
        if _waits(ls, asked):
            await ls.started(STARTING_S)
        if ls.completer is not None and asked.trace.refused == NO_ENGINE[0]:
            asked.trace.go_on()
        timer = asyncio.get_running_loop().call_later(ls.config.first_answer_s, _answer, ls, asked, shape)
        if asked.pending.open:
            await _generate(ls, asked, shape)
    except EngineError as error:
        asked.last = None
        asked.trace.refuse("engine_error", error.message)
        ls.engine_failed(error)
    except Exception as error:  # someone types: no suggestion is better than an error
        asked.last = None
        asked.trace.refuse("fault", f"midfill failed ({type(error).__name__}); the log has more")
        log.error("a suggestion failed: %s", type(error).__name__)
        log.debug("a suggestion failed", exc_info=error)
    finally:
        if timer is not None:
            timer.cancel()
        ls.latest.done(asked)
        ls.latest.counts["cancelled"] += asked.pending.cancelled
        if asked.pending.cancelled:
            asked.trace.refuse("cancelled", "the editor cancelled the request")
    _answer(ls, asked, shape)


async def _generate(ls: MidfillServer, asked: Suggestion, shape: Shape) -> None:
    completer = ls.completer
    if completer is None and asked.trigger == "invoked":
        completer = await ls.wait_ready(ls.config.first_answer_s)
    if completer is None:
        asked.trace.refuse(*NO_ENGINE)
        return
    n = ls.config.candidates if asked.trigger == "invoked" else 1
    values = completer.stream(asked.snapshot, trigger=asked.trigger, n=n)
    stream = cast("AsyncGenerator[Completion, None]", values)
    with ls.board.generating():
        try:
            async with contextlib.aclosing(stream):
                async for completion in stream:
                    asked.last = completion
                    if asked.pending.open and ls.documents.fits(asked.document, asked.snapshot.version):
                        shape.partial(completion)
        finally:
            if asked.last is not None:
                asked.trace.take(asked.last)


def _answer(ls: MidfillServer, asked: Suggestion, shape: Shape) -> None:
    """Answer with what stands, if it fits the text as it is now."""
    if not asked.pending.open:
        return
    trace, last = asked.trace, asked.last
    trace.answer_s = time.monotonic() - asked.arrived
    if last is not None:
        trace.take(last)
    if not ls.documents.fits(asked.document, asked.snapshot.version):
        trace.refuse("outdated", "the text changed before the answer")
        last = None
    ls.latest.counts["answered"] += 1
    if last is None:
        asked.pending.resolve(shape.empty())
    else:
        if not last.finished:  # the deadline: what it opened is closed, as no more comes
            last = asked.last = replace(last, text=closed(last.text, Place.of(last.snapshot)), finished=True)
            trace.take(last)
        ls.latest.counts["shown"] += bool(last.text)
        asked.pending.resolve(shape.final(last))
        ls.outcomes.offered(asked.family, asked.place.line, last, trace)
    ls.outcomes.traced(trace)
