"""Suggestion requests: inlineCompletion, its streaming variant, and the completion popup.

Each takes its snapshot at once and generates in a task. For each document, the latest request of a family wins; the
older one is answered with nothing at that moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from typing import Any, cast

from midfill import triggers
from midfill.eagerness import scope_of
from midfill.engine.base import EngineError
from midfill.lsp import convert, why
from midfill.lsp.documents import Span
from midfill.lsp.protocol import InvalidParams, MidfillProtocol, Params
from midfill.lsp.session import Session
from midfill.lsp.settings import Client
from midfill.lsp.shapes import Family, Inline, Popup, ResponseFormat, StreamingInline, Suggestion
from midfill.postprocess import Place, closed
from midfill.trace import REPLACED, Trace
from midfill.types import Completion, Refusal, Trigger

log = logging.getLogger(__name__)

# Longest time that an automatic request waits for a starting engine, which may have to prepare its model first.
STARTING_S = 600.0
ShapeOf = Callable[[MidfillProtocol, Client, Suggestion | None], ResponseFormat]
NO_ENGINE = ("no_engine", "the engine is not ready yet")


def inline_completion(session: Session, params: Params) -> Any:
    """textDocument/inlineCompletion."""
    return _suggest(session, params, "inline", Inline)


def streaming_inline_completion(session: Session, params: Params) -> Any:
    """midfill/inlineCompletion."""
    return _suggest(session, params, "inline", StreamingInline)


def popup_completion(session: Session, params: Params) -> Any:
    """textDocument/completion."""
    return _suggest(session, params, "popup", Popup)


def edited(session: Session, uri: str) -> None:
    """A document was changed: what is being generated for its old text may be useless."""
    if session.completer is not None:
        session.completer.edited(uri, lambda: session.documents.whole(uri))
    else:  # a request that waits for the engine waits with the old text
        session.latest.drop("inline", uri)


def _suggest(session: Session, params: Params, family: Family, shape_of: ShapeOf) -> Any:
    """Take the snapshot and decide whether to generate; return the coroutine that does."""
    uri, position = convert.read_uri(params), convert.read_position(params.get("position"))
    session.latest.counts["requests"] += 1
    session.latest.drop(family, uri)
    session.focus.asked(uri, position)
    asked = _read(session, params, family, uri, position)
    if asked is None:
        trace = Trace(uri=uri, line=position[0] + 1)
        refusal = why.unknown(session, uri)
        trace.refuse("unknown_document", why.NOT_OPEN if refusal is None else refusal.why)
    else:
        trace = asked.trace
        trace.place(asked.snapshot, asked.trigger)
        _check_engine(session, asked)
    session.traces.add(trace)
    if asked is None or (trace.refused and not _waits(session, asked)):
        session.latest.counts["answered"] += 1
        session.outcomes.traced(trace)
        return shape_of(session.protocol, session.client, None).empty()
    shape = shape_of(session.protocol, session.client, asked)
    session.latest.put(asked, shape)
    return _run(session, asked, shape)


def _check_engine(session: Session, asked: Suggestion) -> None:
    if not session.config.enabled:
        asked.trace.refuse(why.DISABLED.name, why.DISABLED.why)
    elif asked.trigger == "automatic" and (refusal := session.snooze.refusal) is not None:
        asked.trace.refuse(refusal.name, refusal.why)
    elif asked.trigger == "automatic" and session.completer is None:
        asked.trace.refuse(*NO_ENGINE)
    elif asked.follows_key and (off := _off_while_typing(session, asked)) is not None:
        asked.trace.refuse(off.name, off.why)


def _off_while_typing(session: Session, asked: Suggestion) -> Refusal | None:
    """Return the setting that suppresses a popup that came while typing, although its kind says invoked."""
    return why.off(session, asked.snapshot.uri) or triggers.scope_off(
        asked.snapshot, session.config.disabled_scopes, scope_of
    )


def _waits(session: Session, asked: Suggestion) -> bool:
    """Whether an automatic request waits for the engine: inline suggestions may come late. A popup shows no entries at
    all until every server has answered."""
    is_starting = session.config.enabled and session.completer is None and asked.trace.refused in ("", NO_ENGINE[0])
    return is_starting and asked.trigger == "automatic" and asked.family == "inline"


def _read(session: Session, params: Params, family: Family, uri: str, position: tuple[int, int]) -> Suggestion | None:
    context = convert.read_object(params, "context")
    selected = _read_selected(context) if family == "inline" else None
    document, place = session.documents.get(uri), session.documents.place(uri, *position)
    # A popup inserts its text at the cursor; only the range of an inline item is sure to be replaced beyond it.
    if place is not None and (family == "popup" or selected is not None):
        place = replace(place, closers="")
    snapshot = session.documents.snapshot(uri, *position, selected, place.closers if place is not None else "")
    pending = session.protocol.current
    if document is None or place is None or snapshot is None or pending is None:
        return None
    kind = context.get("triggerKind", 1)
    automatic = kind == 2 if family == "inline" else kind in (2, 3)
    token = convert.read_token(params)
    trigger: Trigger = "automatic" if automatic else "invoked"
    follows_key = family == "popup" and session.documents.follows_key(uri, *position) and not automatic
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


async def _run(session: Session, asked: Suggestion, shape: ResponseFormat) -> None:
    """Generate until the end; answer then, or at the deadline with the text so far. The rest goes into the cache.

    An automatic request that finds no engine waits for one: its client asks again only at the next key. Whatever else
    ends the request also ends the waiting.
    """
    timer: asyncio.TimerHandle | None = None
    try:
        if _waits(session, asked):
            await session.engine.started(STARTING_S)
        if session.completer is not None and asked.trace.refused == NO_ENGINE[0]:
            asked.trace.go_on()
        timer = asyncio.get_running_loop().call_later(session.config.first_answer_s, _answer, session, asked, shape)
        if asked.pending.open:
            await _generate(session, asked, shape)
    except EngineError as error:
        asked.last = None
        asked.trace.refuse("engine_error", error.message)
        session.engine.failed(error)
    except Exception as error:  # the user is typing: no suggestion is better than an error
        asked.last = None
        asked.trace.refuse("fault", f"midfill failed ({type(error).__name__}); the log has more")
        log.error("a suggestion failed: %s", type(error).__name__)
        log.debug("a suggestion failed", exc_info=error)
    finally:
        if timer is not None:
            timer.cancel()
        session.latest.done(asked)
        session.latest.counts["cancelled"] += asked.pending.cancelled
        if asked.pending.cancelled:
            asked.trace.refuse(REPLACED, "a newer request replaced it")
    _answer(session, asked, shape)


async def _generate(session: Session, asked: Suggestion, shape: ResponseFormat) -> None:
    completer = session.completer
    if completer is None and asked.trigger == "invoked":
        completer = await session.engine.wait_ready(session.config.first_answer_s)
    if completer is None:
        asked.trace.refuse(*NO_ENGINE)
        return
    facts = completer.facts(asked.snapshot, asked.trigger)  # not for a request that ends before its first value
    asked.trace.take(Completion("", asked.snapshot, facts=facts))
    n = session.config.candidates if asked.trigger == "invoked" else 1
    values = completer.stream(asked.snapshot, trigger=asked.trigger, n=n)
    stream = cast("AsyncGenerator[Completion, None]", values)
    with session.board.generating():
        try:
            async with contextlib.aclosing(stream):
                async for completion in stream:
                    asked.last = completion
                    if asked.pending.open and session.documents.fits(asked.document, asked.snapshot.version):
                        shape.partial(completion)
        finally:
            if asked.last is not None:
                asked.trace.take(asked.last)


def _answer(session: Session, asked: Suggestion, shape: ResponseFormat) -> None:
    """Answer with the text so far, if it fits the document as it is now."""
    if not asked.pending.open:
        return
    trace, last = asked.trace, asked.last
    trace.answer_s = time.monotonic() - asked.arrived
    if last is not None:
        trace.take(last)
    if not session.documents.fits(asked.document, asked.snapshot.version):
        trace.refuse("outdated", "the text changed before the answer")
        last = None
    session.latest.counts["answered"] += 1
    if last is None:
        asked.pending.resolve(shape.empty())
    else:
        if not last.finished:  # the deadline: close what it opened, because no more comes
            last = asked.last = replace(last, text=closed(last.text, Place.of(last.snapshot)), finished=True)
            trace.take(last)
        session.latest.counts["shown"] += bool(last.text)
        asked.pending.resolve(shape.final(last))
        session.outcomes.offered(asked.family, asked.place.line, last, trace)
    session.outcomes.traced(trace)
