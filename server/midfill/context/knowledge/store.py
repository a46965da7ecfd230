"""What is known at each document's cursor: requested in the background, the newest place first, looked up at once."""

from __future__ import annotations

import logging
import math
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from midfill.context.child import ChildEndedError, ChildProcess
from midfill.context.knowledge.doubts import SCRIPT, is_misread, may_have_more
from midfill.context.knowledge.inferring import MAX_MEMORY
from midfill.context.knowledge.labels import signature_in
from midfill.context.knowledge.names import CLIENT, INDEX, JEDI, NOTHING, Known, KnownNames
from midfill.context.knowledge.places import (
    OWN,
    MemberQuery,
    asked_at,
    asked_of,
    call_at,
    call_inside,
    called,
    open_callee,
    receiver_before,
    scope_of,
    uses_near,
    written,
)
from midfill.syntax.calls import Parameter, Signature
from midfill.types import MidfillError, Snapshot

log = logging.getLogger(__name__)

LANGUAGES = ("python",)  # that jedi reads
ANSWER_S = 20.0
IDLE_S = 60.0  # an idle child is stopped after this long
AGAIN_S = 1.0  # names of an unchanged place are requested again after this long, as other lines may have changed
MAX_ENDED = 2  # consecutive children that end
OFF_S = 120.0  # without a child after that
MAX_PLACES = 100  # documents that are remembered
NEAR_ROWS = 12  # a client's list holds within this distance of its place
NEAR_OWN_ROWS = 60  # the same for ``this`` and ``self``, which do not change within a function
MAX_TOLD = 24  # lists of a client that are kept for a document, the latest
MAX_USES = 5  # receivers besides the one before the cursor that a client is asked about at once
MAX_WRITTEN = 16  # receivers that are requested while one middle grows
# TypeScript's server answers from the open document alone until it has read the project. What a client says of a
# document in the first seconds after it was opened is not all, and is asked again.
SETTLE_S = 4.0
FRESH_S = 45.0  # a client's list for another receiver in the function is requested again after this long
AROUND = 20_000  # characters of the text that are searched for what is used
_WORD = re.compile(r"[^\W\d]\w*")
_ACCESS = re.compile(r"(?:\.|::|->)\Z")
COMMAND = (sys.executable, "-P", "-m", "midfill.context.knowledge.inferring")


@dataclass(frozen=True, slots=True)
class _ScopeLists:
    scope: str
    row: int
    lists: dict[str, KnownNames]
    calls: Mapping[str, Signature] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Told:
    """What a client said of a receiver or a callee, and where and when."""

    scope: str
    row: int
    at: float
    what: KnownNames | Signature


