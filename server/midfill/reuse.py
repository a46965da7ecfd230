"""Generations, finished or in flight, found again when the user types along them or goes back.

Both kinds answer one question, ``is_along``: does the text of a generation begin with what was typed since its place?
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from midfill.types import Snapshot, Snippet

# A place is looked up backwards over at most this many typed characters.
MAX_TYPED = 400
# A request that is more characters ahead of the text in flight than this starts a new generation.
MAX_AHEAD = 16
# This much text on each side of a cursor identifies it: more than a prompt holds, and a bound on memory.
WINDOW = 20_000
# A middle that was made or shown this many seconds ago is being typed along: it stays, even if the typed characters
# change the context. For older ones, or ones that show nothing, the context is gathered again and must be the same.
FRESH_S = 20.0

ContextOf = Callable[[Snapshot], str]


def rests(texts: Iterable[str], typed: str) -> tuple[str, ...]:
    """Return what is left of each text that begins with ``typed`` and is longer."""
    return tuple(text[len(typed) :] for text in texts if len(text) > len(typed) and text.startswith(typed))


def is_along(texts: Sequence[str], typed: str, *, may_grow: bool = False) -> bool:
    """Whether one of ``texts`` continues after ``typed``, or may still, if the first one ``may_grow``.

    Nothing typed always counts: at its own place, a middle that shows nothing is an answer too.
    """
    if not typed or rests(texts, typed):
        return True
    first = texts[0] if texts else ""
    return may_grow and typed.startswith(first) and len(typed) - len(first) <= MAX_AHEAD


@dataclass(frozen=True, slots=True)
class Middle:
    """A finished middle: what was shown of it at its place, and the model's output."""

    raw: str
    finish_reason: str
    shown: tuple[str, ...] = ()  # the candidates that show something, the best first
    id: str = ""
    n_asked: int = 1  # number of candidates that were requested
    confidence: float | None = None
    rules: tuple[tuple[str, int], ...] = ()
    n_typed: int = 0  # characters of it that stand before the cursor already
    invoked: bool = False  # made for an explicit request, which gets longer and less certain answers


@dataclass(frozen=True, slots=True)
class ReuseKey:
    """Everything that decides a middle except the context: adapter, template, language, file, and the text around the
    cursor."""

    answered_by: str
    language: str
    path: str
    cursor: int
    n_after: int
    before: str
    after: str


def place_of(snapshot: Snapshot, answered_by: str, n_typed: int = 0) -> ReuseKey:
    """Return the place ``n_typed`` characters before the cursor, as it was before they were typed."""
    text, cursor = snapshot.text, snapshot.cursor - n_typed
    before = text[max(0, cursor - WINDOW) : cursor]
    after = text[snapshot.cursor : snapshot.cursor + WINDOW]
    n_after = len(text) - snapshot.cursor
    return ReuseKey(answered_by, snapshot.language, snapshot.path, cursor, n_after, before, after)


@dataclass(frozen=True, slots=True)
class ReuseQuery:
    """What a request asks for. A generation with fewer candidates does not answer it, nor an automatic one an explicit
    request."""

    snapshot: Snapshot
    answered_by: str
    n: int = 1
    invoked: bool = False


class Reusable(Protocol):
    """What the search needs to know of a generation, finished or in flight."""

    @property
    def place(self) -> ReuseKey: ...  # noqa: D102
    @property
    def n_asked(self) -> int: ...  # noqa: D102
    @property
    def invoked(self) -> bool: ...  # noqa: D102
    @property
    def is_over(self) -> bool: ...  # noqa: D102
    def is_along(self, typed: str) -> bool: ...  # noqa: D102


AnyGeneration = TypeVar("AnyGeneration", bound=Reusable)


@dataclass(slots=True)
class _Finished:
    place: ReuseKey
    middle: Middle
    context: str
    used_at: float
    is_over: bool = False  # it stays

    @property
    def n_asked(self) -> int:
        return self.middle.n_asked

    @property
    def invoked(self) -> bool:
        return self.middle.invoked

    def is_along(self, typed: str) -> bool:
        return is_along(self.middle.shown, typed)


