"""The output of a drive at its end: tables for readers, and lines of JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from midfill.eval.figures import percentile
from midfill.eval.keys import n_shared
from scripts.drive.film import Back
from scripts.drive.judge import VERDICTS
from scripts.drive.session import Look, Record

Z = 1.96  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class Done:
    """One project typed into one editor."""

    editor: str
    project: str
    language: str
    record: Record
    backs: list[Back]
    n_frames: int
    seconds: float
    engine_s: float  # from opening the window until the engine is ready


def wilson(n: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    if not of:
        return 0.0, 1.0
    share, z = n / of, Z * Z / of
    half = Z * math.sqrt(share * (1 - share) / of + z / (4 * of))
    return max(0.0, (share + z / 2 - half) / (1 + z)), min(1.0, (share + z / 2 + half) / (1 + z))


def table(done: Sequence[Done]) -> list[str]:
    """Return the verdicts by editor and language, with sums."""
    rows = [("editor", "language", "looks", *VERDICTS)]
    groups = [(d.editor, d.language, d.record.looks) for d in done]
    editors = sorted({d.editor for d in done})
    groups += [(e, "all", [look for d in done if d.editor == e for look in d.record.looks]) for e in editors]
    if len(editors) > 1:
        groups.append(("both", "all", [look for d in done for look in d.record.looks]))
    for editor, language, looks in groups:
        counts = Counter(look.judgement.verdict for look in looks)
        rows.append((editor, language, str(len(looks)), *(_share(counts[v], len(looks)) for v in VERDICTS)))
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def facts(done: Sequence[Done]) -> list[str]:
    """Return everything else, one paragraph for each editor."""
    lines: list[str] = []
    for editor in sorted({d.editor for d in done}):
        own = [d for d in done if d.editor == editor]
        looks = [look for d in own for look in d.record.looks]
        came = [look.after_key_s for look in looks if look.after_key_s]
        stood = sum(look.after_key_s == 0.0 for look in looks)
        wrong = [look for look in looks if look.judgement.verdict == "annoying"]
        nothing = [look for look in looks if look.judgement.verdict == "nothing"]
        n_late = sum(not look.answered for look in nothing)
        openings = [opening for d in own for opening in d.record.openings]
        lines += [
            f"{editor}: {sum(d.record.n_typed for d in own)} characters typed, "
            f"{sum(d.record.n_taken for d in own)} accepted, {sum(d.record.n_wrong for d in own)} of them deleted; "
            f"{sum(d.n_frames for d in own)} frames, {sum(d.seconds for d in own):.0f} s",
            f"  last key to ghost text: p50 {_seconds(percentile(came, 0.5))}, p95 {_seconds(percentile(came, 0.95))} "
            f"of {len(came)}; at {stood} more it stood already",
            "  file opened to first text: "
            + ", ".join(f"{o.file} {_seconds(o.first_text_s)}" for o in openings)
            + "; window to engine ready: " + ", ".join(f"{d.engine_s:.1f} s" for d in own),
            "  first look in each file, last key to ghost text: "
            + ", ".join(f"{look.file} {_seconds(look.after_key_s)}" for d in own for look in _first_looks(d.record)),
            f"  annoying: {len(wrong)}; read for nothing, characters of the first line, p50 "
            f"{percentile([look.judgement.n_read for look in wrong], 0.5)}, in all "
            f"{sum(look.judgement.n_read for look in wrong)} of {sum(len(look.shown) for look in wrong)} shown",
            f"  nothing: {len(nothing)}, of which the server had not answered yet at {n_late}",
            f"  frames that went back: {sum(len(d.backs) for d in own)}",
        ]  # fmt: skip
        lines += [
            f"    {d.language}: {_around_change(back)}, typed {back.typed!r}, {len(back.later)} more within a second"
            for d in own
            for back in d.backs
        ]
        lines += [f"  !! fault of the drive: {fault}" for d in own for fault in d.record.faults]
    return lines


def _around_change(back: Back) -> str:
    """Return both frames, from a little before they differ; backs.jsonl has them in full."""
    start = max(0, n_shared(back.before, back.after) - 20)
    return f"{back.before[start : start + 60]!r} → {back.after[start : start + 60]!r}"


def _first_looks(record: Record) -> list[Look]:
    first: dict[str, Look] = {}
    for look in record.looks:
        first.setdefault(look.file, look)
    return list(first.values())


def write(folder: Path, done: Iterable[Done], about: dict[str, Any]) -> None:
    """Write the files of a drive: ``looks.jsonl``, ``annoying.jsonl``, ``backs.jsonl``, ``about.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    done = list(done)
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    looks = [(d.editor, look) for d in done for look in d.record.looks]
    _lines(folder / "looks.jsonl", (_plain(editor, look) for editor, look in looks))
    _lines(
        folder / "annoying.jsonl",
        (_plain(editor, look) for editor, look in looks if look.judgement.verdict == "annoying"),
    )
    _lines(
        folder / "backs.jsonl",
        ({"editor": d.editor, "project": d.project, **asdict(back)} for d in done for back in d.backs),
    )


def _plain(editor: str, look: Look) -> dict[str, Any]:
    judged = asdict(look.judgement)
    return {"editor": editor, **judged, **{k: v for k, v in asdict(look).items() if k != "judgement"}}


def _lines(file: Path, values: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values), encoding="utf-8")


def _share(n: int, of: int) -> str:
    low, high = wilson(n, of)
    return f"{n} ({100 * n / of:.0f} %, {100 * low:.0f} to {100 * high:.0f})" if of else "0"


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f} s"
