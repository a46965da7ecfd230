"""How the workspace uses the members that may follow: evidence for which of them comes next.

A list of members does not tell which one is needed, and a small model often does not know it either. Code that
resembles the code around the cursor does: what followed the dot there probably follows here. So each member is judged
by the most similar place where another file uses it. Figures are in docs/log.md.

Completing by the nearest neighbours among earlier uses is known from Bruch, Monperrus and Mezini, "Learning from
Examples to Improve Code Completion Systems" (ESEC/FSE 2009). They compare which methods of a variable were called
before; here the words around both places are compared, because half-typed code of any language has words.
"""

from __future__ import annotations

import math
import re
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from midfill.context.focus import Focus
from midfill.context.index import MIN_WORD, Index, SourceFile
from midfill.context.knowledge.names import KnownNames
from midfill.context.knowledge.places import OWN, receiver_before
from midfill.context.view import View
from midfill.types import USAGE, Snapshot

# In nats, where the model has no idea: what full similarity is worth; and what each e-fold more places cost, as the
# best of many is more similar by chance.
SIMILAR, OFTEN = 27.0, 1.35
DECAY = 20.0  # words from the dot after which a word counts a third
N_BEFORE, N_AFTER = 40, 16  # words around a place that are compared
BEFORE, AFTER = 480, 160  # characters in which they are found
BELOW = 0.7  # a word after the place counts this share of one before it
COMMON = 0.2  # weight of signs and of the shortest words, which are everywhere
SIGNS = frozenset("([{=.:@")
MAX_NAMES = 250
MAX_PLACES = 40  # of one name that are compared, those of the most similar files
MAX_ALL_PLACES = 800  # of all names
N_RARE = 24  # words around the cursor by which files are ranked
MAX_FILES, MAX_GUESSED = 200, 60  # files in which names are looked for where no list is known, and names
MAX_DOCUMENTS = 100  # that are remembered
_TOKEN = re.compile(r"\w+|[^\w\s]")
_BEGUN = re.compile(r"\w*\Z")
_NAMED = re.compile(r"([^\W\d]\w{2,})(?:\(\))?\??(?:\.|->|::)\w*\Z")  # what is before the cursor's dot

Words = dict[tuple[bool, str], float]  # weights of words before (True) and after a place


def advantages(names: Sequence[str], view: View, focus: Focus) -> dict[str, float]:
    """Return how much more likely each of ``names`` is by its uses in other files, in nats; {} if none is used there.

    Uses in the cursor's own file do not count: the model has read them.
    """
    begun = _BEGUN.search(focus.before[0])
    weigher = _Weigher(view.index)
    here = weigher.around(focus.text, focus.cursor - len(begun[0] if begun else ""), focus.cursor)
    rank = _ranked(here, view.index)
    found: dict[str, tuple[float, int]] = {}
    n_left = MAX_ALL_PLACES
    for name in names[:MAX_NAMES]:
        files = [view.index.files[key] for key in view.index.users(name) if key != focus.key]
        files = [file for file in files if file.family == focus.family and view.may_show(file.key, focus)]
        best, n = 0.0, 0
        for file, at in _places(name, sorted(files, key=lambda file: (-rank[file.key], file.key))):
            if n < MAX_PLACES and n_left:
                n_left -= 1
                best = max(best, _similarity(here, weigher.around(file.text, at, at + len(name))))
            n += 1
        found[name] = best, n
    if not any(n for _, n in found.values()):
        return {}
    return {name: SIMILAR * best - OFTEN * math.log(n + 2.5) for name, (best, n) in found.items()}


def guessed(view: View, focus: Focus) -> dict[str, float]:
    """Return the same for the members that other files use behind what is named like the value before the cursor's dot,
    where nobody knows its members."""
    receiver = _NAMED.search(focus.before[0])
    if receiver is None or receiver[1] in OWN:  # every class has its own
        return {}
    used = re.compile(rf"(?<!\w){receiver[1]}(?:\(\))?\??(?:\.|->|::)([^\W\d]\w*)")
    names: Counter[str] = Counter()
    for key in sorted(view.index.users(receiver[1]))[:MAX_FILES]:
        file = view.index.files[key]
        if key != focus.key and file.family == focus.family and view.may_show(key, focus):
            names.update(used.findall(file.text))
    return advantages([name for name, _ in names.most_common(MAX_GUESSED)], view, focus)


