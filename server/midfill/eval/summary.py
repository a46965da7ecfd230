"""Summarises the records of a run: shares and times by kind of hole, and paired differences of two runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from midfill.eval.figures import Difference, compared, interval, percentile
from midfill.eval.run import LATENCIES, Record

ALL = "all"
N_RESAMPLES = 2000
TOKENS = ("n_prompt", "n_cached", "n_decoded")
COSTS = ("total_s", "n_decoded")  # compared in addition to the metrics


def of(records: Sequence[Record]) -> dict[str, dict[str, Any]]:
    """Return the figures of every kind (also of each note, if a kind's holes have notes), and of all holes together."""
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record["kind"], []).append(record)
        if note := record.get("note"):
            groups.setdefault(f"{record['kind']}, {note}", []).append(record)
    return {**{name: _figures(groups[name]) for name in sorted(groups)}, ALL: _figures(records)}


def _figures(records: Sequence[Record]) -> dict[str, Any]:
    figures: dict[str, Any] = {"n": len(records)}
    for metric in metrics_of(records):
        groups = _grouped({record["id"]: record for record in records}, metric)
        figures[metric] = statistics.fmean(value for group in groups for value in group)
        figures[f"{metric}_ci"] = interval(groups, N_RESAMPLES)
    for name in LATENCIES:
        times = [record[name] for record in records if record["metrics"].get("shown") or name == "total_s"]
        figures |= {f"{name}_p50": percentile(times, 0.5), f"{name}_p95": percentile(times, 0.95)}
    for name in TOKENS:
        figures[f"{name}_p50"] = statistics.median(record["stats"][name] for record in records)
    figures["n_decoded"] = sum(record["stats"]["n_decoded"] for record in records)
    return figures


def metrics_of(records: Sequence[Record]) -> list[str]:
    """Return every metric that some record has, in order."""
    return list(dict.fromkeys(metric for record in records for metric in record["metrics"]))


def _grouped(records: dict[str, Record], metric: str) -> list[list[float]]:
    groups: dict[str, list[float]] = {}
    for record in records.values():
        if metric in record["metrics"]:
            groups.setdefault(record["source"], []).append(record["metrics"][metric])
    return list(groups.values())


def paired(a: Sequence[Record], b: Sequence[Record]) -> list[Difference]:
    """Return the differences of every metric over the holes that both have, all kinds together first."""
    others = {record["id"]: record for record in b}
    pairs = [(record, others[record["id"]]) for record in a if record["id"] in others]
    kinds = list(dict.fromkeys(mine["kind"] for mine, _ in pairs))
    found = _differences(ALL, pairs)
    for kind in kinds if len(kinds) > 1 else ():
        found += _differences(kind, [pair for pair in pairs if pair[0]["kind"] == kind])
    return found


def _differences(kind: str, pairs: Sequence[tuple[Record, Record]]) -> list[Difference]:
    found = []
    for metric in (*metrics_of([mine for mine, _ in pairs]), *COSTS):
        values = [
            (mine["source"], a, b)
            for mine, other in pairs
            if (a := _value(mine, metric)) is not None and (b := _value(other, metric)) is not None
        ]
        if values:
            found.append(compared(kind, metric, values, N_RESAMPLES))
    return found


def _value(record: Record, metric: str) -> float | None:
    """Return a metric, or what the answer cost; None if the record does not have it."""
    value = {**record["stats"], **record, **record["metrics"]}.get(metric)
    return float(value) if isinstance(value, int | float) else None