class Knowledge:
    """Receives places, returns names; both touch memory only."""

    def __init__(self, off: Iterable[str] = (), start: Callable[[], ChildProcess] | None = None) -> None:
        """``off``: names of sources that are switched off."""
        self._off = frozenset(off)
        self._start = start or (lambda: ChildProcess(COMMAND, max_memory=MAX_MEMORY, answer_s=ANSWER_S))
        self.settle_s = SETTLE_S
        self.on_names: Callable[[str], None] = lambda uri: None  # called when more is known, by any thread
        self._folders: tuple[str, ...] = ()
        self._changed = threading.Condition()
        self._waiting: OrderedDict[tuple[str, bool], tuple[Snapshot, MemberQuery]] = (
            OrderedDict()
        )  # by document and is_more
        self._written: OrderedDict[str, tuple[Snapshot, set[str]]] = OrderedDict()  # requested while a middle grew
        self._inferred: OrderedDict[str, _ScopeLists] = OrderedDict()
        self._told: OrderedDict[str, dict[str, _Told]] = OrderedDict()  # by document, and receiver or callee with "("
        self._declared: OrderedDict[str, _ScopeLists] = OrderedDict()
        self._last: dict[str, tuple[object, float]] = {}
        self._since: dict[str, float] = {}  # when each document was opened
        self._thread: threading.Thread | None = None
        self._child: ChildProcess | None = None
        self._busy = self._stopped = False
        self._n_ended, self._off_until = 0, 0.0

    def disable(self, off: Iterable[str]) -> None:
        """Set the sources that are switched off from now on, and whose names are not used."""
        self._off = frozenset(off)

    def set_folders(self, folders: Iterable[Path]) -> None:
        """Set the workspace's folders, where imports are searched."""
        self._folders = tuple(map(str, folders))

    def look(self, snapshot: Snapshot) -> None:
        """The user works at ``snapshot``: ask which names may follow there, unless that was asked just now."""
        if JEDI in self._off or snapshot.language not in LANGUAGES or (asked := asked_at(snapshot)) is None:
            return
        mark = (asked.scope, asked.row, asked.receivers[0] if asked.here else "", asked.here, asked.callees)
        before, at = self._last.get(snapshot.uri, (None, 0.0))
        if mark == before and time.monotonic() - at < AGAIN_S:
            return
        self._last[snapshot.uri] = (mark, time.monotonic())
        with self._changed:
            self._put(snapshot, asked)

    def grows(self, snapshot: Snapshot, middle: str) -> None:
        """A middle is growing at ``snapshot``: request the members of the receivers that it uses, and what its callees
        take, once each."""
        if JEDI in self._off or snapshot.language not in LANGUAGES:
            return
        entry, before = self._inferred.get(snapshot.uri), self._written.get(snapshot.uri)
        had = before[1] if before is not None and before[0] is snapshot else set()
        known = {*entry.lists, *(f"{callee}(" for callee in entry.calls)} if entry is not None else set()
        new = [receiver for receiver in written(snapshot, middle) if receiver not in known | had]
        calls = [callee for callee in called(snapshot, middle) if f"{callee}(" not in known | had]
        if not (new or calls) or len(had) > MAX_WRITTEN or (asked := asked_of(snapshot, new, calls)) is None:
            return
        _keep(self._written, snapshot.uri, (snapshot, had | set(new) | {f"{callee}(" for callee in calls}))
        with self._changed:
            self._put(snapshot, asked)

    def told(self, snapshot: Snapshot, names: Sequence[str], *, is_complete: bool) -> None:
        """Take the names that the client's other language servers return at ``snapshot``."""
        receiver = receiver_before(snapshot)
        if not receiver or not names or is_misread(snapshot, names):
            return
        is_settled = snapshot.language not in SCRIPT or self._is_settled(snapshot.uri)
        is_complete = is_complete and is_settled and not may_have_more(snapshot.language, receiver, names)
        stands = _WORD.match(snapshot.text, snapshot.cursor)
        if stands is not None and _ACCESS.search(snapshot.line_before) and stands[0] not in names:
            is_complete = False  # the server read the broken text differently
        known = _with_used(KnownNames(receiver, tuple(names), is_complete, CLIENT), snapshot)
        self._keep_told(snapshot, receiver, known, is_fresh=is_settled)
        self.on_names(snapshot.uri)

    def opened(self, uri: str) -> None:
        """A document was opened."""
        self._since.setdefault(uri, time.monotonic())

    def _is_settled(self, uri: str) -> bool:
        """Whether a document has been open for a while."""
        now = time.monotonic()
        return now - self._since.setdefault(uri, now) >= self.settle_s

    def told_call(self, snapshot: Snapshot, signatures: Sequence[Any]) -> None:
        """Take what the client's other language servers say the innermost call at ``snapshot`` takes: their
        SignatureInformation values."""
        callee = open_callee(snapshot)
        if callee and (known := signature_in(signatures, callee, snapshot.language)) is not None:
            self._keep_told(snapshot, f"{callee}(", known)

    def _keep_told(
        self, snapshot: Snapshot, key: str, what: KnownNames | Signature, *, is_fresh: bool = True
    ) -> None:  # fmt: skip
        scope, row = scope_of(snapshot), snapshot.text.count("\n", 0, snapshot.cursor)
        table, at = self._told.get(snapshot.uri, {}), time.monotonic() if is_fresh else -math.inf
        before = [(name, one) for name, one in table.items() if name != key][-MAX_TOLD + 1 :]
        _keep(self._told, snapshot.uri, {**dict(before), key: _Told(scope, row, at, what)})

    def wanted(self, snapshot: Snapshot) -> tuple[int, ...]:
        """Return where the client should ask its other language servers: at the cursor, if it is after a dot, then
        after the dots of receivers near it about which nothing is known yet."""
        if CLIENT in self._off:
            return ()
        known, fresh = self.at(snapshot).complete, self._fresh(snapshot)
        receiver = receiver_before(snapshot)
        uses = [
            at for name, at in uses_near(snapshot).items()
            if name not in fresh and name not in known and name != receiver and _rows(snapshot, at) <= reach(name)
        ]  # fmt: skip
        return (*([snapshot.cursor] if receiver else []), *uses[:MAX_USES])

    def wanted_call(self, snapshot: Snapshot) -> int | None:
        """Return where the client should ask its other language servers for signature help: after the opening
        parenthesis of the innermost call around the cursor, if it is not known yet what that takes."""
        call = call_inside(snapshot.text, snapshot.cursor, snapshot.language) if CLIENT not in self._off else None
        if call is None or f"{call[0]}(" in self._fresh(snapshot) or call[0] in self.at(snapshot).certain.calls:
            return None
        return call[1]

    def _fresh(self, snapshot: Snapshot) -> frozenset[str]:
        """Return the receivers and callees of which the client said something in the cursor's scope just now."""
        told, now, scope = self._told.get(snapshot.uri, {}), time.monotonic(), scope_of(snapshot)
        return frozenset(key for key, one in told.items() if one.scope == scope and now - one.at < FRESH_S)

    def is_asked(self, source: str) -> bool:
        """Whether the names of a source are used."""
        return source not in self._off

    def declared(
        self, snapshot: Snapshot, lists: Mapping[str, KnownNames], calls: Mapping[str, Signature] = MappingProxyType({})
    ) -> None:
        """Take the names that the workspace's own files declare around ``snapshot``, and what their functions take. The
        workspace's thread calls this."""
        entry = _ScopeLists(
            scope_of(snapshot), snapshot.text.count("\n", 0, snapshot.cursor),
            {name: _with_used(one, snapshot) for name, one in lists.items()}, calls,
        )  # fmt: skip
        with self._changed:
            _keep(self._declared, snapshot.uri, entry)

    def at(self, snapshot: Snapshot) -> Known:
        """Return what is known at a cursor now. A client's list comes before an inferred one, which comes before a
        declared one."""
        declared, inferred = self._declared.get(snapshot.uri), self._inferred.get(snapshot.uri)
        told = self._told.get(snapshot.uri) if CLIENT not in self._off else None
        if declared is None and inferred is None and not told:
            return NOTHING
        scope, row = scope_of(snapshot), snapshot.text.count("\n", 0, snapshot.cursor)
        lists: dict[str, KnownNames] = {}
        calls: dict[str, Signature] = {}
        for source, entry in ((INDEX, declared), (JEDI, inferred)):
            if entry is not None and source not in self._off and entry.scope == scope:
                lists |= entry.lists
                calls |= entry.calls
        for key, one in (told or {}).items():
            if one.scope != scope or abs(one.row - row) > reach(key):
                continue
            if isinstance(one.what, Signature):
                calls[one.what.callee] = one.what
            else:
                lists[one.what.receiver] = one.what
        here = lists.pop(receiver_before(snapshot), None)
        if not (here or lists or calls):
            return NOTHING
        return Known(here, MappingProxyType(lists), MappingProxyType(calls), call_at(snapshot, calls))

    def forget(self, uri: str) -> None:
        """Forget a document that was closed."""
        with self._changed:
            for is_more in (False, True):
                self._waiting.pop((uri, is_more), None)
            for table in (self._inferred, self._told, self._declared, self._last, self._since, self._written):
                table.pop(uri, None)

    def stop(self) -> None:
        """Stop the thread and the child without waiting for them."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        if (child := self._child) is not None:
            child.kill()

    def settle(self, timeout_s: float) -> bool:
        """Wait until no request is left; return whether that happened."""
        with self._changed:
            return self._changed.wait_for(lambda: self._stopped or not (self._busy or self._waiting), timeout_s)

    # ---- the thread --------------------------------------------------------------------------------------------------

    def _put(self, snapshot: Snapshot, asked: MemberQuery) -> None:
        """Let the thread request it. The caller holds the lock."""
        key = (snapshot.uri, asked.is_more)
        if asked.is_more and (waiting := self._waiting.get(key)) is not None:
            receivers = tuple(dict.fromkeys((*waiting[1].receivers, *asked.receivers)))
            asked = replace(asked, receivers=receivers)
        self._waiting[key] = (snapshot, asked)
        self._waiting.move_to_end(key)
        self._wake()

    def _wake(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="midfill-names", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        while (work := self._next()) is not None:
            snapshot, asked = work
            found = self._infer(snapshot, asked)
            with self._changed:
                if found is not None and (snapshot.uri in self._last or asked.is_more):
                    before = self._inferred.get(snapshot.uri)
                    if asked.is_more and before is not None and before.scope == asked.scope:
                        found = replace(found, lists=before.lists | found.lists, calls={**before.calls, **found.calls})
                    _keep(self._inferred, snapshot.uri, found)
            self.on_names(snapshot.uri)
        self._end_child()

    def _next(self) -> tuple[Snapshot, MemberQuery] | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while not self._stopped:
                if self._waiting:
                    self._busy = True
                    return self._waiting.popitem()[1]
                if not self._changed.wait(IDLE_S):
                    self._end_child()
        return None

    def _infer(self, snapshot: Snapshot, asked: MemberQuery) -> _ScopeLists | None:
        """Return the members by receiver, and what callees take; None: nothing could be requested."""
        if time.monotonic() < self._off_until:
            return None
        try:
            self._child = self._child or self._start()
            answer = self._child.ask({
                "text": asked.text, "path": _path(snapshot.uri), "line": asked.row, "column": asked.column,
                "receivers": asked.receivers, "here": asked.here, "folders": self._folders,
                "callees": asked.callees, "callee_line": asked.callee_row,
            })  # fmt: skip
        except (ChildEndedError, OSError, MidfillError, ValueError) as error:
            self._note_end(error)
            return None
        self._n_ended = 0
        lists = {
            one["receiver"]: KnownNames(one["receiver"], tuple(one["names"]), bool(one["is_complete"]), JEDI)
            for one in answer.get("lists", ())
        }
        # here and not while the user types: it takes milliseconds
        lists = {name: _with_used(one, snapshot) for name, one in lists.items()}
        calls = {one["callee"]: _signature(one) for one in answer.get("calls", ())}
        return _ScopeLists(asked.scope, asked.row, lists, calls)

    def _note_end(self, error: Exception) -> None:
        self._end_child()
        if self._stopped:
            return
        log.info(
            "names: the process that infers was ended: %s", error if isinstance(error, ChildEndedError) else type(error)
        )
        self._n_ended += 1
        if self._n_ended == MAX_ENDED:
            self._n_ended, self._off_until = 0, time.monotonic() + OFF_S

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


def _signature(one: Mapping[str, Any]) -> Signature:
    parameters = tuple(
        Parameter(str(name), bool(by_position), bool(by_name)) for name, by_position, by_name in one["parameters"]
    )
    return Signature(
        one["callee"], parameters, bool(one["any_position"]), bool(one["any_name"]), bool(one["is_complete"]), JEDI
    )  # fmt: skip


def _rows(snapshot: Snapshot, at: int) -> int:
    """Return the rows between a place and the cursor."""
    return snapshot.text.count("\n", *sorted((at, snapshot.cursor)))


def reach(name: str) -> int:
    """Return how many rows from a client's place what it said of a receiver or a callee holds."""
    return NEAR_OWN_ROWS if name.split(".")[0] in OWN else NEAR_ROWS


def _with_used(known: KnownNames, snapshot: Snapshot) -> KnownNames:
    """Add the names that the text around the cursor already uses after the same receiver: the user knows that they
    exist."""
    if not known.is_complete:
        return known
    around = snapshot.text[max(0, snapshot.cursor - AROUND) : snapshot.cursor + AROUND]
    used = re.findall(rf"(?<![\w.]){re.escape(known.receiver)}\.([^\W\d]\w*)(?!\w)", around)
    begun = re.search(r"\w*\Z", snapshot.line_before)
    more = [name for name in dict.fromkeys(used) if name not in known.names and (begun is None or name != begun[0])]
    return replace(known, names=(*known.names, *more)) if more else known


def _path(uri: str) -> str:
    """Return a document's path, on which relative imports depend; "" if it is not a file."""
    parts = urlsplit(uri)
    return url2pathname(parts.path) if parts.scheme == "file" else ""


def _keep(table: OrderedDict[str, Any], uri: str, entry: Any) -> None:
    table[uri] = entry
    table.move_to_end(uri)
    while len(table) > MAX_PLACES:
        table.popitem(last=False)
