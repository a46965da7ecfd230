"""What becomes of suggestions: reported by the client, or else read from the documents. Kept on this machine.

Accepting is the item's command, ``midfill.accepted``. Showing and accepting a part are two notifications with the
names and shapes that Copilot's language server introduced. LSP cannot report a rejection: a suggestion counts as
rejected when another one takes its place, and as typed if its text is in the document by then.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from midfill import accepted
from midfill.accepted import AcceptedText
from midfill.eagerness import scope_of
from midfill.lsp import convert
from midfill.lsp.documents import Documents
from midfill.lsp.protocol import Params
from midfill.records import KEPT_AFTER_S, Records, Shown, kept_share
from midfill.trace import REPLACED, Trace
from midfill.types import Completion, Snapshot

MAX_KNOWN = 200  # suggestions whose outcome is still open
MAX_CHECKS = 100  # accepted texts to look for again later
MAX_ID = 64
NEAR_CHARS = 200  # characters of text before a place: enough to recognise it
NEAR_LINES = 300  # an accepted text is looked for within this many lines of its place


@dataclass(slots=True)
class Offer:
    """A suggestion that was sent to a client."""

    id: str
    uri: str
    texts: tuple[str, ...]
    cursor: int
    line: int  # from 0, in the client's document
    before: str
    after: str = ""
    settled: bool = False

    def stands_in(self, snapshot: Snapshot) -> bool:
        """Whether the user typed its text, or the client inserted it without a report."""
        start = self.cursor
        is_here = snapshot.text[max(0, start - NEAR_CHARS) : start] == self.before
        return is_here and any(snapshot.text.startswith(text, start) for text in self.texts)


class Outcomes:
    """The offers of one session, until their outcome is known."""

    def __init__(
        self, documents: Documents, recording: Callable[[], bool], learning: Callable[[str], bool] = lambda _uri: False
    ) -> None:
        """``recording`` returns whether the user lets midfill keep records, ``learning`` whether also the texts that
        are accepted in a document."""
        self._documents, self._recording, self._learning = documents, recording, learning
        self._records = Records()
        self._offers: OrderedDict[str, Offer] = OrderedDict()
        self._last: dict[tuple[str, str], Offer] = {}  # by family and document
        self._checks: set[asyncio.TimerHandle] = set()
        self._client_tells = False  # what the client really shows

    @property
    def _on(self) -> bool:
        return self._recording()

    def offered(self, family: str, line: int, completion: Completion, trace: Trace) -> None:
        """A suggestion is sent. If the user types along one, it is sent again under the same id."""
        if not self._on or not completion.id or not completion.texts:
            return
        snapshot = completion.snapshot
        self._settle(family, snapshot, completion.id)
        if completion.id in self._offers:
            return
        before = snapshot.text[max(0, snapshot.cursor - NEAR_CHARS) : snapshot.cursor]
        after = snapshot.text[snapshot.cursor : snapshot.cursor + NEAR_CHARS]
        offer = Offer(completion.id, snapshot.uri, completion.texts, snapshot.cursor, line, before, after)
        self._offers[offer.id] = self._last[family, snapshot.uri] = offer
        while len(self._offers) > MAX_KNOWN:
            self._offers.popitem(last=False)
        self._records.shown(_shown(family, completion, trace, seen=not self._client_tells))

    def traced(self, trace: Trace) -> None:
        """A request has ended; `midfill explain` shows the last one that no newer one replaced, without its text."""
        if self._on and trace.refused != REPLACED:
            self._records.trace(trace.without_text())

    def seen(self, id: str) -> None:
        """The client shows the suggestion."""
        self._client_tells = True
        if self._on:
            self._records.seen(id)

    def accepted(self, id: str, index: int = 0) -> None:
        """The user accepted all of it. Its text is looked for again later."""
        offer = self._offers.get(id)
        if offer is None or not self._on:
            return
        text = offer.texts[index] if index < len(offer.texts) else offer.texts[0]
        offer.settled = True
        self._records.outcome(id, "accepted", len(text))
        for after_s in KEPT_AFTER_S:
            self._check_later(offer, text, after_s)

    def partly_accepted(self, id: str, n_chars: int) -> None:
        """The user accepted its first characters."""
        offer = self._offers.get(id)
        if offer is not None and self._on:
            offer.settled = True
            self._records.outcome(id, "partial", min(n_chars, max(map(len, offer.texts))))

    def dismissed(self, uri: str, text: str) -> None:
        """The user dismissed the last offer in a document, which showed ``text``."""
        offer = self._last.get(("inline", uri))
        if self._on and offer is not None and text and any(offered.endswith(text) for offered in offer.texts):
            self._reject(offer)

    def closed(self, uri: str) -> None:
        """A document was closed: nothing of it is accepted any more."""
        for family, document in list(self._last):
            if document == uri:
                self._reject(self._last.pop((family, document)))

    def stop(self) -> Records:
        """The session ends; a thread closes the records."""
        for timer in self._checks:
            timer.cancel()
        self._checks.clear()
        return self._records

    def _settle(self, family: str, snapshot: Snapshot, id: str) -> None:
        """Decide the outcome of the previous offer, now that ``id`` comes."""
        last = self._last.get((family, snapshot.uri))
        if last is None or last.id == id:
            return
        del self._last[family, snapshot.uri]
        if not last.settled and last.stands_in(snapshot):
            last.settled = True
            self._records.outcome(last.id, "typed", len(last.texts[0]))
        self._reject(last)

    def _reject(self, offer: Offer) -> None:
        if not offer.settled:
            offer.settled = True
            self._records.outcome(offer.id, "rejected")

    def _check_later(self, offer: Offer, text: str, after_s: int) -> None:
        if len(self._checks) >= MAX_CHECKS:
            return

        def check() -> None:
            self._checks.discard(timer)
            document = self._documents.get(offer.uri)
            if document is not None and not document.stale:
                near = document.lines[max(0, offer.line - NEAR_LINES) : offer.line + NEAR_LINES]
                share = kept_share(text, near)
                self._records.kept(offer.id, after_s, share)
                self._learn(offer, text, share)

        timer = asyncio.get_running_loop().call_later(after_s, check)
        self._checks.add(timer)

    def _learn(self, offer: Offer, text: str, share: float) -> None:
        """Keep an accepted text as long as all of it is there, if the user wants that."""
        if not self._learning(offer.uri):
            return
        if share < 1.0:
            self._records.also(partial(accepted.forget, offer.id))
        elif (place := self._documents.file_in_folder(offer.uri)) is not None:
            folder, path = place
            found = AcceptedText(offer.id, time.time(), str(path), offer.before, text, offer.after)
            self._records.also(partial(accepted.keep, folder, found))


def _shown(family: str, completion: Completion, trace: Trace, *, seen: bool) -> Shown:
    stats = None if completion.from_cache else completion.stats
    return Shown(
        time.time(), completion.id, family, trace.language[:40], trace.trigger, trace.model[:200], trace.adapter,
        trace.hit, completion.finish_reason, ",".join(name for name, _ in trace.rules), len(completion.texts),
        len(completion.texts[0]), completion.texts[0].count("\n") + 1, trace.confidence, trace.answer_s,
        stats.ttft_s if stats else None, stats.n_prompt if stats else 0, stats.n_cached if stats else 0,
        stats.n_decoded if stats else 0, seen, trace.adapter_digest, scope_of(completion.snapshot),
    )  # fmt: skip


# ---- what the client tells -------------------------------------------------------------------------------------------


def did_show(outcomes: Outcomes, params: Params) -> None:
    """textDocument/didShowCompletion {item}."""
    if (id := _item_id(params)) is not None:
        outcomes.seen(id)


def did_partly_accept(outcomes: Outcomes, params: Params) -> None:
    """textDocument/didPartiallyAcceptCompletion {item, acceptedLength}: the number of accepted characters from the
    item's start."""
    length = params.get("acceptedLength")
    if (id := _item_id(params)) is not None and type(length) is int and length > 0:
        outcomes.partly_accepted(id, length)


def _item_id(params: Params) -> str | None:
    """Return the suggestion's id: the first argument of the item's command, or its own field."""
    item = convert.read_object(params, "item")
    arguments = convert.read_object(item, "command").get("arguments")
    found = id_in(arguments) if isinstance(arguments, list) else None
    return found or _usable(item.get("id")) or _usable(params.get("id"))


def id_in(arguments: list[Any]) -> str | None:
    """Return the suggestion that a command's arguments name; None if they name none."""
    first = arguments[0] if arguments else None
    return _usable(first.get("id") if isinstance(first, Mapping) else first)


def _usable(value: Any) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID else None
