"""The current workspace: fed by the language server, read by its requests, and maintained by one thread.

The language server reports what the client opens, changes and closes, and asks for snippets; both only touch memory
and return at once. The thread does the rest in the background: it reads folders and documents into the index, and
chooses the snippets for the user's place before they are needed. A process (``parser``) parses texts, one at a time,
while the thread goes on choosing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from midfill.context.choose import Choice, cost_of, last_within
from midfill.context.definitions import Definitions, NameQuery, Target
from midfill.context.diagnostics import SOURCE as DIAGNOSTICS
from midfill.context.diagnostics import Diagnostics
from midfill.context.focus import receiver_in
from midfill.context.keeper import Keeper, OpenDocument
from midfill.context.knowledge.functions import GUESSED
from midfill.context.knowledge.members import family_of
from midfill.context.knowledge.names import CLIENT, INDEX, NOTHING, Known, KnownNames
from midfill.context.knowledge.places import open_callee, receiver_before
from midfill.context.knowledge.store import Knowledge
from midfill.context.knowledge.usage import Usage, unknown
from midfill.context.parser import Parsed, ParseJob, Parser
from midfill.context.sources.definitions import NAME as DEFINITIONS
from midfill.types import USAGE, Snapshot, Snippet

log = logging.getLogger(__name__)

QUIET_S = 0.4  # a changed document is read again after this long without typing
MOVED_LINES = 4  # a cursor that moved less needs no other snippets
MAX_TEXT = 400_000  # characters; longer documents are ignored
MAX_OPEN = 500  # documents that are remembered
DEFAULT_BUDGET = 280  # tokens


@dataclass(frozen=True, slots=True)
class _Mark:
    """What the last choice for a document was made for."""

    line: int
    receiver: str
    path: str

    def is_near(self, other: _Mark) -> bool:
        """Whether a choice for this place also fits the other one."""
        moved = abs(self.line - other.line) >= MOVED_LINES or other.path != self.path
        return not moved and other.receiver in ("", self.receiver)


class Workspace:
    """A context source (``gather.ContextSource``) over everything that is known of the workspace."""

    def __init__(
        self, *, disabled_context: Iterable[str] = (), disabled_knowledge: Iterable[str] = (),
        budget: int = DEFAULT_BUDGET,
    ) -> None:  # fmt: skip
        """``disabled_context``: sources of snippets, ``disabled_knowledge``: sources of names that are switched off.
        ``budget``: tokens for all snippets of a prompt."""
        self.budget = budget
        self._keeper = Keeper(disabled_context)
        self._changed = threading.Condition()
        self._texts: OrderedDict[str, tuple[float, OpenDocument]] = OrderedDict()  # when it is due, and what
        self._places: OrderedDict[str, Snapshot] = OrderedDict()  # places to choose snippets for
        self._unnamed: OrderedDict[str, Snapshot] = OrderedDict()  # places to look up declared members for
        self._latest: dict[str, Snapshot] = {}  # the latest place in each document for which names were looked up
        self._listed: OrderedDict[str, tuple[Snapshot, KnownNames]] = OrderedDict()  # places to look up usage for
        self._named: dict[str, tuple[int, str, int]] = {}  # line, receiver and state of the index at the last look
        self._calls: list[Callable[[], None]] = []  # to be done first
        self._marks: OrderedDict[str, _Mark] = OrderedDict()
        self._chosen: dict[str, Choice] = {}
        self._thread: threading.Thread | None = None
        self._busy = self._stopped = False
        self.knowledge = Knowledge(disabled_knowledge)
        self.knowledge.on_names = self._weigh_latest
        self._usage = Usage()
        self.diagnostics = Diagnostics()
        self._definitions = Definitions()
        self._parser = Parser(self._parsed)
        self._is_parsing = False
        self._n_waiting = 0

    # ---- told by the language server: memory only, at once -----------------------------------------------------------

    def set_folders(self, folders: Iterable[Path]) -> None:
        """Set the workspace's folders, as absolute paths."""
        wanted = tuple(folders)
        self.knowledge.set_folders(wanted)
        self._do(lambda: self._keeper.set_folders(wanted))

    def disable(self, sources: Iterable[str]) -> None:
        """Set the sources that are switched off from now on."""
        names = tuple(sources)
        self._do(lambda: self._keeper.disable(names))

    def opened(self, document: OpenDocument) -> None:
        """The client opened a document."""
        self.knowledge.opened(document.uri)
        self._take(document, 0.0)

    def changed(self, document: OpenDocument, cursor: int | None = None) -> None:
        """The text of a document changed. ``cursor``: where the user is typing, in code points of it."""
        self._take(document, QUIET_S)
        if cursor is not None and len(document.text) <= MAX_TEXT:
            place = Snapshot(document.uri, 0, document.language, document.text, cursor, path=document.path)
            self._look(place)
            self._look_for_names(place)

    def closed(self, uri: str) -> None:
        """The client closed a document: its file on disk counts again, if it belongs to the workspace."""
        with self._changed:
            self._texts.pop(uri, None)
            self._places.pop(uri, None)
            self._marks.pop(uri, None)
            self._chosen.pop(uri, None)
            self._unnamed.pop(uri, None)
            self._listed.pop(uri, None)
            self._latest.pop(uri, None)
            self._named.pop(uri, None)
        self.knowledge.forget(uri)
        self._usage.forget(uri)
        self.diagnostics.forget(uri)
        self._definitions.forget(uri)
        self._do(lambda: self._keeper.forget(uri))

    def snippets(self, snapshot: Snapshot) -> tuple[Snippet, ...]:
        """Return what was chosen for the place of ``snapshot`` or the previous one; ask for a new choice
        if it is due."""
        if len(snapshot.text) <= MAX_TEXT:
            self._look(snapshot)
        choice = self._chosen.get(snapshot.uri)
        snippets = choice.snippets if choice is not None else ()
        if not self.knowledge.is_asked(DIAGNOSTICS) or (wrong := self.diagnostics.snippet(snapshot)) is None:
            return snippets
        return (*last_within(snippets, self.budget - cost_of(wrong)), wrong)

    def unresolved(self, snapshot: Snapshot) -> tuple[NameQuery, ...]:
        """Return the names near ``snapshot`` of which the client should ask what they are."""
        if len(snapshot.text) > MAX_TEXT or not (self._keeper.uses(DEFINITIONS) and self.knowledge.is_asked(CLIENT)):
            return ()
        return self._definitions.wanted(snapshot)

    def resolved(self, snapshot: Snapshot, targets: Sequence[Target], hover: str) -> None:
        """Take what the client's other language servers say of the name at ``snapshot``: the snippets for this
        document are chosen again."""
        if not (self._keeper.uses(DEFINITIONS) and self.knowledge.is_asked(CLIENT)):
            return
        if len(snapshot.text) <= MAX_TEXT and self._definitions.told(snapshot, targets, hover):
            with self._changed:
                self._marks.pop(snapshot.uri, None)

    def known(self, snapshot: Snapshot) -> Known:
        """Return the names that may follow at ``snapshot``, as far as they are known by now."""
        if len(snapshot.text) > MAX_TEXT:
            return NOTHING
        self._look_for_names(snapshot)
        return self._weighed(snapshot)

    def _weigh_latest(self, uri: str) -> None:
        """More names are known in a document: look up the usage of those at its latest place."""
        if (latest := self._latest.get(uri)) is not None:
            self._weighed(latest)

    def _weighed(self, snapshot: Snapshot) -> Known:
        """Return what is known at ``snapshot``, with what the usage of the names tells if that is known by now; it is
        looked up otherwise."""
        known = self.knowledge.at(snapshot)
        if len(snapshot.text) > MAX_TEXT or not self.knowledge.is_asked(USAGE):
            return known
        here = known.here or unknown(snapshot)
        if here is None:
            return known
        found = self._usage.at(snapshot, here)
        if found is None:
            with self._changed:
                self._listed[snapshot.uri] = (snapshot, here)
                self._wake()
        return replace(known, here=found) if found is not None and found.names else known

    def grows(self, snapshot: Snapshot, middle: str) -> None:
        """A middle is growing: look up meanwhile which members its receivers have."""
        if len(snapshot.text) <= MAX_TEXT:
            self.knowledge.grows(snapshot, middle)

    def stop(self) -> None:
        """Stop the threads and the children without waiting for them."""
        self.knowledge.stop()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._parser.stop()

    def settle(self, timeout_s: float) -> bool:
        """Wait until there is nothing left to do; return whether that happened. Not for the language server's loop."""
        end = time.monotonic() + timeout_s
        with self._changed:
            self._n_waiting += 1
            self._changed.notify_all()
            while not self._stopped and (self._busy or self._has_work()) and time.monotonic() < end:
                self._changed.wait(max(0.0, end - time.monotonic()))
            self._n_waiting -= 1
            return not (self._busy or self._has_work())

    def prepare(self, snapshot: Snapshot, timeout_s: float) -> bool:
        """Wait until the snippets for ``snapshot`` are chosen from everything; return False if time ran out first.

        For commands that ask once; this must not be waited for while the user types.
        """
        if not self.settle(timeout_s):
            return False
        self._marks.pop(snapshot.uri, None)
        self._look(snapshot)
        self._look_for_names(snapshot)
        return self.settle(timeout_s) and self.knowledge.settle(timeout_s) and self.settle(timeout_s)

    # ---- handing over ------------------------------------------------------------------------------------------------

    def _do(self, call: Callable[[], None]) -> None:
        with self._changed:
            self._calls.append(call)
            self._wake()

    def _take(self, document: OpenDocument, delay_s: float) -> None:
        with self._changed:
            if len(document.text) > MAX_TEXT:
                self._texts.pop(document.uri, None)
            else:
                self._texts[document.uri] = (time.monotonic() + delay_s, document)
                self._texts.move_to_end(document.uri)
            while len(self._texts) > MAX_OPEN:
                self._texts.popitem(last=False)
            self._wake()

    def _look(self, snapshot: Snapshot) -> None:
        """Ask for a choice, if the cursor has moved since the last one."""
        before = snapshot.text[max(0, snapshot.cursor - 200) : snapshot.cursor]
        mark = _Mark(snapshot.text.count("\n", 0, snapshot.cursor), receiver_in(before), snapshot.path)
        known = self._marks.get(snapshot.uri)
        if known is not None and known.is_near(mark) and not self._keeper.is_news(snapshot.uri):
            return
        with self._changed:
            self._marks[snapshot.uri] = mark
            self._marks.move_to_end(snapshot.uri)
            while len(self._marks) > MAX_OPEN:
                old, _ = self._marks.popitem(last=False)
                self._chosen.pop(old, None)
                self._named.pop(old, None)
                self._latest.pop(old, None)
            self._places[snapshot.uri] = snapshot
            self._wake()

    def _look_for_names(self, snapshot: Snapshot) -> None:
        """Ask for the names that may follow at a place, unless they are known for the current state."""
        self._latest[snapshot.uri] = snapshot
        self.knowledge.look(snapshot)
        is_read = family_of(snapshot.language) or snapshot.language in GUESSED
        if not is_read or not self.knowledge.is_asked(INDEX):
            return
        line = snapshot.text.count("\n", 0, snapshot.cursor)
        mark = (line, receiver_before(snapshot) or open_callee(snapshot), self._keeper.index.generation)
        with self._changed:
            if self._named.get(snapshot.uri) != mark:
                self._named[snapshot.uri] = mark
                self._unnamed[snapshot.uri] = snapshot
                self._wake()

    def _wake(self) -> None:
        """Start the thread when there is something to do for the first time. The caller holds the lock."""
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="midfill-context", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (work := self._next()) is not None:
            began = time.monotonic()
            try:
                work()
            except Exception as error:  # a file that breaks the reader must not end the thread
                log.error("context: %s", type(error).__name__)
                log.debug("context", exc_info=error)
            self._rest(time.monotonic() - began)

    def _next(self) -> Callable[[], None] | None:
        """Return what to do now: calls, names, choices, quiet documents, a step through the folders; in this order."""
        with self._changed:
            self._busy = False
            while not self._stopped:
                self._busy = True
                if self._calls:
                    return self._calls.pop(0)
                if self._unnamed:
                    uri, place = self._unnamed.popitem()
                    return lambda: self._declare(place)
                if self._listed:
                    _, (place, here) = self._listed.popitem()
                    return lambda: self._usage.find(place, here, *self._keeper.seen_at(place))
                if self._places:
                    uri, snapshot = self._places.popitem()
                    return lambda: self._choose(uri, snapshot)
                if not self._is_parsing and not self._parser.pause_s:
                    if (document := self._due()) is not None:
                        return lambda: self._parse(self._keeper.take(document))
                    if self._keeper.has_steps:
                        return lambda: self._parse(self._keeper.step())
                self._busy = False
                self._changed.notify_all()
                self._changed.wait(self._until_due())
        return None

    def _declare(self, place: Snapshot) -> None:
        self.knowledge.declared(place, *self._keeper.declared(place))
        self._weighed(place)

    def _due(self) -> OpenDocument | None:
        now = time.monotonic()
        uri = next((uri for uri, (due, _) in self._texts.items() if due <= now), None)
        return self._texts.pop(uri)[1] if uri is not None else None

    def _until_due(self) -> float | None:
        """Return the seconds until there may be something to do; None: until something is reported."""
        if self._is_parsing or not (self._texts or self._keeper.has_steps):
            return None
        due = 0.0 if self._keeper.has_steps else min(due for due, _ in self._texts.values()) - time.monotonic()
        return max(0.01, due, self._parser.pause_s)

    def _has_work(self) -> bool:
        wanted = self._calls or self._unnamed or self._listed or self._places or self._texts
        return bool(wanted or self._keeper.has_steps or self._is_parsing)

    def _rest(self, worked_s: float) -> None:
        """Leave the processor to others for as long as it was used; a waiting choice ends the rest."""
        with self._changed:
            if not (self._calls or self._unnamed or self._listed or self._places or self._n_waiting or self._stopped):
                self._changed.wait(min(worked_s, 0.25))

    def _parse(self, job: ParseJob | None) -> None:
        if job is not None:
            self._is_parsing = True
            self._parser.submit(job)

    def _parsed(self, parsed: Parsed) -> None:
        """Called by the parser's thread."""

        def take() -> None:
            self._is_parsing = False
            self._keeper.parsed(parsed)
            self._rest(parsed.took_s)

        self._do(take)

    def _choose(self, uri: str, snapshot: Snapshot) -> None:
        resolved = self._definitions.at(snapshot)
        choice = self._keeper.choose(snapshot, self.budget, self._chosen.get(uri), resolved)
        with self._changed:
            if uri in self._marks:  # still open
                self._chosen[uri] = choice
