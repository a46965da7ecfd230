"""Whether an automatic request is worth an answer, and how long it waits for the next key. It has no clock of its own.

Explicit requests are never refused and never wait: a user asked.
"""

from __future__ import annotations

import fnmatch
import statistics
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from midfill.syntax import languages
from midfill.types import Refusal, Snapshot

# These may stand to the right of the cursor without being in the way: editors close brackets and quotes by themselves.
CLOSERS = frozenset(")]}>\"'`;:, \t")
# With more other characters than this to the right of the cursor, a suggestion would have to weave itself into them.
MAX_RIGHT = 8
MAX_DOCUMENTS = 64
# The number of keys for the mean; a longer gap is a pause for thought, not part of the rhythm.
N_GAPS, MAX_GAP_S = 8, 1.0
MIN_GAP_S = 0.005  # no user types this fast: two requests for one key
# Half of the gaps are longer than their mean; hardly one is longer than this many means.
BEYOND_MEAN = 1.5
# Waiting for less than this costs more than it saves.
MIN_PAUSE_S = 0.02

ScopeAt = Callable[[Snapshot], str]


def switched_off(
    snapshot: Snapshot, disabled_languages: Sequence[str], disabled_files: Sequence[str]
) -> Refusal | None:
    """Return the setting that switches automatic suggestions off in this file."""
    if snapshot.language in disabled_languages:
        name = languages.display_name(snapshot.language)
        return Refusal("language_off", f"automatic suggestions are off for {name} (disabled_languages)")
    if any(matches(snapshot.name or snapshot.path, glob) for glob in disabled_files):
        return Refusal("file_off", "automatic suggestions are off for this file (disabled_files)")
    return None


def out_of_place(snapshot: Snapshot, disabled_scopes: Sequence[str], scope_at: ScopeAt) -> Refusal | None:
    """Return why the cursor's place gets no automatic suggestion."""
    right = snapshot.line_after
    if right and (right[0].isalnum() or right[0] == "_"):
        return Refusal("inside_word", "the cursor is inside a word or right before one")
    if sum(char not in CLOSERS for char in right) > MAX_RIGHT:
        return Refusal("text_right", "there is much text to the right of the cursor")
    return scope_off(snapshot, disabled_scopes, scope_at)


def scope_off(snapshot: Snapshot, disabled_scopes: Sequence[str], scope_at: ScopeAt) -> Refusal | None:
    """Return the setting that switches automatic suggestions off in the scope at the cursor."""
    if disabled_scopes and (scope := scope_at(snapshot)) in disabled_scopes:
        return Refusal("scope_off", f"automatic suggestions are off in a {scope} (disabled_scopes)")
    return None


def matches(path: str, glob: str) -> bool:
    """Whether ``glob`` matches ``path``: with a "/" all of it ("**" is any number of folders), else any name in it."""
    parts = path.replace("\\", "/").strip("/").split("/")
    if "/" not in glob:
        return any(fnmatch.fnmatchcase(part, glob) for part in parts)
    # The patterns that may come next, walked along the path: time is the product of both lengths, whatever they hold.
    patterns = glob.strip("/").split("/")
    at = _past_any(patterns, {0})
    for part in parts:
        kept = {i for i in at if i < len(patterns) and patterns[i] == "**"}
        moved = {i + 1 for i in at if i < len(patterns) and fnmatch.fnmatchcase(part, patterns[i])}
        at = _past_any(patterns, kept | moved)
    return len(patterns) in at


def _past_any(patterns: Sequence[str], at: set[int]) -> set[int]:
    """Return ``at``, and the positions after each "**" that may stand for nothing."""
    reached = set(at)
    for i in sorted(at):
        while i < len(patterns) and patterns[i] == "**":
            i += 1
            reached.add(i)
    return reached


class Debounce:
    """How long an automatic request waits: until the next key should have come, minus what the answer takes anyway.

    A steady typist gets one generation at the end of a burst instead of one that is cancelled at every key. If the
    answer takes longer than the gap, waiting would only add to it. The idea is that of Tabby's client.
    """

    def __init__(self) -> None:
        self._gaps: OrderedDict[str, deque[float]] = OrderedDict()
        self._last: dict[str, float] = {}
        self._answer_s = 0.0

    def key(self, uri: str, now: float) -> None:
        """The user pressed a key in a document. ``now``: seconds on a monotonic clock."""
        gap = now - self._last.get(uri, float("-inf"))
        if 0 <= gap < MIN_GAP_S:
            return
        gaps = self._gaps.setdefault(uri, deque(maxlen=N_GAPS))
        self._gaps.move_to_end(uri)
        self._last[uri] = now
        if 0 <= gap <= MAX_GAP_S:
            gaps.append(gap)
        elif gap > MAX_GAP_S:
            gaps.clear()  # a new burst has its own rhythm
        if len(self._gaps) > MAX_DOCUMENTS:
            oldest, _ = self._gaps.popitem(last=False)
            del self._last[oldest]

    def answered(self, seconds: float) -> None:
        """The first token of an answer took this long."""
        self._answer_s = seconds if not self._answer_s else 0.7 * self._answer_s + 0.3 * seconds

    def pause(self, uri: str, longest: float) -> float:
        """Return the seconds to wait, at most ``longest``. The first key after a pause does not wait."""
        gaps = self._gaps.get(uri)
        if not gaps:
            return 0.0
        seconds = min(longest, BEYOND_MEAN * statistics.fmean(gaps) - self._answer_s)
        return seconds if seconds >= MIN_PAUSE_S else 0.0
