"""How often a middle is learned from, compared with others of its kind: the one place that says it.

A middle's weight is the product of four factors:

- **names** ``1 + OWN * own + HARD * hard``: of the names in it, the share that the repository defines outside of the
  middle, and the share that only other files have. Those are hard: the model cannot copy them from around the cursor.
  (How hard the present adapter finds a middle would take a forward pass, which costs a third of a step.)
- **written** ``1 / sqrt(n)``, the mean over its lines, where n is how often a line stands in the collection, apart from
  its digits: licences, generated lines and near duplicates come seldom.
- **no imports** ``1 - IMPORTS * share`` of its lines that are imports: editors write these.
- **recent** ``1 + RECENT * 2 ** (-ago / HALF)``: files that were changed ``ago`` commits ago.

A place is drawn from ``N_DRAWN`` ones of the same kind by their weights, so kinds stay as frequent as ``spans.WEIGHTS``
says, and no middle comes more than N_DRAWN times as often as without weights.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache

from midfill.train.collect import SourceText

DRAWS = ("even", "own")  # how training draws middles: all alike, or by these weights
N_DRAWN = 8
OWN, HARD = 1.0, 12.0
IMPORTS = 0.95
RECENT, HALF = 1.0, 50.0  # HALF in commits
MIN_LINE = 8  # characters of a line that is counted: shorter ones are the same everywhere
N_COUNTERS = 1 << 24  # a line's counter is found by its checksum, so a collection of any size takes 16 MB
MAX_COUNTED = 255
MAX_FILES = 512  # files whose words are kept
_WORD = re.compile(r"[^\W\d]\w{2,}")
_DIGITS = re.compile(r"\d+")


class MiddleWeights:
    """The weights of middles in some files. They depend on nothing but the texts, the names and the ages."""

    def __init__(
        self, files: Sequence[SourceText], definers: Callable[[str, str], Collection[str]], ages: Mapping[str, int]
    ) -> None:
        """``definers(project, name)``: the keys of the project's files that define it; ``ages``: commits since each
        file's last change, by its key."""
        self._definers, self._ages = definers, ages
        self._counters = bytearray(N_COUNTERS)
        for file in files:
            for line in file.text.split("\n"):
                if len(form := _form(line)) >= MIN_LINE and self._counters[at := _counter(form)] < MAX_COUNTED:
                    self._counters[at] += 1
        self._words = lru_cache(MAX_FILES)(lambda file: Counter(_WORD.findall(file.text)))

    def of(self, file: SourceText, middle: str, imports: float = 0.0) -> float:
        """Return the weight of a middle of ``file``; ``imports``: the share of its lines that are imports."""
        return self._names(file, middle) * self._written(middle) * (1 - IMPORTS * imports) * self._recent(file)

    def _names(self, file: SourceText, middle: str) -> float:
        names, around = Counter(_WORD.findall(middle)), self._words(file)
        n_own = n_hard = 0
        for name, n in names.items():
            definers = self._definers(file.project, name)
            is_around = around[name] > n
            is_elsewhere = any(key != file.key for key in definers)
            n_own += is_elsewhere or (is_around and bool(definers))
            n_hard += is_elsewhere and not is_around
        return 1 + (OWN * n_own + HARD * n_hard) / max(1, len(names))

    def _written(self, middle: str) -> float:
        forms = [form for line in middle.split("\n") if len(form := _form(line)) >= MIN_LINE]
        counts = [max(1, self._counters[_counter(form)]) for form in forms]
        return sum(n**-0.5 for n in counts) / len(counts) if counts else 1.0

    def _recent(self, file: SourceText) -> float:
        ago = self._ages.get(file.key)
        return 1.0 if ago is None else 1.0 + RECENT * 2 ** (-ago / HALF)


def _form(line: str) -> str:
    """Return a line without what generated lines differ in."""
    return _DIGITS.sub("0", line.strip())


def _counter(form: str) -> int:
    return zlib.crc32(form.encode("utf-8", "replace")) % N_COUNTERS
