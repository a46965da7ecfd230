"""Finished middles, found again when the user types along them or goes back."""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from midfill.types import Snapshot, Snippet

# Looked up backwards over so many typed characters.
MAX_TYPED = 400
# So much text on each side of a cursor tells it apart from others: more than a prompt holds, and a bound on memory.
WINDOW = 20_000
# What was made or shown so recently is what is being typed along: it stays, whatever the context makes of the typed
# characters. Of what is older, the context is gathered again and must be the same.
FRESH_S = 20.0

_TAB = re.compile(r"^\t", re.MULTILINE)

ContextOf = Callable[[Snapshot], str]


@dataclass(frozen=True, slots=True)
class Middle:
    """A finished middle: what was shown of it at its place, and what the model had said."""

    raw: str
    finish_reason: str
    shown: tuple[str, ...] = ()  # the candidates that show something, the best first
    id: str = ""
    n_asked: int = 1  # candidates that the model was asked for
    confidence: float | None = None
    rules: tuple[tuple[str, int], ...] = ()
    n_typed: int = 0  # characters of it that stand before the cursor already
    by_hand: bool = False  # made for an invoked request, which gets longer answers, and weaker ones


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that decides a middle, but for the context: who answers, in which language and file, at which text.

    It is the key of finished middles here, and of those that still grow (``growing.Growing``).
    """

    answered_by: str
    language: str
    path: str
    cursor: int
    n_after: int
    before: str
    after: str


@dataclass(slots=True)
class _Entry:
    middle: Middle
    context: str
    used_at: float


class MiddleCache:
    """Least recently used middles by ``Place``, and the context they were made with."""

    def __init__(self, size: int = 128, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = size, clock
        self._entries: OrderedDict[Place, _Entry] = OrderedDict()

    def lookup(
        self,
        snapshot: Snapshot,
        answered_by: str,
        context_of: ContextOf | None = None,
        *,
        n_wanted: int = 1,
        by_hand: bool = False,
    ) -> Middle | None:
        """What is left of a middle whose shown beginning was typed since it was made, of the nearest place first.

        At its very place an empty middle is an answer too; further on there is always something left. ``context_of``
        tells the context of a snapshot as it would be gathered now; ``n_wanted`` candidates must have been asked for,
        ``by_hand`` where that is so of this request.
        """
        found: Place | None = None
        for place, entry in self._entries.items():
            n_typed = snapshot.cursor - place.cursor
            if not 0 <= n_typed <= MAX_TYPED or entry.middle.n_asked < n_wanted or by_hand > entry.middle.by_hand:
                continue
            if found is not None and found.cursor > place.cursor:
                continue
            typed = snapshot.text[place.cursor : snapshot.cursor]
            if n_typed and not rests(entry.middle.shown, typed):
                continue
            if place == place_of(snapshot, answered_by, n_typed):
                found = place
        if found is None or not self._is_current(found, snapshot, context_of):
            return None
        self._entries.move_to_end(found)
        entry = self._entries[found]
        entry.used_at = self._clock()
        typed = snapshot.text[found.cursor : snapshot.cursor]
        return replace(entry.middle, shown=rests(entry.middle.shown, typed), n_typed=len(typed))

    def _is_current(self, place: Place, snapshot: Snapshot, context_of: ContextOf | None) -> bool:
        entry = self._entries[place]
        if context_of is None or self._clock() - entry.used_at <= FRESH_S:
            return True
        return context_of(rewound(snapshot, snapshot.cursor - place.cursor)) == entry.context

    def has(self, snapshot: Snapshot, answered_by: str) -> bool:
        """Whether the middle at this very place is known."""
        return place_of(snapshot, answered_by, 0) in self._entries

    def store(self, snapshot: Snapshot, answered_by: str, middle: Middle, context: str = "") -> None:
        """Keep ``middle`` for ``snapshot``."""
        place = place_of(snapshot, answered_by, 0)
        self._entries[place] = _Entry(middle, context, self._clock())
        self._entries.move_to_end(place)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)


def digest(snippets: Iterable[Snippet]) -> str:
    """What tells one context from another."""
    known = hashlib.blake2b(digest_size=16)
    for snippet in snippets:
        known.update(
            f"{len(snippet.path)} {len(snippet.text)} {snippet.path}{snippet.text}".encode(errors="surrogatepass")
        )
    return known.hexdigest()


def rests(shown: tuple[str, ...], typed: str) -> tuple[str, ...]:
    """What is left of each candidate that begins with ``typed`` and goes on."""
    return tuple(text[len(typed) :] for text in shown if len(text) > len(typed) and text.startswith(typed))


def rewound(snapshot: Snapshot, n_typed: int) -> Snapshot:
    """``snapshot`` as it was before the ``n_typed`` characters left of the cursor were typed."""
    if not n_typed:
        return snapshot
    cursor = snapshot.cursor - n_typed
    return replace(snapshot, text=snapshot.text[:cursor] + snapshot.text[snapshot.cursor :], cursor=cursor)


def accepted(snapshot: Snapshot, text: str) -> Snapshot:
    """``snapshot`` with ``text`` put in at the cursor."""
    return replace(snapshot, text=snapshot.prefix + text + snapshot.suffix, cursor=snapshot.cursor + len(text))


def entered(snapshot: Snapshot) -> Snapshot | None:
    """``snapshot`` after Enter, as an editor indents it; None where the cursor is not at the end of a written line."""
    line = snapshot.line_before
    if snapshot.line_after.strip() or not line.strip():
        return None
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if line.rstrip().endswith((":", "{", "(", "[")):
        indent += "\t" if _TAB.search(snapshot.text, max(0, snapshot.cursor - WINDOW), snapshot.cursor) else "    "
    return accepted(snapshot, "\n" + indent)


def place_of(snapshot: Snapshot, answered_by: str, n_typed: int) -> Place:
    """The place ``n_typed`` characters before the cursor, as it was before they were typed."""
    text, cursor = snapshot.text, snapshot.cursor - n_typed
    before = text[max(0, cursor - WINDOW) : cursor]
    after = text[snapshot.cursor : snapshot.cursor + WINDOW]
    n_after = len(text) - snapshot.cursor
    return Place(answered_by, snapshot.language, snapshot.path, cursor, n_after, before, after)
