"""``midfill stats``: which suggestions were shown on this machine, and what became of them."""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Sequence
from typing import Any

from midfill import accepted, records
from midfill.postprocess.habits import learn_shifts

Row = dict[str, Any]

GROUPS = ("trigger", "language", "adapter")
MAX_GROUPS = 8
MAX_POINTS, MIN_OF_POINT = 10, 20  # of a calibration curve
RETAINED = {"retained_30_chars": "30 s", "retained_300_chars": "5 min"}
HEAD = ("", "shown", "accepted", "in part", "typed", "rejected", "rate", "kept 30 s", "kept 5 min", "p50 ms", "p95 ms")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill stats``."""
    parser.add_argument("--days", type=float, metavar="N", help="count the last N days only")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--clear", action="store_true", help="delete all records and accepted texts")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the table, or with ``--json`` one line; with ``--clear`` delete everything."""
    if arguments.clear:
        records.clear()
        accepted.clear()
        print("all records and accepted texts are deleted")
        return 0
    rows = [row for row in records.rows(arguments.days) if row["seen"]]
    if arguments.json:
        curves = {"calibration": calibration(rows), "shifts": learn_shifts(records.settled("automatic"))}
        print(json.dumps({"all": summary(rows), **{by: _groups(rows, by) for by in GROUPS}, **curves}))
    elif not rows:
        print("nothing has been shown yet, or records = false")
    else:
        print(table(rows))
    return 0


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures of some shown suggestions. Shares are None if there is nothing to divide by."""
    n = {
        outcome: sum(row["outcome"] == outcome for row in rows)
        for outcome in ("accepted", "partial", "typed", "rejected")
    }
    settled = sum(n.values())
    latencies = sorted(row["latency_s"] for row in rows)
    return {
        "shown": len(rows),
        **n,
        "shown_acceptance": (n["accepted"] + n["partial"]) / settled if settled else None,
        "accepted_chars": sum(row["n_accepted"] for row in rows if row["outcome"] in ("accepted", "partial")),
        "kept_30": _mean(rows, "kept_30"),
        "kept_300": _mean(rows, "kept_300"),
        "retained_30_chars": _retained(rows, "kept_30"),
        "retained_300_chars": _retained(rows, "kept_300"),
        "latency_p50_s": _quantile(latencies, 0.5),
        "latency_p95_s": _quantile(latencies, 0.95),
        "decoded_tokens": sum(row["n_decoded"] for row in rows),
        "from_cache": sum(row["hit"] in ("cache", "typed through") for row in rows),
    }


def calibration(rows: Sequence[Row]) -> dict[str, list[dict[str, Any]]]:
    """Return by trigger how the model's confidence and what users did agree, from unsure to sure.

    Each point is the mean of as many suggestions as any other, MIN_OF_POINT or more: their confidence, 0 to 1, and the
    share that was not rejected, which is what the thresholds of automatic suggestions learn from (postprocess.habits).
    """
    curves = {}
    for trigger in sorted({str(row["trigger"]) for row in rows}):
        known = sorted(
            (float(row["confidence"]), row["outcome"] != "rejected")
            for row in rows
            if row["trigger"] == trigger and row["outcome"] and row["confidence"] is not None
        )
        n_points = min(MAX_POINTS, len(known) // MIN_OF_POINT)
        edges = [round(len(known) * at / n_points) for at in range(n_points + 1)] if n_points else []
        curves[trigger] = [_point(known[start:end]) for start, end in itertools.pairwise(edges)]
    return curves


def _point(known: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    sure, taken = zip(*known, strict=True)
    return {"n": len(known), "confidence": round(statistics.fmean(sure), 4), "taken": round(statistics.fmean(taken), 4)}


def table(rows: Sequence[Row]) -> str:
    """Return the table: all, then by trigger, language and adapter."""
    lines = [HEAD, _line("all", summary(rows))]
    for by in GROUPS:
        lines += [_line(f"{by} {name or 'unknown'}", figures) for name, figures in _groups(rows, by).items()]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    aligned = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]).rstrip() for line in lines]
    whole = summary(rows)
    kept = (f"{_chars(whole[key])} after {name}" for key, name in RETAINED.items() if whole[key] is not None)
    retained = f" ({' and '.join(kept)})" if whole["retained_30_chars"] is not None else ""
    aligned += [
        "",
        f"{whole['accepted_chars']} characters accepted{retained}; {whole['decoded_tokens']} tokens decoded; "
        f"{whole['from_cache']} of {whole['shown']} suggestions came from the cache",
    ]
    return "\n".join(aligned)


def _groups(rows: Sequence[Row], by: str) -> dict[str, dict[str, Any]]:
    """Return the figures by the value of a column, the most frequent first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row[by]), []).append(row)
    largest = sorted(groups.items(), key=lambda item: -len(item[1]))[:MAX_GROUPS]
    return {name: summary(members) for name, members in largest}


def _line(name: str, figures: dict[str, Any]) -> tuple[str, ...]:
    counts = [str(figures[key]) for key in ("shown", "accepted", "partial", "typed", "rejected")]
    shares = [_percent(figures[key]) for key in ("shown_acceptance", "kept_30", "kept_300")]
    times = [_ms(figures[key]) for key in ("latency_p50_s", "latency_p95_s")]
    return (_printable(name), *counts, *shares, *times)


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:40])


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f}"


def _mean(rows: Sequence[Row], column: str) -> float | None:
    known = [row[column] for row in rows if row[column] is not None]
    return statistics.fmean(known) if known else None


def _retained(rows: Sequence[Row], column: str) -> dict[str, int] | None:
    """Return the accepted characters that were looked for again, and those that were left; None if there were none."""
    known = [(row["n_accepted"], row[column]) for row in rows if row[column] is not None]
    kept = round(sum(n * share for n, share in known))
    return {"kept": kept, "of": sum(n for n, _ in known)} if known else None


def _chars(retained: dict[str, int]) -> str:
    return f"{retained['kept']} of {retained['of']} stood"


def _quantile(values: Sequence[float], q: float) -> float | None:
    return values[min(len(values) - 1, int(q * len(values)))] if values else None