class Reuse(Generic[AnyGeneration]):
    """Middles by ``ReuseKey``, least recently used first, each with its context; and the generations in flight."""

    def __init__(self, size: int = 128, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = size, clock
        self._finished: OrderedDict[ReuseKey, _Finished] = OrderedDict()
        self.running: list[AnyGeneration] = []  # the owner of a generation adds and removes it; the newest is last

    def find(
        self, asked: ReuseQuery, context_of: ContextOf | None = None, usable: Callable[[Middle], bool] = lambda _: True
    ) -> Middle | AnyGeneration | None:
        """Return what is left of a finished middle that is ``usable``, else the generation in flight that leads on
        from here.

        ``context_of`` returns the context of a snapshot as it would be gathered now.
        """
        middle = self.finished(asked, context_of)
        return middle if middle is not None and usable(middle) else self.in_flight(asked)

    def finished(self, asked: ReuseQuery, context_of: ContextOf | None = None) -> Middle | None:
        """Return what is left of the nearest middle whose shown start was typed since it was made."""
        found = _nearest(self._finished.values(), asked)
        if found is None or not self._is_current(found, asked.snapshot, context_of):
            return None
        self._finished.move_to_end(found.place)
        found.used_at = self._clock()
        typed = asked.snapshot.text[found.place.cursor : asked.snapshot.cursor]
        return replace(found.middle, shown=rests(found.middle.shown, typed), n_typed=len(typed))

    def in_flight(self, asked: ReuseQuery) -> AnyGeneration | None:
        """Return the nearest generation that still runs and leads on from here."""
        return _nearest(self.running, asked)

    def _is_current(self, found: _Finished, snapshot: Snapshot, context_of: ContextOf | None) -> bool:
        is_fresh = self._clock() - found.used_at <= FRESH_S
        if context_of is None or (is_fresh and found.middle.shown):
            return True
        return context_of(_rewound(snapshot, snapshot.cursor - found.place.cursor)) == found.context

    def has(self, asked: ReuseQuery) -> bool:
        """Whether the middle at this very place is known, or a generation that leads on from here is in flight."""
        return place_of(asked.snapshot, asked.answered_by) in self._finished or self.in_flight(asked) is not None

    def store(self, snapshot: Snapshot, answered_by: str, middle: Middle, context: str = "") -> None:
        """Keep ``middle`` for ``snapshot``."""
        place = place_of(snapshot, answered_by)
        self._finished[place] = _Finished(place, middle, context, self._clock())
        self._finished.move_to_end(place)
        while len(self._finished) > self._size:
            self._finished.popitem(last=False)

    def forget(self) -> None:
        """Drop every finished middle."""
        self._finished.clear()


def _nearest(generations: Iterable[AnyGeneration], asked: ReuseQuery) -> AnyGeneration | None:
    """Return the generation that answers ``asked`` with the fewest characters typed since its place."""
    best: AnyGeneration | None = None
    snapshot = asked.snapshot
    for each in generations:
        n_typed = snapshot.cursor - each.place.cursor
        if not 0 <= n_typed <= MAX_TYPED or each.n_asked < asked.n or asked.invoked > each.invoked or each.is_over:
            continue
        if each.place.path != snapshot.path or (best is not None and best.place.cursor >= each.place.cursor):
            continue
        is_here = each.is_along(snapshot.text[each.place.cursor : snapshot.cursor])
        if is_here and each.place == place_of(snapshot, asked.answered_by, n_typed):
            best = each
    return best


def digest(snippets: Iterable[Snippet], only: Iterable[str] = ()) -> str:
    """Return a digest of a context: the snippets, and the names that may follow, if all are known."""
    known = hashlib.blake2b("\0".join(sorted(only)).encode(errors="surrogatepass"), digest_size=16)
    for snippet in snippets:
        known.update(
            f"{len(snippet.path)} {len(snippet.text)} {snippet.path}{snippet.text}".encode(errors="surrogatepass")
        )
    return known.hexdigest()


def _rewound(snapshot: Snapshot, n_typed: int) -> Snapshot:
    """Return ``snapshot`` as it was before the ``n_typed`` characters left of the cursor were typed."""
    if not n_typed:
        return snapshot
    cursor = snapshot.cursor - n_typed
    return replace(snapshot, text=snapshot.text[:cursor] + snapshot.text[snapshot.cursor :], cursor=cursor)