def _places(name: str, files: Sequence[SourceFile]) -> Iterator[tuple[SourceFile, int]]:
    for file in files:
        for at in file.accesses.get(name, ()):
            yield file, at


def _ranked(here: Words, index: Index) -> Mapping[str, float]:
    """Return how much each file shares of the rarest words around the cursor."""
    shared: defaultdict[str, float] = defaultdict(float)
    for (_, word), weight in sorted(here.items(), key=lambda one: -one[1])[:N_RARE]:
        for key in index.users(word):
            shared[key] += weight
    return shared


class _Weigher:
    """The words around places, weighted by how rare each is in the workspace and how near the place."""

    def __init__(self, index: Index) -> None:
        self._index, self._weights = index, dict[str, float]()

    def around(self, text: str, start: int, end: int) -> Words:
        """Return the words around ``text[start:end]``, with 1 as the length of the vector of their weights."""
        before = _TOKEN.findall(text, max(0, start - BEFORE), start)[-N_BEFORE:]
        after = _TOKEN.findall(text, end, end + AFTER)[:N_AFTER]
        found: Words = {}
        for is_before, words, share in ((True, reversed(before), 1.0), (False, after, BELOW)):
            for n, word in enumerate(words):
                weight = self._weight(word)
                if weight and (is_before, word) not in found:  # the nearest one counts
                    found[is_before, word] = share * weight * math.exp(-n / DECAY)
        length = math.sqrt(sum(weight * weight for weight in found.values()))
        return {word: weight / length for word, weight in found.items()}

    def _weight(self, word: str) -> float:
        if (weight := self._weights.get(word)) is None:
            if len(word) < MIN_WORD:
                weight = COMMON if len(word) > 1 or word in SIGNS else 0.0
            else:
                weight = math.log((len(self._index.files) + 1) / (len(self._index.users(word)) + 0.5))
            self._weights[word] = weight
        return weight


def _similarity(one: Words, other: Words) -> float:
    """Return the cosine of both."""
    return sum(weight * other[word] for word, weight in one.items() if word in other)


@dataclass(frozen=True, slots=True)
class _Access:
    """A dot and the names that may follow it. Typing on the member does not change it."""

    names: tuple[str, ...]
    before: str  # the text up to the dot

    @classmethod
    def of(cls, snapshot: Snapshot, here: KnownNames) -> _Access:
        start = max(0, snapshot.cursor - BEFORE)
        return cls(here.names, _BEGUN.sub("", snapshot.text[start : snapshot.cursor])[-BEFORE // 2 :])


def unknown(snapshot: Snapshot) -> KnownNames | None:
    """Return an empty list for the value before the cursor's dot; None if there is no dot."""
    receiver = receiver_before(snapshot)
    return KnownNames(receiver, (), False, USAGE) if receiver else None


class Usage:
    """What was found for the latest place of each document. One thread finds, any may look."""

    def __init__(self) -> None:
        self._found: OrderedDict[str, tuple[_Access, Mapping[str, float]]] = OrderedDict()

    def at(self, snapshot: Snapshot, here: KnownNames) -> KnownNames | None:
        """Return the names ``here`` with their advantages; None if they were not looked for."""
        place, found = self._found.get(snapshot.uri, (None, {}))
        if place != _Access.of(snapshot, here):
            return None
        names = here.names or tuple(sorted(found, key=lambda name: -found[name]))
        return replace(here, names=names, advantages=found)

    def find(self, snapshot: Snapshot, here: KnownNames, view: View, focus: Focus) -> None:
        """Look for the advantages of the names ``here``, if that was not done."""
        if self.at(snapshot, here) is None:
            names = [name for name in here.names if not name.startswith("__")]
            found = advantages(names, view, focus) if here.names else guessed(view, focus)
            self._found[snapshot.uri] = (_Access.of(snapshot, here), found)
            self._found.move_to_end(snapshot.uri)
            while len(self._found) > MAX_DOCUMENTS:
                self._found.popitem(last=False)

    def forget(self, uri: str) -> None:
        """Forget a document that was closed."""
        self._found.pop(uri, None)
