"""The table by group of languages, what came instead of the file's language, and the differences of two runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.table import Table

from midfill.eval.languages.answers import NEW_FILES
from midfill.eval.languages.groups import GROUPS, TITLES
from midfill.eval.run import Record
from midfill.eval.summary import ALL, Difference

# Metric, and what the table calls it.
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
    """A row a group, one for new files, one for all; shares in per cent of the holes that a metric applies to."""
    made = Table(title=f"suggestions by language: {title}")
    for column in ("", "holes", *COLUMNS.values(), "seconds p50"):
        made.add_column(column, justify="right" if column else "left")
    for name, rows in _rows(records):
        cells = [_share(rows, metric) for metric in COLUMNS]
        seconds = statistics.median(row["total_s"] for row in rows)
        made.add_row(name, str(len(rows)), *cells, f"{seconds:.1f}")
    return made


def _rows(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    kinds = [*GROUPS, "other", NEW_FILES]
    found = [(TITLES.get(kind, kind), [one for one in records if one["kind"] == kind]) for kind in kinds]
    whole = [*found, ("projects", [one for one in records if one["kind"] != NEW_FILES]), (ALL, list(records))]
    return [(name, rows) for name, rows in whole if rows]


def _share(rows: Sequence[Record], metric: str) -> str:
    """The share with its count where it is small; "" where the metric applies to none."""
    values = [row["metrics"][metric] for row in rows if metric in row["metrics"]]
    if not values:
        return ""
    return f"{sum(values):.0f} of {len(values)}" if metric in _COUNTED else f"{statistics.fmean(values):.0%}"


_COUNTED = frozenset({"wrong_language", "control_tokens", "repeats_suffix", "breaks", "unsound"})


def other_languages(records: Sequence[Record], limit: int = 40) -> Table | None:
    """Each answer in another language: where, which one, and how it begins; None where there is none."""
    wrong = [record for record in records if record["other"]]
    if not wrong:
        return None
    made = Table(title="answers in another language")
    for column in ("file", "language", "answer in", "text"):
        made.add_column(column)
    for record in wrong[:limit]:
        line = record["before"].rpartition("\n")[2] + record["text"].partition("\n")[0]
        made.add_row(record["path"][-40:], record["language"], record["other"], line.strip()[:70])
    return made


def differences(names: Sequence[str], found: Sequence[Difference]) -> Table:
    """The paired comparison, of all holes and of every group."""
    made = Table(title=f"{names[1]} against {names[0]}, paired, 95 % intervals")
    for column in ("", "", "holes", *names, "difference", "interval", ""):
        made.add_column(column, justify="left" if not column else "right")
    for one in found:
        if one.metric not in COLUMNS or (one.kind != ALL and not one.is_sure and not one.difference):
            continue
        made.add_row(
            TITLES.get(one.kind, one.kind), COLUMNS[one.metric], str(one.n), f"{one.a:.1%}", f"{one.b:.1%}",
            f"{one.difference:+.1%}", f"{one.low:.1%} to {one.high:.1%}", "differs" if one.is_sure else "",
        )  # fmt: skip
    return made
