"""The table by group of languages, the answers in other languages than the file's, and the differences of two runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.table import Table

from midfill.eval.figures import Difference
from midfill.eval.languages.answers import NEW_FILES
from midfill.eval.languages.groups import GROUPS, TITLES
from midfill.eval.report import differences, grid
from midfill.eval.run import Record
from midfill.eval.summary import ALL

# Each metric, and its name in the table.
COLUMNS = {
    "first_line": "first line",
    "whole": "whole",
    "shown": "shown",
    "shown_at_headers": "shown at headers",
    "repeats_suffix": "repeats suffix",
    "wrong_language": "wrong language",
    "breaks": "breaks",
    "unsound": "unsound",
    "control_tokens": "control tokens",
}


def table(title: str, records: Sequence[Record]) -> Table:
    """Return a table: a row for each group, one for new files, one for all; shares in per cent of the holes that a
    metric applies to."""
    rows = [
        (
            name, str(len(those)), *(_share(those, metric) for metric in COLUMNS),
            f"{statistics.median(one['total_s'] for one in those):.1f}",
        )
        for name, those in _rows(records)
    ]  # fmt: skip
    return grid(f"suggestions by language: {title}", ("", "holes", *COLUMNS.values(), "seconds p50"), rows)


def _rows(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    kinds = [*GROUPS, "other", NEW_FILES]
    found = [(TITLES.get(kind, kind), [one for one in records if one["kind"] == kind]) for kind in kinds]
    whole = [*found, ("projects", [one for one in records if one["kind"] != NEW_FILES]), (ALL, list(records))]
    return [(name, rows) for name, rows in whole if rows]


def _share(rows: Sequence[Record], metric: str) -> str:
    """Return the share, with its count if it is small; "" if the metric applies to no hole."""
    values = [row["metrics"][metric] for row in rows if metric in row["metrics"]]
    if not values:
        return ""
    return f"{sum(values):.0f} of {len(values)}" if metric in _COUNTED else f"{statistics.fmean(values):.0%}"


_COUNTED = frozenset({"wrong_language", "control_tokens", "repeats_suffix", "breaks", "unsound"})


def other_languages(records: Sequence[Record], limit: int = 40) -> Table | None:
    """Return a table of each answer in another language: where, which one, and how it begins; None if there is none."""
    wrong = [record for record in records if record["other"]]
    if not wrong:
        return None
    rows = []
    for record in wrong[:limit]:
        line = record["before"].rpartition("\n")[2] + record["text"].partition("\n")[0]
        rows.append((record["path"][-40:], record["language"], record["other"], line.strip()[:70]))
    return grid("answers in another language", ("file", "language", "answer in", "text"), rows, "left")


def of_groups(names: Sequence[str], found: Sequence[Difference]) -> Table:
    """Return the paired comparison, of all holes and of every group in which something differs."""
    told = [one for one in found if one.metric in COLUMNS and (one.kind == ALL or one.is_sure or one.difference)]
    return differences(names, told, COLUMNS, TITLES)
