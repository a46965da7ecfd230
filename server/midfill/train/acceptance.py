"""Judges an adapter a week after it was promoted: whether users accept its suggestions less often than those before.

The gate measures held-out code; this is what the user did. The rows are those of ``records``, which know the version of
the adapter that made each suggestion.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from midfill import records, registry
from midfill.adapter_names import summands
from midfill.engine.local.lora.files import describe
from midfill.train import history
from midfill.train.history import Entry
from midfill.types import MidfillError

DAY_S = 86400.0
WEEK_S = 7 * DAY_S
TOO_OLD_S = 4 * WEEK_S  # seconds; a promotion that has too few suggestions by then is not judged
MIN_SHOWN = 100  # settled suggestions of each adapter
SURE = 1.96  # standard errors
HOUR_S = 3600.0

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Shares:
    """Accepted suggestions among those with a known outcome; ``variance`` is that of the share."""

    n: int
    n_accepted: int
    variance: float

    @property
    def share(self) -> float:
        """Accepted divided by all, 0 to 1."""
        return self.n_accepted / self.n if self.n else 0.0


def shares(rows: Sequence[Row]) -> Shares:
    """Return the shares of rows with an outcome. Suggestions of one hour resemble each other, so the variance
    is that of whole hours, and at least that of single suggestions (Agresti and Caffo's, which is above 0 even
    if all or none are accepted)."""
    hours: defaultdict[int, list[bool]] = defaultdict(list)
    for row in rows:
        hours[int(row["at"] // HOUR_S)].append(row["outcome"] in ("accepted", "partial"))
    n, n_accepted = sum(map(len, hours.values())), sum(map(sum, hours.values()))
    if not n:
        return Shares(0, 0, math.inf)
    near = (n_accepted + 1) / (n + 2)
    variance = near * (1 - near) / (n + 2)
    if len(hours) > 1:
        share = n_accepted / n
        spread = math.fsum((sum(hour) - share * len(hour)) ** 2 for hour in hours.values())
        variance = max(variance, len(hours) / (len(hours) - 1) * spread / n**2)
    return Shares(n, n_accepted, variance)


def is_surely_less(after: Shares, before: Shares) -> bool:
    """Whether the 95 % interval of the difference lies below 0."""
    return after.share - before.share + SURE * math.sqrt(after.variance + before.variance) < 0


@dataclass(frozen=True, slots=True)
class Probation:
    """The oldest promotion that is a week old and not judged yet, with those made on top of it since."""

    promoted: Entry
    digests: tuple[str, ...]
    served: tuple[str, ...]  # their digests in the records


def probation(entries: Sequence[Entry], now: float) -> Probation | None:
    """Return what must be judged now, or None."""
    judged = {digest for entry in entries for digest in entry.judged}
    promoted = [entry for entry in entries if entry.kind == "promoted" and entry.digest not in judged]
    if not promoted or now - promoted[0].at < WEEK_S:
        return None
    first = promoted[0]
    since = [entry for entry in promoted if entry.at < first.at + WEEK_S]
    served = tuple(entry.served or entry.digest for entry in since)
    return Probation(first, tuple(entry.digest for entry in since), served)


def judge(name: str, now: float, rows: Callable[[], Sequence[Row]] = records.rows) -> Entry | None:
    """Roll ``name`` back if its suggestions are surely accepted less often; return the result, None while it is open.

    The result is also added to the history. Raises MidfillError, OSError.
    """
    found = probation(history.read(name), now)
    if found is None:
        return None
    first = found.promoted
    seen = [row for row in rows() if row["seen"] and row["outcome"] and first.at - TOO_OLD_S <= row["at"]]
    after = shares([row for row in seen if row["adapter_digest"] in found.served and row["at"] < first.at + WEEK_S])
    before = shares([row for row in seen if _is_of(row, first)])
    if min(after.n, before.n) < MIN_SHOWN:
        if now - first.at < TOO_OLD_S:
            return None
        entry = Entry(now, "kept", "too few suggestions to tell", judged=(first.digest,))
    else:
        words = f"{after.share:.0%} of {after.n} suggestions accepted, before {before.share:.0%} of {before.n}"
        if not is_surely_less(after, before):
            entry = Entry(now, "kept", words, judged=(first.digest,))
        else:
            entry = _rolled_back(name, found, words, now)
    history.add(name, entry)
    return entry


def _is_of(row: Row, promoted: Entry) -> bool:
    """Whether the row came from what ``promoted`` replaced: a version of the same name, or
    at first the adapter set then."""
    if before := promoted.served_before or promoted.replaced:
        return bool(row["adapter_digest"] == before)
    return bool(row["adapter"] == (promoted.against or "none") and row["at"] < promoted.at)


def _rolled_back(name: str, found: Probation, words: str, now: float) -> Entry:
    """Put back the version before the probation, if it still exists and nothing else has taken its place since."""
    promoted = tuple(entry.digest for entry in history.read(name) if entry.kind == "promoted")
    if _digest(name) not in promoted:
        return Entry(now, "kept", f"{words}; but another adapter has its name now", judged=found.digests)
    if summands(found.promoted.against)[-1] != name or not registry.versions(name):
        setting = found.promoted.against or "none"
        return Entry(now, "worse", f'{words}; to go back, set adapter = "{setting}"', judged=found.digests)
    while registry.versions(name):
        registry.rollback(name)
        if _digest(name) == found.promoted.replaced:
            break
    return Entry(now, "rolled back", words, digest=_digest(name), judged=promoted)


def _digest(name: str) -> str:
    with contextlib.suppress(MidfillError):
        return describe(registry.folder_of(name)).digest
    return ""
